// An OpenID Connect provider on loopback: its first line of output is its issuer.
// Each line of its input is a list of key ids, of which the first signs from then on
// and all are published; it answers with the line when that is so. Any client may
// have a token for any resource (RFC 8707), with whatever scopes it asks for.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import Provider from 'oidc-provider';

console.info = console.error; // the library's notes; standard output is for answers

const scopes = ['mcp', 'files'];
const keys = new Map();
let serve = (_, response) => response.writeHead(503).end();
const server = createServer((request, response) => serve(request, response));

function key(kid) {
  if (!keys.has(kid)) {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    keys.set(kid, { ...privateKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'RS256' });
  }
  return keys.get(kid);
}

// publish makes the provider anew: it takes its keys when it is made.
function publish(issuer, ids) {
  const provider = new Provider(issuer, {
    jwks: { keys: ids.map(key) },
    clients: [{
      client_id: 'agent', client_secret: 'agent-secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
    }],
    scopes,
    ttl: { ClientCredentials: 600 },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => ({
          scope: scopes.join(' '), audience: resource, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  });
  serve = provider.callback();
}

server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  publish(issuer, ['first']);
  console.log(issuer);
  createInterface({ input: process.stdin }).on('line', (line) => {
    publish(issuer, line.split(' '));
    console.log(line);
  }).on('close', () => process.exit(0));
});
