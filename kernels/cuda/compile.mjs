// The CUDA kernels as PTX: what the modules that ship are compiled with, and how.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './toolchain.mjs';

const folder = dirname(fileURLToPath(import.meta.url));
/** Targets, and the lowest PTX version that carries the instructions used: what a driver must know. */
const targets = { 75: '6.5', 80: '7.0' };
const all = () => readdirSync(folder).filter((name) => name.endsWith('.cu'));

/** Compiles .cu files, default all, to `output`/sm_75 and `output`/sm_80. */
export function compileModules(nvcc, output, sources = all()) {
  for (const sm of Object.keys(targets)) {
    mkdirSync(join(output, `sm_${sm}`), { recursive: true });
    for (const source of sources) compile(nvcc, sm, source, join(output, `sm_${sm}`, source.replace(/\.cu$/, '.ptx')));
  }
}

function compile(nvcc, sm, source, ptx) {
  console.log(`${source} → sm_${sm}`);
  run(nvcc, ['-ptx', `-arch=compute_${sm}`, `-DSM=${sm}`, '-std=c++17', join(folder, source), '-o', ptx]);
  const text = readFileSync(ptx, 'utf8')
    .replace(/^\.version .*$/m, `.version ${targets[sm]}`)
    // What differs from one build of the same compiler to the next, or says nothing.
    .replace(/^\/\/.*\n/gm, '')
    .replace(/[ \t]+$/gm, '')
    .replace(/^\n+/, '');
  writeFileSync(ptx, text);
}
