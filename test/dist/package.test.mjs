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

test('the command prints its help', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['dist/cli/main.js', '--help'], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  for (const verb of ['train', 'eval', 'generate']) assert.match(stdout, new RegExp(`\\b${verb}\\b`));
});
