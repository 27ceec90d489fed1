// Every flow of @azure/msal-node against one authority; prints {"flow": access token} as JSON.
// Run by clients_test.go, with the authority and the accounts in the environment.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const https = require('https');
const msal = require('@azure/msal-node');

const env = process.env;
const scopes = [env.SCOPE];
const host = new URL(env.ARM).host;
const redirectUri = 'http://localhost:3000';
const tokens = {};

function keep(flow, answer) {
  if (!answer || !answer.accessToken) throw new Error(flow + ': no token');
  tokens[flow] = answer.accessToken;
}

// signIn plays the browser: it posts the name and the password, and returns the code of the address it is sent to.
function signIn(address) {
  const body = new URLSearchParams({ username: env.USERNAME, password: env.PASSWORD }).toString();
  return new Promise((resolve, reject) => {
    const headers = { 'Content-Type': 'application/x-www-form-urlencoded', 'Content-Length': body.length };
    const req = https.request(address, { method: 'POST', headers }, (res) => {
      res.resume();
      if (!res.headers.location) return reject(new Error('sign-in: status ' + res.statusCode));
      resolve(new URL(res.headers.location).searchParams.get('code'));
    });
    req.on('error', reject);
    req.end(body);
  });
}

async function form(name, authority) {
  const auth = { authority, knownAuthorities: [host] };
  const secret = new msal.ConfidentialClientApplication({ auth: { ...auth, clientId: 'builder', clientSecret: 'builder' } });
  keep(name + ' secret', await secret.acquireTokenByClientCredential({ scopes }));

  const clientCertificate = { thumbprintSha256: env.THUMBPRINT256, privateKey: fs.readFileSync(env.KEY, 'utf8') };
  const certificate = new msal.ConfidentialClientApplication({ auth: { ...auth, clientId: 'builder', clientCertificate } });
  keep(name + ' certificate', await certificate.acquireTokenByClientCredential({ scopes }));

  const device = new msal.PublicClientApplication({ auth: { ...auth, clientId: env.PUBLIC } });
  const signedIn = await device.acquireTokenByDeviceCode({ scopes, deviceCodeCallback: (a) => process.stderr.write(a.message + '\n') });
  keep(name + ' device', signedIn);
  keep(name + ' silent, another resource', await device.acquireTokenSilent({ scopes: [env.OTHER], account: signedIn.account }));

  const verifier = crypto.randomBytes(32).toString('base64url');
  const codeChallenge = crypto.createHash('sha256').update(verifier).digest('base64url');
  for (const [kind, app] of [['public', device], ['confidential', secret]]) {
    const address = await app.getAuthCodeUrl({ scopes, redirectUri, codeChallenge, codeChallengeMethod: 'S256' });
    const code = await signIn(address);
    keep(name + ' code, ' + kind, await app.acquireTokenByCode({ scopes, redirectUri, code, codeVerifier: verifier }));
  }
}

(async () => {
  await form('adfs', env.AUTHORITY);
  await form('entra', env.ARM + '/' + env.TENANT);
  process.stdout.write(JSON.stringify(tokens));
})().catch((e) => { process.stderr.write(String(e.stack) + '\n'); process.exit(1); });
