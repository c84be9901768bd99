// @cuda-js/runtime as npm would publish it from a clean clone: packed, unpacked, and its README's example compiled and run.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, test } from 'node:test';

const path = 'kernels/cuda/runtime';
const folder = mkdtempSync(join(tmpdir(), 'runtime-package-'));
after(() => rmSync(folder, { recursive: true }));

/** Packs a copy of the sources: its build must not take away the one that other tests run on. */
function pack() {
  const clone = join(folder, 'clone');
  for (const file of ['tsconfig.json', '.ci/dist.tsconfig.json', path]) {
    const filter = (source) => !source.endsWith('dist');
    cpSync(file, join(clone, file), { recursive: true, filter });
  }
  symlinkSync(resolve('node_modules'), join(clone, 'node_modules'), 'junction');
  run('npm', ['pack', '--pack-destination', folder], join(clone, path));
  const [name] = readdirSync(folder).filter((file) => file.endsWith('.tgz'));
  run('tar', ['-xzf', name], folder);
  return join(folder, 'package');
}

function run(command, args, cwd) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  assert.equal(status, 0, `${command} ${args.join(' ')}: ${error ?? ''}\n${stdout}${stderr}`);
  return stdout;
}

const settings = {
  compilerOptions: { module: 'nodenext', target: 'es2023', strict: true, skipLibCheck: false, types: ['node'] },
  files: ['example.ts'],
};

test("the packed runtime runs its README's example on the simulator", () => {
  const packed = pack();
  for (const file of ['LICENSE', 'README.md', 'package.json']) assert.ok(existsSync(join(packed, file)), file);
  const user = join(folder, 'user');
  const modules = join(user, 'node_modules');
  mkdirSync(join(modules, '@cuda-js'), { recursive: true });
  cpSync(packed, join(modules, '@cuda-js', 'runtime'), { recursive: true });
  for (const name of ['koffi', '@koromix', '@types', 'undici-types']) {
    symlinkSync(resolve('node_modules', name), join(modules, name), 'junction');
  }
  const [, example] = /```ts\n(.*?openSimulator\(.*?)\n```/s.exec(readFileSync(join(packed, 'README.md'), 'utf8'));
  writeFileSync(join(user, 'example.ts'), `${example}\nconsole.log(result.join());\n`);
  writeFileSync(join(user, 'package.json'), '{ "type": "module" }');
  writeFileSync(join(user, 'tsconfig.json'), JSON.stringify(settings));
  cpSync('test/kernels/cuda/ptx/elementwise.ptx', join(user, 'axpy.ptx'));
  run(process.execPath, [resolve('node_modules/typescript/bin/tsc')], user);
  assert.equal(run(process.execPath, ['example.js'], user).trim(), Array(1000).fill(0.5).join());
});
