// Which sources a committed, generated artefact was built from, and what came of them: recorded by its build, compared by the
// test run. The record is what `sha256sum` prints, so that a stale artefact names the file that changed.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, posix } from 'node:path';

/**
 * The generated artefacts of this repository: where the record lies, and what it covers: the sources, which are paths
 * relative to `root` or a pattern of the names of files right in it, and the record's folder, which holds what was built.
 */
export const artefacts = {
  wasm: {
    root: 'kernels/wasm',
    record: 'kernels/wasm/pkg/SOURCES.sha256',
    sources: ['Cargo.toml', 'Cargo.lock', 'build.rs', '.cargo', 'src'],
    rebuild: 'npm run build:wasm',
  },
  ptx: {
    root: 'kernels/cuda',
    record: 'kernels/cuda/ptx/SOURCES.sha256',
    sources: /\.(cu|cuh)$|^(compile|toolchain)\.mjs$/,
    rebuild: 'npm run build:ptx',
  },
};

/** One line a file, `<sha256>  <path>`, in path order. Folders are walked; a source that does not exist has no line. */
export function fingerprint({ root, record, sources }) {
  const paths = sources instanceof RegExp ? readdirSync(root).filter((name) => sources.test(name)) : sources;
  const own = posix.relative(root, record);
  const files = [...paths, posix.dirname(own)].flatMap((path) => walk(root, path)).filter((file) => file !== own);
  return files
    .sort()
    .map((file) => `${sha256(join(root, file))}  ${file}\n`)
    .join('');
}

/** The differences between the recorded files and today's, as sentences; none when the artefact is fresh. */
export function staleness(artefact) {
  if (!existsSync(artefact.record)) return [`${artefact.record} is missing: run ${artefact.rebuild}`];
  const [built, now] = [readFileSync(artefact.record, 'utf8'), fingerprint(artefact)].map(parse);
  return [...new Set([...built.keys(), ...now.keys()])]
    .filter((file) => built.get(file) !== now.get(file))
    .map((file) => {
      const change = !built.has(file) ? 'is new' : !now.has(file) ? 'is gone' : 'has changed';
      return `${posix.join(artefact.root, file)} ${change} since ${artefact.record} was written: run ${artefact.rebuild}`;
    });
}

function walk(root, path) {
  const full = join(root, path);
  if (!existsSync(full)) return [];
  if (!statSync(full).isDirectory()) return [path];
  return readdirSync(full).flatMap((name) => walk(root, posix.join(path, name)));
}

const parse = (record) =>
  new Map(
    record
      .trim()
      .split('\n')
      .map((line) => [line.slice(66), line.slice(0, 64)]),
  );
const sha256 = (file) => createHash('sha256').update(readFileSync(file)).digest('hex');
