// Runs a script of python/ in the suite's own environment and returns the JSON it prints.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);

export async function python(script, ...args) {
  const binary = process.env.FERIA_PYTHON;
  if (!binary) throw new Error('set FERIA_PYTHON to the python of the environment');
  const path = fileURLToPath(new URL(`python/${script}`, import.meta.url));
  const { stdout } = await run(binary, [path, ...args]);
  return JSON.parse(stdout);
}
