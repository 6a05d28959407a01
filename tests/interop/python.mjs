// Runs a script of python/ in the suite's own environment and returns the JSON it prints.
import { execFile, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);

function command(script) {
  const binary = process.env.FERIA_PYTHON;
  if (!binary) throw new Error('set FERIA_PYTHON to the python of the environment');
  return [binary, fileURLToPath(new URL(`python/${script}`, import.meta.url))];
}

export async function python(script, ...args) {
  const [binary, path] = command(script);
  const { stdout } = await run(binary, [path, ...args]);
  return JSON.parse(stdout);
}

// Starts a script that prints JSON line by line until its input is closed.
export async function startPython(script, ...args) {
  const [binary, path] = command(script);
  const child = spawn(binary, [path, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async line() {
      const { value, done } = await lines.next();
      if (done) throw new Error(`${script} has ended`);
      return JSON.parse(value);
    },
    async stop() {
      const gone = new Promise((ended) => child.once('exit', ended));
      child.stdin.end();
      await gone;
    },
  };
}
