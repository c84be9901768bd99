// Runs before `npm start` and `npm test`, on the system's own Node: installs what package-lock.json asks for and
// node_modules does not hold. When everything is there, this takes a few milliseconds and says nothing.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

const hidden = 'node_modules/.package-lock.json'; // npm's own record of what it installed
const wanted = packagesOf('package-lock.json');
const installed = existsSync(hidden) ? packagesOf(hidden) : {};
const missing = Object.keys(wanted).filter(
  (path) => path.startsWith('node_modules/') && !wanted[path].optional && !isInstalled(path),
);

if (missing.length > 0) {
  console.log(`Installing ${missing.length} packages that are missing or out of date (npm ci) …`);
  const npm = process.env.npm_execpath;
  const [command, args] = npm ? [process.env.npm_node_execpath ?? process.execPath, [npm]] : ['npm', []];
  // Some tools ask for a newer Node than the system's; they run on the one that is installed here, so npm's warnings are noise.
  const options = ['ci', '--no-audit', '--no-fund', '--loglevel=error'];
  const { status } = spawnSync(command, [...args, ...options], { stdio: 'inherit' });
  if (status !== 0) {
    console.error('\nThe packages could not be installed: npm says why above. The first run needs the npm registry.');
    process.exit(1);
  }
}

function isInstalled(path) {
  return path in installed && installed[path].version === wanted[path].version && existsSync(path);
}

function packagesOf(lock) {
  return JSON.parse(readFileSync(lock, 'utf8')).packages;
}
