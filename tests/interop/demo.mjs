// Starts `feria demo` on a temporary folder and stops it again.
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PATIENCE_MS = 60_000;

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
  return {
    relay: `ws://127.0.0.1:${ports.relays[0]}`,
    sellerRelay: `ws://127.0.0.1:${ports.seller[0]}`,
    gateway: `http://127.0.0.1:${ports.seller[0]}`,
    async stop() {
      child.removeAllListeners('exit');
      const gone = new Promise((done) => child.once('exit', done));
      child.kill('SIGINT');
      await gone;
      await rm(folder, { recursive: true, force: true });
    },
  };
}
