import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

test.each([
  ['f32', 14],
  ['int16', 1],
])('optimised kernels give the same bits with the revectorizer on and off (%s)', async (products, ops) => {
  const script = fileURLToPath(new URL('optimisedBits.ts', import.meta.url));
  const [off, on] = await Promise.all(
    [[], ['revectorize']].map((flags) => promisify(execFile)(process.execPath, [script, products, ...flags])),
  );
  expect(off.stdout.trim().split('\n')).toHaveLength(ops);
  expect(on.stdout).toBe(off.stdout);
});
