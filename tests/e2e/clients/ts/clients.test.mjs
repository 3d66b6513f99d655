// clients.test.mjs runs both clients against stand-ins of both eras, made of the
// SDKs' own server halves, so that a failing end-to-end test means the gateway
// and not these scripts. Run it with: npm test
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { after, before, test } from 'node:test';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { createMcpHandler, McpServer as StatelessServer } from '@modelcontextprotocol/server';
import { z } from 'zod';

const key = 'a-key-of-the-test';
const sessions = new Map();
let http, base;

// newServer has one tool, whichever SDK makes it.
function newServer(Server) {
  const server = new Server({ name: 'stand-in', version: '1' });
  server.registerTool('echo', { inputSchema: z.object({ text: z.string() }) }, ({ text }) => ({
    content: [{ type: 'text', text }],
  }));
  return server;
}

async function openSession() {
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (id) => sessions.set(id, transport),
    onsessionclosed: (id) => sessions.delete(id),
  });
  await newServer(McpServer).connect(transport);
  return transport;
}

const answer = {
  '/handshake': async (request, response) => {
    const known = sessions.get(request.headers['mcp-session-id']);
    await (known ?? (await openSession())).handleRequest(request, response);
  },
  '/stateless': toNodeHandler(createMcpHandler(() => newServer(StatelessServer), { legacy: 'reject' })),
};

before(async () => {
  http = createServer(async (request, response) => {
    if (request.headers.authorization !== `Bearer ${key}`) {
      response.writeHead(401).end();
      return;
    }
    await answer[request.url](request, response);
  });
  await once(http.listen(0, '127.0.0.1'), 'listening');
  base = `http://127.0.0.1:${http.address().port}`;
});

after(() => {
  http.closeAllConnections();
  http.close();
});

// run gives a script's one line and its exit status.
function run(script, era, rest, environment = { MCP_GATEWAY_KEY: key }) {
  const path = fileURLToPath(new URL(script, import.meta.url));
  const env = { PATH: process.env.PATH, ...environment };
  return new Promise((resolve) => {
    execFile(process.execPath, [path, base + era, ...rest], { env }, (error, stdout) => {
      const lines = stdout.trimEnd().split('\n');
      assert.equal(lines.length, 1, stdout);
      resolve({ status: error ? error.code : 0, report: JSON.parse(lines[0]) });
    });
  });
}

const ways = [
  { name: 'sdk', script: 'sdk.mjs', asks: [], era: '/handshake', agrees: '2025-11-25' },
  { name: 'client, auto', script: 'client.mjs', asks: ['auto'], era: '/handshake', agrees: '2025-11-25' },
  { name: 'client, legacy', script: 'client.mjs', asks: ['legacy'], era: '/handshake', agrees: '2025-11-25' },
  { name: 'client, auto, stateless', script: 'client.mjs', asks: ['auto'], era: '/stateless', agrees: '2026-07-28' },
  { name: 'client, pinned, stateless', script: 'client.mjs', asks: ['2026-07-28'], era: '/stateless', agrees: '2026-07-28' },
];

for (const { name, script, asks, era, agrees } of ways) {
  test(`${name}: calls a tool and ends its session`, async () => {
    const { status, report } = await run(script, era, ['echo', '{"text":"hello"}', ...asks]);
    assert.equal(status, 0, JSON.stringify(report));
    assert.equal(report.ok, true);
    assert.equal(report.revision, agrees);
    assert.equal(report.session, era === '/handshake');
    assert.deepEqual(report.tools, ['echo']);
    assert.deepEqual(report.result.content, [{ type: 'text', text: 'hello' }]);
    assert.equal(sessions.size, 0);
  });

  test(`${name}: reports a missing key`, async () => {
    const { status, report } = await run(script, era, ['echo', '{}', ...asks], {});
    assert.equal(status, 1);
    assert.equal(report.ok, false);
    assert.equal(report.code, 401, JSON.stringify(report));
  });
}

test('client, pinned: refuses a peer of the handshake era', async () => {
  const { status, report } = await run('client.mjs', '/handshake', ['echo', '{}', '2026-07-28']);
  assert.equal(status, 1);
  assert.match(report.error, /2026-07-28/);
});
