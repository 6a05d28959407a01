// The shared vectors against two macaroon libraries nobody here wrote, and what those
// libraries make of our macaroons against our gateway.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { after, before, test } from 'node:test';
import { importMacaroon, newMacaroon } from 'macaroon';
import { moved, pay, startDemo } from './demo.mjs';
import { python } from './python.mjs';
import { startUpstream } from './upstream.mjs';

const FILE = fileURLToPath(new URL('../vectors/l402-macaroons.json', import.meta.url));
const { vectors } = JSON.parse(readFileSync(FILE));
const bytes = (hex) => new Uint8Array(Buffer.from(hex, 'hex'));
const hex = (array) => Buffer.from(array).toString('hex');
const base64 = (array) => Buffer.from(array).toString('base64');

// Up to here exportBinary of macaroon 3.0.4 works; with more caveats it runs out of
// memory, because it doubles its buffer at each step. Its JSON form is sound.
const MAX_EXPORTED_CAVEATS = 3;

// Writes the V2 bytes of what the library signed, from the library's own JSON form.
function v2(macaroon) {
  const json = macaroon.exportJSON();
  const part = (object, name) =>
    object[name] === undefined
      ? Buffer.from(object[`${name}64`], 'base64url')
      : Buffer.from(object[name]);
  const field = (tag, data) => {
    const length = data.length < 128 ? [data.length] : [(data.length & 127) | 128, data.length >> 7];
    return Buffer.concat([Buffer.from([tag, ...length]), data]);
  };
  const end = Buffer.from([0]);
  return Buffer.concat([
    Buffer.from([2]),
    field(1, part(json, 'l')),
    field(2, part(json, 'i')),
    end,
    ...(json.c ?? []).flatMap((caveat) => [field(2, part(caveat, 'i')), end]),
    end,
    field(6, part(json, 's')),
  ]);
}

let demo;
let upstream;
before(async () => {
  [demo, upstream] = await Promise.all([startDemo(), startUpstream()]);
});
after(async () => {
  await demo.stop();
  await upstream.stop();
});

for (const vector of vectors) {
  test(`npm macaroon signs, writes and verifies: ${vector.name}`, () => {
    const rootKey = bytes(vector.root_key_hex);
    const made = newMacaroon({
      identifier: bytes(vector.identifier_hex),
      location: vector.location,
      rootKey,
      version: 2,
    });
    for (const caveat of vector.caveats) made.addFirstPartyCaveat(caveat);
    const read = importMacaroon(bytes(vector.v2_hex));
    const checked = [];

    assert.equal(hex(made.signature), vector.signature_hex);
    assert.equal(hex(v2(made)), vector.v2_hex);
    assert.equal(base64(v2(read)), vector.base64);
    if (vector.caveats.length <= MAX_EXPORTED_CAVEATS) {
      assert.equal(hex(made.exportBinary()), vector.v2_hex);
    }
    read.verify(rootKey, (condition) => {
      checked.push(condition);
      return null;
    });
    assert.deepEqual(checked, vector.caveats);
    assert.throws(() => read.verify(bytes('ff'.repeat(32)), () => null));
  });
}

test('pymacaroons signs, writes and verifies every vector', async () => {
  const found = await python('macaroons.py', 'check', FILE);

  assert.equal(found.length, vectors.length);
  vectors.forEach((vector, index) => {
    assert.deepEqual(found[index], {
      name: vector.name,
      signature_hex: vector.signature_hex,
      v2_hex: vector.v2_hex,
      read_back_hex: vector.v2_hex,
      verified: true,
    });
  });
});

// Pays for three calls and returns the macaroon, and a call with another macaroon.
async function buyThree(name) {
  const settings = { price: '30sat', method: 'GET', rails: ['l402'], uses: 3 };
  const url = await demo.sell(name, upstream.url, settings);
  const challenge = (await fetch(url)).headers.get('www-authenticate');
  const [, macaroon] = /macaroon="([^"]+)"/.exec(challenge);
  const [, invoice] = /invoice="([^"]+)"/.exec(challenge);
  const { preimage } = await pay(demo.payUrl, invoice);
  let question = 0;
  const call = async (text) => {
    question += 1;
    const headers = { authorization: `L402 ${text}:${preimage}` };
    return (await fetch(`${url}?n=${question}`, { headers })).status;
  };
  return { macaroon, call };
}

async function narrowsOverHttp(name, narrow) {
  const opening = await demo.books();
  const { macaroon, call } = await buyThree(name);
  const hour = Math.floor(Date.now() / 1000) + 2 * 3600;
  const single = await narrow(macaroon, 'uses=1', `${name}_valid_until=${hour}`);
  const stale = await narrow(macaroon, `${name}_valid_until=1000000000`);
  const elsewhere = await narrow(macaroon, 'path_prefix=/nowhere');
  const foreign = await narrow(macaroon, 'services=other:0');

  assert.notEqual(single, macaroon);
  assert.equal(await call(stale), 402);
  assert.equal(await call(elsewhere), 402);
  assert.notEqual(await call(foreign), 200);
  assert.equal(await call(single), 200);
  assert.equal(await call(single), 402);
  // What the holder gave away is gone, the rest of the payment is not.
  assert.equal(await call(macaroon), 200);
  assert.equal(await call(macaroon), 200);
  assert.equal(await call(macaroon), 402);
  assert.equal(moved(opening, await demo.books())[`income:${name}`], -30);
}

test('the gateway takes what npm macaroon narrowed, and no more', () =>
  narrowsOverHttp('npm', (text, ...caveats) => {
    const macaroon = importMacaroon(new Uint8Array(Buffer.from(text, 'base64')));
    for (const caveat of caveats) macaroon.addFirstPartyCaveat(caveat);
    return base64(v2(macaroon));
  }));

test('the gateway takes what pymacaroons narrowed, and no more', () =>
  narrowsOverHttp('py', async (...args) => (await python('macaroons.py', 'narrow', ...args)).base64));

test('a macaroon signed with another key is refused', async () => {
  const { macaroon, call } = await buyThree('forged');
  const real = importMacaroon(new Uint8Array(Buffer.from(macaroon, 'base64')));
  const forged = newMacaroon({
    identifier: real.identifier,
    location: 'lsat',
    rootKey: bytes('07'.repeat(32)),
    version: 2,
  });
  for (const { identifier } of real.caveats) {
    forged.addFirstPartyCaveat(Buffer.from(identifier).toString());
  }

  assert.equal(await call(base64(v2(forged))), 401);
  assert.equal(await call(macaroon), 200);
});
