// Ecash to the end with @cashu/cashu-ts: it mints play ecash at the demo's mints over
// their HTTP API, reads our payment requests, pays with plain and locked tokens, and
// takes back change and refunds.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import {
  Wallet,
  createRandomSecretKey,
  decodePaymentRequest,
  getEncodedToken,
  getPubKeyFromPrivKey,
  sumProofs,
} from '@cashu/cashu-ts';
import { moved, pay, startDemo } from './demo.mjs';
import { startUpstream } from './upstream.mjs';

const PRICE = 48;
const PATIENCE_MS = 15_000;
const { requests } = JSON.parse(
  readFileSync(new URL('../vectors/payment-requests.json', import.meta.url)),
);

let demo;
let upstream;
let url;
before(async () => {
  [demo, upstream] = await Promise.all([startDemo(), startUpstream()]);
  url = await demo.sell('ecash', upstream.url, { price: `${PRICE}sat`, rails: ['nut24'] });
});
after(async () => {
  await demo.stop();
  await upstream.stop();
});

// A wallet at `mint`, and `amount` sat of play ecash in it.
async function fund(mint, amount) {
  const wallet = new Wallet(mint, { unit: 'sat' });
  await wallet.loadMint();
  const quote = await wallet.createMintQuoteBolt11(amount);
  await pay(demo.payUrl, quote.request);
  const giveUp = Date.now() + PATIENCE_MS;
  let state;
  do {
    ({ state } = await wallet.checkMintQuoteBolt11(quote.quote));
  } while (state !== 'PAID' && Date.now() < giveUp);
  return { wallet, proofs: await wallet.mintProofsBolt11(amount, quote.quote) };
}

const encode = (wallet, proofs) => getEncodedToken({ mint: wallet.mint.mintUrl, proofs, unit: 'sat' });
const worth = (proofs) => Number(sumProofs(proofs));
const keyPair = () => {
  const secret = createRandomSecretKey();
  return { secret: Buffer.from(secret).toString('hex'), key: Buffer.from(getPubKeyFromPrivKey(secret)).toString('hex') };
};

