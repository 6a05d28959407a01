// The `Payment` dialect of the 402 (row L of the client matrix: a `Payment` line alone)
// with clients that speak it. Skipped while our 402 has no such line.
import assert from 'node:assert/strict';
import { createServer, request } from 'node:http';
import { after, before, test } from 'node:test';
import { fetch402 } from '@getalby/lightning-tools';
import { fetchWithMpp } from '@getalby/lightning-tools/402/mpp';
import { moved, pay, startDemo } from './demo.mjs';
import { python } from './python.mjs';
import { startUpstream } from './upstream.mjs';

const PRICE = 21;
const isPayment = (line) => /^payment /i.test(line);

let demo;
let upstream;
let url;
let proxy;
let speaksMpp;
before(async () => {
  [demo, upstream] = await Promise.all([startDemo(), startUpstream()]);
  const settings = { price: `${PRICE}sat`, method: 'GET', rails: ['l402'] };
  url = await demo.sell('mpp', upstream.url, settings);
  proxy = await startPaymentOnlyProxy(demo.gateway);
  speaksMpp = (await challengeLines(url)).some(isPayment);
});
after(async () => {
  await demo.stop();
  await upstream.stop();
  await proxy.stop();
});

// Returns each WWW-Authenticate line of a 402 by itself, which fetch would join.
function challengeLines(address) {
  return new Promise((told, fail) => {
    request(address, (response) => {
      response.resume();
      response.on('end', () => told(response.headersDistinct['www-authenticate'] ?? []));
    })
      .on('error', fail)
      .end();
  });
}

// Passes everything on, and leaves of a challenge the `Payment` line alone.
async function startPaymentOnlyProxy(gateway) {
  const server = createServer((asked, answer) => {
    const { method, headers, url: path } = asked;
    const forward = request(new URL(path, gateway), { method, headers }, (response) => {
      for (const [name, values] of Object.entries(response.headersDistinct)) {
        const kept = name === 'www-authenticate' ? values.filter(isPayment) : values;
        if (kept.length > 0) answer.setHeader(name, kept);
      }
      answer.writeHead(response.statusCode);
      response.pipe(answer);
    });
    asked.pipe(forward);
  });
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    stop: () => new Promise((done) => server.close(done)),
  };
}

async function buys(client, address) {
  const paid = [];
  const wallet = {
    async payInvoice({ invoice }) {
      paid.push(invoice);
      return { preimage: (await pay(demo.payUrl, invoice)).preimage };
    },
  };
  const [opening, calls] = [await demo.books(), upstream.seen.calls];

  const bought = await client(`${address}?n=1`, {}, { wallet, maxAmount: 50 });
  const { credentials } = bought.payment;
  const second = await client(`${address}?n=2`, {}, { wallet, credentials });

  assert.equal(bought.status, 200);
  assert.match(credentials.value, /^Payment /);
  assert.equal(paid.length, 1);
  assert.equal(second.status, 402);
  assert.equal(upstream.seen.calls, calls + 1);
  assert.equal(upstream.seen.payments, 0);
  assert.equal(moved(opening, await demo.books())['income:mpp'], -PRICE);
}

function mpp(name, check) {
  test(name, async (t) => {
    if (!speaksMpp) {
      t.skip('the 402 of this node has no `Payment` line');
      return;
    }
    await check();
  });
}

mpp('the `Payment` line comes after the L402 line', async () => {
  const lines = await challengeLines(url);
  assert.match(lines[0], /^L402 macaroon=/);
  assert.ok(lines.slice(1).some(isPayment));
});

mpp('row L: Alby fetch402 pays 21 sat by a `Payment` line alone', () =>
  buys(fetch402, `${proxy.url}/a/mpp/`));

// It reads the header only when that begins with `Payment`; beside an L402 line,
// fetch402 takes L402.
mpp('Alby fetchWithMpp pays 21 sat by a `Payment` line alone', () =>
  buys(fetchWithMpp, `${proxy.url}/a/mpp/`));

mpp('row L: l402-requests pays each call by a `Payment` line alone', async () => {
  const address = `${proxy.url}/a/mpp/`;
  const opening = await demo.books();

  const bought = await python('buy.py', demo.payUrl, `${address}?n=3`, `${address}?n=4`);

  assert.deepEqual(bought.answers.map((answer) => answer.status), [200, 200]);
  assert.equal(bought.paid.length, 2);
  for (const credential of bought.credentials) assert.match(credential, /^Payment /);
  assert.equal(moved(opening, await demo.books())['income:mpp'], -2 * PRICE);
});
