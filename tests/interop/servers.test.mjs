// Servers nobody here wrote, bought from by `feria fetch`: the L402 server helper of
// @getalby/lightning-tools (a token that is no macaroon, a challenge without commas),
// the Flask middleware of PyPI l402 0.0.9 (URL-safe macaroons without padding) and
// PyPI l402kit (JSON tokens, each good for one call). Their invoices are of the
// demo's simulated network; the buyer's wallet melts ecash at the demo's mint.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import {
  issueL402Macaroon,
  makeL402AuthenticateHeader,
  parseL402Authorization,
  verifyL402Macaroon,
} from '@getalby/lightning-tools';
import { createHash } from 'node:crypto';
import { startDemo } from './demo.mjs';
import { startPython } from './python.mjs';

const PRICE = 21;

let demo;
before(async () => {
  demo = await startDemo();
  await demo.buyer('wallet', 'create', 'shopper', '--limit', '2000sat', '--ttl', '1h', '--fund', '1000sat');
});
after(() => demo.stop());

// A server made of Alby's helpers: it serves who shows a token of its own and the
// preimage of that token's invoice.
async function startAlby() {
  const secret = 'the secret of the shop';
  const seen = { paid: 0 };
  const server = createServer(async (request, response) => {
    const shown = parseL402Authorization(request.headers.authorization ?? '');
    if (shown) {
      const { paymentHash } = await verifyL402Macaroon(secret, shown.token);
      const hash = createHash('sha256').update(Buffer.from(shown.preimage, 'hex')).digest('hex');
      if (hash === paymentHash) {
        seen.paid += 1;
        response.setHeader('content-type', 'application/json');
        response.end(JSON.stringify({ sold_by: 'alby', asked: request.url }));
        return;
      }
    }
    const { invoice, payment_hash: hash } = await demo.invoice(PRICE);
    const token = await issueL402Macaroon(secret, hash);
    const header = makeL402AuthenticateHeader({ token, invoice });
    // What the test is about: no comma after the version, and no macaroon.
    assert.match(header, /^L402 version="0" token="[\w-]+\.[0-9a-f]+", invoice="/);
    response.writeHead(402, { 'www-authenticate': header });
    response.end();
  });
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  return {
    seen,
    url: `http://127.0.0.1:${server.address().port}/paid`,
    stop: () => new Promise((done) => server.close(done)),
  };
}

const fetchPaid = (url, ...more) =>
  demo.buyer('fetch', '--agent', 'shopper', '--max-cost', '50sat', ...more, url);

// What every purchase of this page must look like.
function assertBought(bought, soldBy) {
  assert.equal(bought.status, 200);
  assert.equal(JSON.parse(bought.body).sold_by, soldBy);
  assert.equal(bought.purchase.rail, 'l402');
  assert.equal(bought.purchase.outcome, 'delivered');
  assert.equal(bought.purchase.price_msat, PRICE * 1000);
}

test('Alby: an opaque token without commas is paid for and said to be opaque', async () => {
  const shop = await startAlby();
  try {
    const quote = await demo.buyer('quote', '--agent', 'shopper', `${shop.url}?city=Faro`);
    const bought = await fetchPaid(`${shop.url}?city=Faro`);
    const again = await fetchPaid(`${shop.url}?city=Lagos`);

    assert.equal(quote.price_msat, PRICE * 1000);
    assert.equal(quote.asks[0].is_bound, false);
    assertBought(bought, 'alby');
    assert.match(bought.purchase.decision, /opaque/);
    // The credential says no limit, and is used again.
    assert.equal(again.purchase.rail, 'l402-cached');
    assert.equal(again.purchase.price_msat, 0);
    assert.equal(shop.seen.paid, 2);
    const why = await demo.buyer('ledger', 'why', bought.purchase.id);
    assert.match(why.why, /melting ecash/);
  } finally {
    await shop.stop();
  }
});

test('PyPI l402 0.0.9: a macaroon in URL-safe base64 without padding is bound and paid for', async () => {
  const shop = await startPython('servers.py', 'l402', demo.invoiceUrl);
  try {
    const { url } = await shop.line();
    const quote = await demo.buyer('quote', '--agent', 'shopper', `${url}/paid?city=Faro`);
    const bought = await fetchPaid(`${url}/paid?city=Faro`);

    assert.equal(quote.asks[0].is_bound, true);
    assertBought(bought, 'l402');
    assert.doesNotMatch(bought.purchase.decision, /opaque/);
    assert.deepEqual(await shop.line(), { paid: '/paid?city=Faro' });
  } finally {
    await shop.stop();
  }
});

test('PyPI l402kit: a token that is good once is replaced by a new purchase', async () => {
  const shop = await startPython('servers.py', 'l402kit', demo.invoiceUrl);
  try {
    const { url } = await shop.line();
    const first = await fetchPaid(`${url}/paid?city=Faro`);
    // It answers 401 to a used token: the buyer pays again, once.
    const second = await fetchPaid(`${url}/paid?city=Lagos`);

    assertBought(first, 'l402kit');
    assertBought(second, 'l402kit');
    assert.match(first.purchase.decision, /opaque/);
    assert.deepEqual(await shop.line(), { paid: '/paid?city=Faro' });
    assert.deepEqual(await shop.line(), { paid: '/paid?city=Lagos' });
  } finally {
    await shop.stop();
  }
});
