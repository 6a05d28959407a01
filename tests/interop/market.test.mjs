// Clients nobody here wrote, against a running node: nostr-tools browses the
// relay endpoint, @getalby/lightning-tools and cashu-ts read the 402.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Invoice, parseL402 } from '@getalby/lightning-tools';
import { decodePaymentRequest } from '@cashu/cashu-ts';
import { verifyEvent } from 'nostr-tools/pure';
import * as nip99 from 'nostr-tools/nip99';
import { SimplePool, useWebSocketImplementation } from 'nostr-tools/pool';
import WebSocket from 'ws';
import { startDemo } from './demo.mjs';

useWebSocketImplementation(WebSocket);
const OWN = ['data', 'flaky', 'inference'];
const tag = (event, name) => event.tags.find(([key]) => key === name)?.[1];

let demo;
let pool;
before(async () => {
  demo = await startDemo();
  pool = new SimplePool();
});
after(async () => {
  pool.destroy();
  await demo.stop();
});

test('nostr-tools browses the listings on the relay', async () => {
  const events = await pool.querySync([demo.relay], { kinds: [31402] });
  assert.deepEqual(events.map((event) => tag(event, 'd')).sort(), OWN);
  for (const event of events) assert.ok(verifyEvent(event));
});

test("nostr-tools reads them at the seller's own relay endpoint too", async () => {
  const events = await pool.querySync([demo.sellerRelay], { kinds: [31402], '#t': ['data'] });
  assert.deepEqual(events.map((event) => tag(event, 'd')), ['data']);
});

test('every classified listing passes nip99.validateEvent', async () => {
  const events = await pool.querySync([demo.relay], { kinds: [30402] });
  assert.equal(events.length, OWN.length);
  for (const event of events) {
    assert.ok(nip99.validateEvent(event), JSON.stringify(event.tags));
    const parsed = nip99.parseEvent(event);
    assert.equal(parsed.price.currency, 'SAT');
    assert.ok(Number(parsed.price.amount) > 0);
    assert.ok(tag(event, 'image').startsWith(demo.gateway));
  }
});

test('@getalby/lightning-tools reads the L402 challenge', async () => {
  const response = await fetch(`${demo.gateway}/a/data/`);
  assert.equal(response.status, 402);
  assert.equal(response.headers.get('cache-control'), 'no-store');
  const challenge = parseL402(response.headers.get('www-authenticate'));
  assert.ok(challenge.token || challenge.macaroon);
  assert.equal(new Invoice({ pr: challenge.invoice }).satoshi, 100);
});

test('cashu-ts reads the payment request', async () => {
  const response = await fetch(`${demo.gateway}/a/inference/`, { method: 'POST' });
  assert.equal(response.status, 402);
  const header = response.headers.get('x-cashu');
  assert.ok(header.startsWith('creqA'));
  const request = decodePaymentRequest(header);
  assert.equal(Number(request.amount), 500);
  assert.equal(request.unit, 'sat');
  assert.equal(request.mints.length, 2);
});
