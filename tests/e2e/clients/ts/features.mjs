// features.mjs has one client use everything that MCP offers, over one transport,
// and prints one line of JSON: what worked, and what did not and why.
//
//   {"client":"…","revision":"…","features":{"tools":"ok","sampling":"Error: …"}}
//
// usage: MCP_GATEWAY_KEY=KEY node features.mjs WAY URL-OF-SERVER URL-OF-SLOW KIND
//
// WAY is one of ways below. KIND says which server is at the first URL: the Go
// SDK's everything-server ("go") or npm's server-everything ("npm"). At the second
// is this repository's testserver, which counts calls and those cancelled.
import assert from 'node:assert/strict';
import { Client as ModernClient, StreamableHTTPClientTransport as ModernHTTP } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { WebSocketClientTransport } from '@modelcontextprotocol/sdk/client/websocket.js';
import * as schemas from '@modelcontextprotocol/sdk/types.js';
import WebSocket from 'ws';
import { versionOf } from './session.mjs';

const [way, url, slowURL, kind] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${process.env.MCP_GATEWAY_KEY}` };

// The SDK's WebSocket transport can't send headers; the class that it uses can.
globalThis.WebSocket = class extends WebSocket {
  constructor(address, protocols) {
    super(address, protocols, { headers });
  }
};

// Both SDKs' ways to handle what a server asks or tells.
const v1 = {
  name: versionOf('@modelcontextprotocol/sdk'),
  open: (options) => new Client({ name: 'e2e', version: '1' }, options),
  answer: (client, method, f) => client.setRequestHandler(requests[method], f),
  hear: (client, method, f) => client.setNotificationHandler(notifications[method], f),
  call: (client, params, options) => client.callTool(params, undefined, options),
  revision: (client, transport) => transport.agreed,
};
const v2 = {
  name: versionOf('@modelcontextprotocol/client'),
  open: (options) => new ModernClient({ name: 'e2e', version: '1' }, options),
  answer: (client, method, f) => client.setRequestHandler(method, f),
  hear: (client, method, f) => client.setNotificationHandler(method, f),
  call: (client, params, options) => client.callTool(params, options),
  revision: (client) => client.getNegotiatedProtocolVersion(),
};
const requests = {
  'sampling/createMessage': schemas.CreateMessageRequestSchema,
  'elicitation/create': schemas.ElicitRequestSchema,
  'roots/list': schemas.ListRootsRequestSchema,
};
const notifications = {
  'notifications/message': schemas.LoggingMessageNotificationSchema,
  'notifications/resources/updated': schemas.ResourceUpdatedNotificationSchema,
};

const socket = (address) => new URL(address.replace(/^http/, 'ws').replace(/\/mcp$/, '/ws'));
const ways = {
  http: { sdk: v1, transport: (to, fetch) => new StreamableHTTPClientTransport(new URL(to), { requestInit: { headers }, fetch }) },
  sse: { sdk: v1, transport: (to) => new SSEClientTransport(new URL(to.replace(/\/mcp$/, '/sse')), { requestInit: { headers } }) },
  ws: { sdk: v1, transport: (to) => new WebSocketClientTransport(socket(to)) },
  'v2-sessions': { sdk: v2, mode: 'legacy', transport: (to, fetch) => new ModernHTTP(new URL(to), { requestInit: { headers }, fetch }) },
  'v2-stateless': { sdk: v2, mode: { pin: '2026-07-28' }, stateless: true, transport: (to, fetch) => new ModernHTTP(new URL(to), { requestInit: { headers }, fetch }) },
};

// The tools of both servers, and what their answers hold if the client was asked.
const servers = {
  go: {
    hello: { name: 'test_simple_text', arguments: {} },
    progress: { name: 'test_tool_with_progress', arguments: {} },
    sampling: { name: 'test_input_required_result_sampling', arguments: {} },
    elicitation: { name: 'test_input_required_result_elicitation', arguments: {} },
    roots: { name: 'test_input_required_result_list_roots', arguments: {} },
    logging: { name: 'test_tool_with_logging', arguments: {} },
    error: { name: 'test_error_handling', arguments: {} },
    resource: 'test://watched-resource',
    prompt: 'test_simple_prompt',
  },
  npm: {
    hello: { name: 'echo', arguments: { message: 'hello' } },
    progress: { name: 'trigger-long-running-operation', arguments: { duration: 0.3, steps: 3 } },
    sampling: { name: 'trigger-sampling-request', arguments: { prompt: 'hello' } },
    elicitation: { name: 'trigger-elicitation-request', arguments: {} },
    roots: { name: 'get-roots-list', arguments: {} },
    logging: { name: 'toggle-simulated-logging', arguments: {} },
    error: { name: 'get-sum', arguments: { a: 'not a number' } },
    resource: 'demo://resource/dynamic/text/1',
    update: { name: 'toggle-subscriber-updates', arguments: {} },
    prompt: 'simple-prompt',
  },
};

const { sdk, mode, stateless, transport: newTransport } = ways[way];
const tools = servers[kind];
const patience = 20_000;

async function connect(to, fetch) {
  const client = sdk.open({
    capabilities: { sampling: {}, elicitation: { form: {} }, roots: {} },
    ...(mode && { versionNegotiation: { mode } }),
  });
  const logged = first();
  const updated = first();
  sdk.answer(client, 'sampling/createMessage', () => ({ model: 'none', role: 'assistant', content: { type: 'text', text: 'sampled-by-e2e' } }));
  sdk.answer(client, 'elicitation/create', () => ({ action: 'accept', content: { name: 'elicited-by-e2e' } }));
  sdk.answer(client, 'roots/list', () => ({ roots: [{ uri: 'file:///root-of-e2e', name: 'e2e' }] }));
  sdk.hear(client, 'notifications/message', logged.come);
  sdk.hear(client, 'notifications/resources/updated', updated.come);
  const transport = newTransport(to, fetch);
  // The first SDK tells the revision to its transports, and not to all of them.
  const tell = transport.setProtocolVersion?.bind(transport);
  transport.setProtocolVersion = (revision) => {
    transport.agreed = revision;
    tell?.(revision);
  };
  await client.connect(transport);
  return { client, transport, logged, updated, call: (params, options) => sdk.call(client, params, { timeout: patience, ...options }) };
}

// first waits for the first of many events.
function first() {
  const one = {};
  one.came = new Promise((resolve) => (one.come = resolve));
  return one;
}

function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`no ${what} came`)), patience)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const text = (result) => result.content.map((part) => part.text ?? '').join('\n');

const features = {
  async tools({ client }) {
    const { tools: listed } = await client.listTools();
    assert.ok(listed.some((tool) => tool.name === tools.hello.name), `the list has no ${tools.hello.name}`);
  },
  async call({ call }) {
    assert.notEqual(text(await call(tools.hello)), '');
  },
  async progress({ call }) {
    const seen = [];
    // The second SDK tells of its own, too, when a server asks something meanwhile.
    const tell = ({ progress, message }) => message?.startsWith('Fulfilling input required by') || seen.push(progress);
    await call(tools.progress, { onprogress: tell });
    assert.ok(seen.length > 1 && seen.every((value, i) => i === 0 || value > seen[i - 1]), `progress: ${seen}`);
  },
  async sampling({ call }) {
    assert.match(text(await call(tools.sampling)), /sampled-by-e2e/);
  },
  async elicitation({ call }) {
    assert.match(text(await call(tools.elicitation)), /elicited-by-e2e/);
  },
  async roots({ call }) {
    assert.match(text(await call(tools.roots)), /root-of-e2e/);
  },
  async logging({ client, call, logged }) {
    if (!stateless) await client.setLoggingLevel('debug');
    await call({ ...tools.logging, ...(stateless && { _meta: { 'io.modelcontextprotocol/logLevel': 'debug' } }) });
    await within(logged.came, 'log message');
  },
  async subscription({ client, call, updated }) {
    const subscription = stateless ? await client.listen({ resourceSubscriptions: [tools.resource] }) : await client.subscribeResource({ uri: tools.resource });
    if (tools.update) await call(tools.update);
    const { params } = await within(updated.came, 'update of the resource');
    assert.equal(params.uri, tools.resource);
    if (stateless) await subscription.close();
    else await client.unsubscribeResource({ uri: tools.resource });
  },
  async resources({ client }) {
    const { contents } = await client.readResource({ uri: tools.resource });
    assert.equal(contents[0].uri, tools.resource);
  },
  async prompts({ client }) {
    const { messages } = await client.getPrompt({ name: tools.prompt });
    assert.ok(messages.length > 0);
  },
  async errors({ client, call }) {
    const result = await call(tools.error);
    assert.equal(result.isError, true, JSON.stringify(result));
    await assert.rejects(client.readResource({ uri: 'no-such://resource' }), (error) => typeof error.code === 'number');
  },
  async big(_, slow) {
    const answer = await slow.call({ name: 'big', arguments: { bytes: 3_000_000 } });
    assert.equal(text(answer).length, 3_000_000);
  },
  async cancel(_, slow) {
    const stop = new AbortController();
    const started = first();
    const running = slow.call({ name: 'sleep', arguments: { seconds: 30 } }, { signal: stop.signal, onprogress: started.come });
    running.catch(() => {}); // it is awaited below
    await within(started.came, 'progress');
    stop.abort(new Error('enough'));
    await assert.rejects(running);
    for (const end = Date.now() + patience; ; await new Promise((resolve) => setTimeout(resolve, 20))) {
      const { cancelled } = JSON.parse(text(await slow.call({ name: 'counters', arguments: {} })));
      if (cancelled === 1) return;
      assert.ok(Date.now() < end, `the server counts ${cancelled} cancelled calls`);
    }
  },
  async resume() {
    if (way !== 'http' && way !== 'v2-sessions') return 'none';
    let cuts = 0;
    let resumed = 0;
    // The first answer that is a stream ends after its first event.
    const cutting = async (to, init) => {
      if (new Headers(init?.headers).has('last-event-id')) resumed += 1;
      const response = await fetch(to, init);
      const asked = init?.method === 'POST' && init.body?.includes('"tools/call"');
      if (!asked || cuts > 0 || !response.headers.get('content-type')?.includes('text/event-stream')) return response;
      cuts += 1;
      const reader = response.body.getReader();
      const { value } = await reader.read();
      await reader.cancel();
      const body = new ReadableStream({
        start(controller) {
          controller.enqueue(value);
          controller.close();
        },
      });
      return new Response(body, { status: response.status, headers: response.headers });
    };
    const cut = await connect(slowURL, cutting);
    const answer = await cut.call({ name: 'sleep', arguments: { seconds: 1 } }, { onprogress: () => {} });
    assert.match(text(answer), /slept/);
    assert.ok(cuts === 1 && resumed > 0, `the stream was cut ${cuts} times and resumed ${resumed} times`);
    await end(cut);
  },
};

async function end({ client, transport }) {
  if (transport.sessionId !== undefined && transport.terminateSession) await transport.terminateSession();
  await client.close();
}

const outcomes = {};
const main = await connect(url);
const revision = sdk.revision(main.client, main.transport);
const slow = await connect(slowURL);

async function attempt(name) {
  try {
    outcomes[name] = (await features[name](main, slow)) ?? 'ok';
  } catch (error) {
    outcomes[name] = `${error.code ?? ''} ${error.message}`.trim().slice(0, 300);
  }
}

// These two mostly wait. The others follow one another.
const waiting = [attempt('subscription'), attempt('resume')];
for (const name of Object.keys(features)) {
  if (!['subscription', 'resume'].includes(name)) await attempt(name);
}
await Promise.all(waiting);
await end(main);
await end(slow);
process.stdout.write(JSON.stringify({ client: sdk.name, revision: revision ?? '', features: outcomes }) + '\n', () => process.exit());
