// session.mjs drives one MCP client through one session: connect, list the
// tools, call one, close. It prints one line of JSON and nothing else:
//
//   {"ok":true,"client":"…","revision":"…","session":true,"tools":["…"],"result":{…}}
//   {"ok":false,"client":"…","error":"…","code":-32602}
//
// with exit status 0 and 1. "session" says whether the gateway gave a session
// id; "code" is the HTTP status, the JSON-RPC error code or the SDK's own name
// for what went wrong.
import { readFileSync } from 'node:fs';

const usage = 'usage: MCP_GATEWAY_KEY=KEY node SCRIPT URL TOOL [ARGUMENTS] [REVISION]';

// The key comes by the environment: a command line is for everybody to read.
export function readArguments() {
  const [url, tool, json = '{}', revision] = process.argv.slice(2);
  if (!url || !tool) {
    console.error(usage);
    process.exit(2);
  }
  const key = process.env.MCP_GATEWAY_KEY;
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  return { url: new URL(url), tool, args: JSON.parse(json), revision, headers };
}

export function versionOf(name) {
  const manifest = new URL(`node_modules/${name}/package.json`, import.meta.url);
  return `${name} ${JSON.parse(readFileSync(manifest, 'utf8')).version}`;
}

// runSession reports what happened. revisionOf is asked after connect.
export async function runSession({ name, client, transport, revisionOf, tool, args }) {
  try {
    await client.connect(transport);
    const revision = revisionOf(); // forgotten at close
    const tools = await listTools(client);
    const result = await client.callTool({ name: tool, arguments: args });
    const session = transport.sessionId !== undefined;
    if (session) await transport.terminateSession();
    await client.close();
    print({ ok: true, client: name, revision, session, tools, result });
  } catch (error) {
    print({ ok: false, client: name, error: String(error?.message ?? error), code: error?.status ?? error?.code });
    process.exitCode = 1;
  }
}

async function listTools(client) {
  const names = [];
  let cursor;
  do {
    const page = await client.listTools(cursor ? { cursor } : undefined);
    names.push(...page.tools.map((tool) => tool.name));
    cursor = page.nextCursor;
  } while (cursor);
  return names;
}

function print(report) {
  process.stdout.write(JSON.stringify(report) + '\n');
}
