// `npm run build`: dist/ with types, for Node 20 and later. The compiler keeps the tree as it is, so that what the sources
// find beside themselves (kernels, worker, bundled reviews) lies in the same place in dist/.
import { spawnSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';

const besides = ['kernels/wasm/pkg', 'kernels/wasm/worker.mjs', 'cli/demo'];

rmSync('dist', { recursive: true, force: true });
const { status } = spawnSync('tsc', ['-p', '.ci/dist.tsconfig.json'], { stdio: 'inherit' });
if (status !== 0) process.exit(1);
for (const path of besides) cpSync(path, `dist/${path}`, { recursive: true });
