// Starts `feria demo` on a temporary folder, reaches its parts, and stops it again.
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const PATIENCE_MS = 60_000;
const run = promisify(execFile);

export async function startDemo() {
  const binary = process.env.FERIA_BIN;
  if (!binary) throw new Error('set FERIA_BIN to the feria binary');
  const folder = await mkdtemp(join(tmpdir(), 'feria-interop-'));
  const child = spawn(binary, ['demo', '--data-dir', folder], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  await new Promise((ready, fail) => {
    const timer = setTimeout(() => fail(new Error(`demo not ready: ${said}`)), PATIENCE_MS);
    child.stderr.on('data', (chunk) => {
      said += chunk;
      if (said.includes('Ctrl-C ends the demo')) {
        clearTimeout(timer);
        ready();
      }
    });
    child.on('exit', (code) => fail(new Error(`demo ended with ${code}: ${said}`)));
  });
  const ports = JSON.parse(await readFile(join(folder, 'demo.json')));
  const http = (port) => `http://127.0.0.1:${port}`;

  const seller = join(folder, 'seller');
  const token = (await readFile(join(seller, 'admin.macaroon'), 'utf8')).trim();

  return {
    relay: `ws://127.0.0.1:${ports.relays[0]}`,
    sellerRelay: `ws://127.0.0.1:${ports.seller[0]}`,
    gateway: http(ports.seller[0]),
    // Without input fees, and with 100 thousandths of a satoshi per proof.
    freeMint: http(ports.mints[0]),
    feeMint: http(ports.mints[1]),
    payUrl: `${http(ports.front)}/simulated/pay`,
    invoiceUrl: `${http(ports.front)}/simulated/invoice`,

    // Makes an invoice of the simulated network for a shop of the test's own.
    async invoice(sat) {
      const answer = await fetch(this.invoiceUrl, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ amount_sat: sat, description: 'a call' }),
      });
      if (!answer.ok) throw new Error(`no invoice: ${await answer.text()}`);
      return answer.json();
    },

    // Runs a command of the buyer's node and returns the JSON it prints.
    async buyer(...args) {
      const options = ['--data-dir', join(folder, 'buyer'), '--json'];
      return JSON.parse((await run(binary, [...options, ...args])).stdout);
    },

    // Puts a price on `upstream`: writes the agent's file and has the node read it.
    async sell(name, upstream, settings) {
      const lines = Object.entries({ upstream, ...settings });
      const file = lines.map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`).join('');
      await writeFile(join(seller, 'agents', `${name}.toml`), file, { mode: 0o600 });
      const told = await fetch(`${http(ports.seller[1])}/api/v1/agents/reload`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: '{}',
      });
      if (!told.ok) throw new Error(`${name} is not sold: ${await told.text()}`);
      return `${http(ports.seller[0])}/a/${name}/`;
    },

    // Adds up the seller's books; they must be right each time.
    async books() {
      const args = ['--data-dir', seller, '--json', 'ledger', 'audit'];
      const audit = JSON.parse((await run(binary, args)).stdout);
      if (!audit.ok || audit.imbalance_msat !== 0) {
        throw new Error(`the books do not add up: ${JSON.stringify(audit)}`);
      }
      return audit.balances_msat;
    },

    async stop() {
      child.removeAllListeners('exit');
      const gone = new Promise((done) => child.once('exit', done));
      child.kill('SIGINT');
      await gone;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

// Has an invoice paid over the simulated network, and returns the preimage.
export async function pay(payUrl, invoice) {
  const answer = await fetch(payUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ invoice }),
  });
  const paid = await answer.json();
  if (paid.state !== 'paid') throw new Error(`not paid: ${JSON.stringify(paid)}`);
  return paid;
}

// What moved on the books between two audits, in satoshi, by class of account or by
// account. Credits are negative: income grows below zero.
export function moved(before, after) {
  const sums = {};
  for (const account of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const msat = (after[account] ?? 0) - (before[account] ?? 0);
    if (msat === 0) continue;
    for (const name of new Set([account, account.split(':')[0]])) {
      sums[name] = (sums[name] ?? 0) + msat / 1000;
    }
  }
  return sums;
}