async function call(address, body, token) {
  const headers = token ? { 'x-cashu': token } : {};
  const response = await fetch(address, { method: 'POST', headers, body });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

async function request(address) {
  const challenge = await call(address, 'price?');
  assert.equal(challenge.status, 402);
  return decodePaymentRequest(challenge.headers.get('x-cashu'));
}

const refund = async (token) => {
  const response = await fetch(`${demo.gateway}/v1/refund`, { method: 'POST', body: token });
  return { status: response.status, ...(await response.json()) };
};

for (const { name, creq_a: creqA, creq_b: creqB, ...terms } of requests) {
  test(`cashu-ts decodes creqA and creqB alike: ${name}`, () => {
    for (const text of [creqA, creqB, creqB.toLowerCase()]) {
      const read = decodePaymentRequest(text);
      assert.equal(read.id, terms.id);
      assert.equal(Number(read.amount), terms.amount_sat);
      assert.equal(read.unit, 'sat');
      assert.equal(read.singleUse, true);
      assert.deepEqual(read.mints ?? [], terms.mints);
      const lock = read.toP2PKOptions();
      assert.equal(lock?.pubkey, terms.lock_key ?? undefined);
    }
  });
}

test('cashu-ts reads the price, the mints and the lock of a 402', async () => {
  const read = await request(url);

  assert.equal(Number(read.amount), PRICE);
  assert.deepEqual([...read.mints].sort(), [demo.freeMint, demo.feeMint].sort());
  assert.match(read.toP2PKOptions().pubkey, /^0[23][0-9a-f]{64}$/);
  assert.equal(read.transport?.length ?? 0, 0);
});

test('a plain token of 48 sat buys one call', async () => {
  const { wallet, proofs } = await fund(demo.freeMint, PRICE);
  const [opening, calls] = [await demo.books(), upstream.seen.calls];
  const token = encode(wallet, proofs);

  const bought = await call(url, 'a', token);
  const lost = await call(url, 'a', token);
  const second = await call(url, 'b', token);
  const closing = await demo.books();

  assert.equal(bought.status, 200);
  assert.equal(JSON.parse(bought.text).body, 'a');
  assert.equal(bought.headers.get('feria-settlement'), 'swap');
  assert.equal(bought.headers.get('x-cashu'), null);
  assert.deepEqual([lost.status, lost.text], [200, bought.text]);
  assert.deepEqual([second.status, JSON.parse(second.text).code], [400, 'token_already_spent']);
  assert.equal(upstream.seen.calls, calls + 1);
  assert.equal(upstream.seen.payments, 0);
  assert.deepEqual(moved(opening, closing), {
    assets: PRICE,
    [`assets:wallet:treasury:${demo.freeMint}`]: PRICE,
    income: -PRICE,
    'income:ecash': -PRICE,
  });
});

test('a token of 100 sat for a price of 48: cashu-ts gets 52 back', async () => {
  const { wallet, proofs } = await fund(demo.freeMint, 100);
  const opening = await demo.books();

  const bought = await call(url, 'overpaid', encode(wallet, proofs));
  const change = await wallet.receive(bought.headers.get('x-cashu'));
  const closing = await demo.books();

  assert.equal(bought.status, 200);
  assert.equal(worth(change), 100 - PRICE);
  assert.equal(moved(opening, closing)['income:ecash'], -PRICE);
  assert.equal(moved(opening, closing).assets, PRICE);
});

test('at a mint with input fees the price is what is left after them', async () => {
  const { wallet, proofs } = await fund(demo.feeMint, 100);
  const opening = await demo.books();

  const { send, keep } = await wallet.ops.send(PRICE, proofs).includeFees(true).run();
  const fee = Number(wallet.getFeesForProofs(send));
  const bought = await call(url, 'with fee', encode(wallet, send));
  const closing = await demo.books();

  assert.equal(bought.status, 200);
  assert.ok(fee > 0);
  assert.equal(worth(send), PRICE + fee);
  assert.ok(worth(keep) < 100 - PRICE);
  assert.equal(moved(opening, closing).assets, PRICE);
});

test('too little, and a foreign mint, are refused and the token is untouched', async () => {
  const { wallet, proofs } = await fund(demo.freeMint, PRICE - 1);
  const [opening, calls] = [await demo.books(), upstream.seen.calls];
  const foreign = getEncodedToken({ mint: 'http://127.0.0.1:9', proofs, unit: 'sat' });

  const little = await call(url, 'little', encode(wallet, proofs));
  const elsewhere = await call(url, 'elsewhere', foreign);
  const kept = await wallet.receive(encode(wallet, proofs));

  assert.deepEqual([little.status, elsewhere.status], [400, 400]);
  assert.equal(JSON.parse(little.text).code, 'amount_too_low');
  assert.equal(worth(kept), PRICE - 1);
  assert.equal(upstream.seen.calls, calls);
  assert.deepEqual(moved(opening, await demo.books()), {});
});

test('a token locked as the 402 asks is taken offline, and buys one call', async () => {
  const { wallet, proofs } = await fund(demo.freeMint, PRICE);
  const lock = (await request(url)).toP2PKOptions();
  const [opening, calls] = [await demo.books(), upstream.seen.calls];

  const { send } = await wallet.ops.send(PRICE, proofs).asP2PK(lock).run();
  const token = encode(wallet, send);
  const bought = await call(url, 'locked', token);
  const second = await call(url, 'locked again', token);
  const closing = await demo.books();

  assert.equal(bought.status, 200);
  assert.equal(bought.headers.get('feria-settlement'), 'offline');
  assert.deepEqual([second.status, JSON.parse(second.text).code], [400, 'token_already_spent']);
  assert.equal(upstream.seen.calls, calls + 1);
  const { assets, 'income:ecash': income } = moved(opening, closing);
  assert.deepEqual({ assets, income }, { assets: PRICE, income: -PRICE });
});

test('flaky fails: the refund of a plain token comes in the answer, and by POST', async () => {
  const flaky = `${demo.gateway}/a/flaky/`;
  const { wallet, proofs } = await fund(demo.freeMint, 200);
  const opening = await demo.books();
  const token = encode(wallet, proofs);

  const failed = await call(flaky, 'please', token);
  const kept = await refund(token);
  const back = await wallet.receive(failed.headers.get('x-cashu'));
  const closing = await demo.books();

  assert.equal(failed.status, 502);
  assert.equal(kept.status, 200);
  assert.equal(kept.amount_sat, 200);
  // One refund, told twice: a second token would be money from nothing.
  assert.equal(kept.token, failed.headers.get('x-cashu'));
  assert.equal(worth(back), 200);
  await assert.rejects(wallet.receive(kept.token));
  assert.equal(moved(opening, closing)['income:flaky'] ?? 0, 0);
  assert.equal(moved(opening, closing).assets ?? 0, 0);
});

test('flaky fails: a locked token is refunded by POST, locked to its refund key', async () => {
  const flaky = `${demo.gateway}/a/flaky/`;
  const { wallet, proofs } = await fund(demo.freeMint, 200);
  const asked = (await request(flaky)).toP2PKOptions();
  const { secret, key } = keyPair();
  const locktime = Math.floor(Date.now() / 1000) + 24 * 3600;
  const opening = await demo.books();

  const lock = { ...asked, locktime, refundKeys: [key] };
  const { send } = await wallet.ops.send(200, proofs).asP2PK(lock).run();
  const token = encode(wallet, send);
  const failed = await call(flaky, 'please', token);
  const kept = await refund(token);
  const closing = await demo.books();

  assert.equal(failed.status, 502);
  assert.equal(kept.status, 200);
  await assert.rejects(wallet.receive(kept.token), 'a refund must need the refund key');
  const back = await wallet.ops.receive(kept.token).privkey(secret).run();
  assert.equal(worth(back), 200);
  assert.equal(moved(opening, closing)['income:flaky'] ?? 0, 0);
  assert.equal(moved(opening, closing).assets ?? 0, 0);
});

test('a delivered call owes nothing, and a strange token is not known', async () => {
  const { wallet, proofs } = await fund(demo.freeMint, PRICE);
  const token = encode(wallet, proofs);
  const stranger = await fund(demo.freeMint, 8);

  const bought = await call(url, 'delivered', token);
  const delivered = await refund(token);
  const unknown = await refund(encode(stranger.wallet, stranger.proofs));

  assert.equal(bought.status, 200);
  assert.equal(delivered.status, 410);
  assert.equal(unknown.status, 404);
});
