// dist/ as its users meet it: through the package's exports and its command, on the system's own Node.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

const manifest = JSON.parse(readFileSync('package.json', 'utf8'));

for (const path of Object.keys(manifest.exports)) {
  test(`lorikeet${path.slice(1)} can be imported`, async () => {
    const module = await import(`lorikeet${path.slice(1)}`);
    assert.ok(Object.keys(module).length > 0);
  });
}

test('@cuda-js/runtime simulates a device', async () => {
  const { openSimulator } = await import('@cuda-js/runtime');
  const device = openSimulator();
  const bytes = new Uint8Array([1, 2, 3]);
  const pointer = device.alloc(bytes.length);
  device.writeAsync(pointer, bytes);
  const found = new Uint8Array(bytes.length);
  device.readAsync(found, pointer);
  assert.deepEqual(found, bytes);
  device[Symbol.dispose ?? Symbol.for('Symbol.dispose')]();
});

test('a CUDA kernel runs on the simulator', async () => {
  const { add, createCudaBackend, tensor } = await import('lorikeet/engine');
  const backend = await createCudaBackend({ device: 'cuda-sim' });
  const sum = add(tensor([1, 2, 3], { backend }), tensor([10, 20, 30], { backend }));
  assert.deepEqual([...(await sum.data())], [11, 22, 33]);
  await backend.close();
});

test('the command prints its help', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['dist/cli/main.js', '--help'], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  for (const verb of ['train', 'eval', 'generate']) assert.match(stdout, new RegExp(`\\b${verb}\\b`));
});
