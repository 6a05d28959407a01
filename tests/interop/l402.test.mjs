// L402 to the end, 402 → pay → 200, with clients nobody here wrote:
// @getalby/lightning-tools and l402-requests. Their wallets are the front over the
// demo's simulated Lightning network.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fetch402, fetchWithL402 } from '@getalby/lightning-tools';
import { moved, pay, startDemo } from './demo.mjs';
import { python } from './python.mjs';
import { startUpstream } from './upstream.mjs';

const PRICE = 21;
const ONE_USE = { price: `${PRICE}sat`, method: 'GET', rails: ['l402'] };

let demo;
let upstream;
before(async () => {
  [demo, upstream] = await Promise.all([startDemo(), startUpstream()]);
});
after(async () => {
  await demo.stop();
  await upstream.stop();
});

// Alby's wallet interface over the front; remembers what it paid.
function albyWallet() {
  const paid = [];
  return {
    paid,
    async payInvoice({ invoice }) {
      const { preimage, fee_msat: fee } = await pay(demo.payUrl, invoice);
      paid.push(invoice);
      return { preimage, fees_paid: fee };
    },
  };
}

// Buys one call that a payment is good for, and tries to use the payment twice.
async function buysOnce(client, name) {
  const url = await demo.sell(name, upstream.url, ONE_USE);
  const wallet = albyWallet();
  const [opening, calls] = [await demo.books(), upstream.seen.calls];

  const bought = await client(`${url}?city=Lisbon`, {}, { wallet, maxAmount: 50 });
  const { credentials } = bought.payment;
  const body = await bought.json();
  const lost = await client(`${url}?city=Lisbon`, {}, { wallet, credentials });
  const second = await client(`${url}?city=Porto`, {}, { wallet, credentials });
  const closing = await demo.books();

  assert.equal(bought.status, 200);
  assert.equal(body.asked, '/?city=Lisbon');
  assert.equal(bought.payment.amountSat, PRICE);
  assert.equal(wallet.paid.length, 1);
  // The same question again is the lost answer, not a second call.
  assert.deepEqual([lost.status, await lost.json()], [200, body]);
  assert.equal(second.status, 402);
  assert.equal((await second.json()).reason, 'credential_used_up');
  assert.equal(upstream.seen.calls, calls + 1);
  assert.equal(upstream.seen.payments, 0);
  assert.deepEqual(moved(opening, closing), {
    assets: PRICE,
    'assets:lightning:seller': PRICE,
    income: -PRICE,
    [`income:${name}`]: -PRICE,
  });
}

test('Alby fetch402: one payment of 21 sat buys one call', () => buysOnce(fetch402, 'alby'));

test('Alby fetchWithL402: one payment of 21 sat buys one call', () =>
  buysOnce(fetchWithL402, 'alby-l402'));

test('Alby fetch402: 100 sat buy three calls, the fourth is a 402', async () => {
  const url = `${demo.gateway}/a/data/`;
  const wallet = albyWallet();
  const opening = await demo.books();

  const first = await fetch402(`${url}?q=1`, {}, { wallet, maxAmount: 100 });
  const { credentials } = first.payment;
  const statuses = [first.status];
  for (const q of [2, 3, 4]) {
    const next = await fetch402(`${url}?q=${q}`, {}, { wallet, credentials });
    statuses.push(next.status);
  }
  const closing = await demo.books();

  assert.deepEqual(statuses, [200, 200, 200, 402]);
  assert.equal(wallet.paid.length, 1);
  assert.equal(moved(opening, closing)['income:data'], -100);
});

test('Alby fetch402 refuses what is over its cap, and nothing moves', async () => {
  const wallet = albyWallet();
  const opening = await demo.books();

  const over = fetch402(`${demo.gateway}/a/data/`, {}, { wallet, maxAmount: 99 });

  await assert.rejects(over);
  assert.equal(wallet.paid.length, 0);
  assert.deepEqual(moved(opening, await demo.books()), {});
});

test('l402-requests: each call of a single-use agent is paid 21 sat once', async () => {
  const url = await demo.sell('requests', upstream.url, ONE_USE);
  const [opening, calls] = [await demo.books(), upstream.seen.calls];

  const bought = await python('buy.py', demo.payUrl, `${url}?n=1`, `${url}?n=2`);
  const [first, cached, second] = bought.credentials;
  const third = await fetch(`${url}?n=3`, { headers: { authorization: second } });
  const closing = await demo.books();

  assert.deepEqual(bought.answers.map((answer) => answer.status), [200, 200]);
  assert.deepEqual(
    bought.answers.map((answer) => JSON.parse(answer.body).asked),
    ['/?n=1', '/?n=2'],
  );
  // It tried what it had for the second call, got a 402, and paid again.
  assert.equal(cached, first);
  assert.notEqual(second, first);
  assert.equal(bought.paid.length, 2);
  assert.equal(third.status, 402);
  assert.equal(upstream.seen.calls, calls + 2);
  assert.equal(moved(opening, closing)['income:requests'], -2 * PRICE);
});

test('an invoice of a 402 is followed from waiting to paid', async () => {
  const url = await demo.sell('followed', upstream.url, ONE_USE);
  const challenge = await fetch(url);
  const [, invoice] = /invoice="([^"]+)"/.exec(challenge.headers.get('www-authenticate'));
  const page = await (await fetch(url, { headers: { accept: 'text/html' } })).text();
  const [, events] = /data-events="([^"]+)"/.exec(page);
  const ask = async (path) => (await fetch(`${demo.gateway}${path}`)).json();

  const before = await ask(events);
  const paid = await pay(demo.payUrl, invoice);
  const after = await ask(`/v1/invoices/${paid.payment_hash}/events`);

  assert.equal(before.state, 'waiting');
  assert.deepEqual(after, { state: 'paid' });
});
