// `npm run build`: dist/ with types, for Node 20 and later, and that of the workspace package @cuda-js/runtime. The compiler
// keeps the tree as it is, so that what the sources find beside themselves (kernels, worker, bundled reviews) lies in the
// same place in dist/.
import { spawnSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';

const besides = ['kernels/wasm/pkg', 'kernels/wasm/worker.mjs', 'kernels/cuda/ptx', 'cli/demo'];

compile('dist', '.ci/dist.tsconfig.json');
compile('kernels/cuda/runtime/dist', 'kernels/cuda/runtime/tsconfig.json');
for (const path of besides) cpSync(path, `dist/${path}`, { recursive: true });

function compile(output, project) {
  rmSync(output, { recursive: true, force: true });
  if (spawnSync('tsc', ['-p', project], { stdio: 'inherit' }).status !== 0) process.exit(1);
}
