// sdk.mjs is one session of the TypeScript SDK of the handshake era,
// @modelcontextprotocol/sdk. See session.mjs for its arguments and its output.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { readArguments, runSession, versionOf } from './session.mjs';

const { url, tool, args, headers } = readArguments();
const client = new Client({ name: 'e2e-sdk', version: '1' });
const transport = new StreamableHTTPClientTransport(url, { requestInit: { headers } });

await runSession({
  name: versionOf('@modelcontextprotocol/sdk'),
  client,
  transport,
  revisionOf: () => transport.protocolVersion,
  tool,
  args,
});
