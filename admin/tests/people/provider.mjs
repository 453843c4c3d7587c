// A certified OpenID provider (npm oidc-provider) on loopback: signs in whoever says who they are, as `login`, with the groups
// after a `+`: `olivia+privacy-officers`. Prints its URL; takes `rotate`, `down` and `up` on its standard input.
//
// Usage: node provider.mjs REDIRECT_URI   (WEIR_WEB_MODULES names the node_modules that holds it)
import { createServer } from 'node:http';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import path from 'node:path';

// Its notices are no answers of this program.
console.info = console.warn = console.error;

const modules = process.env.WEIR_WEB_MODULES;
const { default: Provider } = await import(pathToFileURL(path.join(modules, 'oidc-provider/lib/index.js')));
const redirect = process.argv[2];

const key = () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'RS256' };
};
const keys = [key()];

const configuration = () => ({
  clients: [
    { client_id: 'weir', client_secret: 'a-secret-of-the-client', redirect_uris: [redirect], response_types: ['code'], grant_types: ['authorization_code'] },
    { client_id: 'another', redirect_uris: [redirect], response_types: ['code'], grant_types: ['authorization_code'], token_endpoint_auth_method: 'none' },
    { client_id: 'weir-cli', redirect_uris: [], response_types: [], token_endpoint_auth_method: 'none', grant_types: ['urn:ietf:params:oauth:grant-type:device_code'] },
  ],
  jwks: { keys },
  cookies: { keys: ['a cookie key of a test'] },
  claims: { openid: ['sub', 'groups', 'name'] },
  // Groups in the ID token itself.
  conformIdTokenClaims: false,
  features: { devInteractions: { enabled: true }, deviceFlow: { enabled: true } },
  pkce: { methods: ["S256"], required: () => true },
  findAccount: (_, login) => {
    const [name, ...groups] = login.split('+');
    return { accountId: login, claims: () => ({ sub: name, name: `${name} of the test`, groups }) };
  },
});

let down = false;
let provider;
const server = createServer((request, response) => {
  if (down) request.socket.destroy();
  else provider.callback()(request, response);
});
server.listen(0, '127.0.0.1', () => {
  const url = `http://127.0.0.1:${server.address().port}`;
  const begin = () => { provider = new Provider(url, configuration()); };
  begin();
  createInterface({ input: process.stdin }).on('line', (line) => {
    if (line === 'rotate') { keys.unshift(key()); keys.length = 1; begin(); }
    if (line === 'down') down = true;
    if (line === 'up') down = false;
    console.log(`done ${line}`);
  }).on('close', () => process.exit(0));
  console.log(url);
});
