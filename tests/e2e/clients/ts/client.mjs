// client.mjs is one session of the TypeScript SDK of both eras,
// @modelcontextprotocol/client. See session.mjs for its arguments and its
// output. The revision is "auto" (ask, then fall back; the default), "legacy"
// (handshake only) or one of the stateless era, such as 2026-07-28, that the
// peer has to offer.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { readArguments, runSession, versionOf } from './session.mjs';

const { url, tool, args, headers, revision = 'auto' } = readArguments();
const mode = revision === 'auto' || revision === 'legacy' ? revision : { pin: revision };
const client = new Client({ name: 'e2e-client', version: '1' }, { versionNegotiation: { mode } });
const transport = new StreamableHTTPClientTransport(url, { requestInit: { headers } });

await runSession({
  name: versionOf('@modelcontextprotocol/client'),
  client,
  transport,
  revisionOf: () => client.getNegotiatedProtocolVersion(),
  tool,
  args,
});
