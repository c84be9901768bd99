// Completes package-lock.json: `npm run lock`, after adding or updating a dependency.
//
// npm leaves a platform's package (@biomejs/cli-darwin-arm64, …) out of the lock when the registry in use does not carry it,
// and then `npm ci` refuses the lock on every platform. The entry needs no more than name, version and platform: npm
// downloads it only where the platform matches.
import { readFileSync, writeFileSync } from 'node:fs';

const operatingSystems = [
  'aix',
  'android',
  'darwin',
  'freebsd',
  'linux',
  'netbsd',
  'openbsd',
  'openharmony',
  'sunos',
  'win32',
];
const processors = ['arm64', 'arm', 'ia32', 'loong64', 'mips64el', 'ppc64', 'riscv64', 's390x', 'wasm32', 'x64'];

const lock = JSON.parse(readFileSync('package-lock.json', 'utf8'));
const { packages } = lock;
const added = [];
for (const [path, { optionalDependencies = {}, dev }] of Object.entries(packages)) {
  for (const [name, range] of Object.entries(optionalDependencies)) {
    if (resolves(path, name)) continue;
    const folder = path.slice(0, path.lastIndexOf('node_modules/'));
    packages[`${folder}node_modules/${name}`] = {
      version: range.replace(/^[\^~]/, ''),
      ...platform(name),
      dev,
      optional: true,
    };
    added.push(name);
  }
}
const inOrder = Object.entries(packages).sort(([a], [b]) => a.localeCompare(b, 'en'));
lock.packages = Object.fromEntries(inOrder);
if (added.length > 0) writeFileSync('package-lock.json', `${JSON.stringify(lock, null, 2)}\n`);
console.log(`package-lock.json: ${added.length} optional packages added${added.map((name) => `\n  ${name}`).join('')}`);

/** Whether Node's lookup from the package at `path`, folder by folder upwards, meets `name` in the lock. */
function resolves(path, name) {
  for (let at = path; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
    if (packages[`${at && `${at}/`}node_modules/${name}`]) return true;
    if (!at) return false;
  }
}

/** os, cpu and libc as the package's name spells them, which is how every publisher of such packages does it. */
function platform(name) {
  const words = name.split(/[-/]/);
  const os = words.filter((word) => operatingSystems.includes(word));
  const cpu = words.filter((word) => processors.includes(word));
  if (cpu.length !== 1) throw new Error(`${name}: no platform can be read from this name`);
  if (os.length === 0) return { cpu };
  return {
    os,
    cpu,
    ...(os[0] === 'linux' && { libc: [words.some((word) => word.startsWith('musl')) ? 'musl' : 'glibc'] }),
  };
}
