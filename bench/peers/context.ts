// What all parts of `npm run bench:peers` share.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { labelledRows, loadData } from '../../peft/data.ts';
import type { Reviews } from './sides.ts';

export interface Settings {
  /** Path of the GGUF file. */
  model: string;
  /** A file of labelled reviews, if it is there. */
  data: string;
  batch: number;
  maxLength: number;
  threads: number;
  revectorize: boolean;
  pairs: number;
  steps: number;
  rounds: number;
}

/** A part cannot be measured here; the others can. */
export class Unavailable extends Error {
  override name = 'Unavailable';
}

export const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Threads of the libraries that torch and numpy bring along. */
export const threadVariables = (threads: number): Record<string, string> =>
  Object.fromEntries(
    ['OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS'].map((name) => [name, String(threads)]),
  );

/**
 * The Python that LORIKEET_PYTHON names, by default python3.
 * @throws Unavailable when it lacks one of these modules
 */
export function pythonWith(...modules: string[]): string {
  const python = process.env.LORIKEET_PYTHON ?? 'python3';
  const { status, stderr, error } = spawnSync(python, ['-c', `import ${modules.join(', ')}`], { encoding: 'utf8' });
  if (status === 0) return python;
  const reason = error?.message ?? stderr.trim().split('\n').at(-1);
  throw new Unavailable(`${python} (LORIKEET_PYTHON) has no ${modules.join(', ')}: ${reason}`);
}

const describeLibrary: Record<string, string> = {
  numpy:
    'b = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]; print(numpy.__version__, "with", b["name"], b["version"])',
  torch: 'print(torch.__version__, "on", torch.backends.cpu.get_cpu_capability())',
};

/** Version of numpy or torch, with what computes there. */
export const pythonVersion = (python: string, library: 'numpy' | 'torch'): string =>
  execFileSync(python, ['-c', `import ${library}; ${describeLibrary[library]}`], { encoding: 'utf8' }).trim();

/** Installs the pinned packages of ./packages unless they are there already. */
export function installPackages(): void {
  const lock = (path: string): Record<string, { version: string }> =>
    JSON.parse(readFileSync(file(path), 'utf8')).packages;
  const marker = './packages/node_modules/.package-lock.json';
  const wanted = Object.entries(lock('./packages/package-lock.json')).filter(([path]) => path !== '');
  const installed = existsSync(file(marker)) ? lock(marker) : {};
  if (wanted.every(([path, { version }]) => installed[path]?.version === version)) return;
  console.error('installing onnxruntime and tfjs for this benchmark (500 MB) …');
  const { status } = spawnSync('npm', ['ci', '--ignore-scripts'], { cwd: file('./packages'), stdio: 'inherit' });
  if (status !== 0) throw new Unavailable('the packages of bench/peers/packages cannot be installed');
}

/** Version of an installed package. */
export const packageVersion = (name: string): string =>
  JSON.parse(readFileSync(file(`./packages/node_modules/${name}/package.json`), 'utf8')).version;

/**
 * `count` reviews from `first` on that pass `keep`; the file is begun again when it ends.
 * @throws Unavailable without the file
 */
export async function readReviews(
  { data, maxLength }: Settings,
  first: number,
  count: number,
  keep: (text: string) => boolean = () => true,
): Promise<Reviews> {
  if (!existsSync(data)) throw new Unavailable(`there are no reviews in ${data} (--data, or LORIKEET_DATA)`);
  const { rows, labels } = labelledRows((await loadData(data)).rows, data, ['negative', 'positive']);
  const kept = rows.filter(({ text }) => keep(text));
  const taken = Array.from({ length: count }, (_, i) => kept[(first + i) % kept.length]);
  return { labels, maxLength, rows: taken.map(({ text, label }) => ({ text, label })) };
}

/** A line a turn on standard error, with the time that is left if turns go on taking as long. */
export class Progress {
  readonly #title: string;
  readonly #total: number;
  readonly #started = performance.now();
  #done = 0;

  constructor(title: string, total: number) {
    this.#title = title;
    this.#total = total;
  }

  /** A turn begins. */
  next(what: string): void {
    const seconds = ((performance.now() - this.#started) / 1000 / this.#done) * (this.#total - this.#done);
    const left =
      this.#done === 0
        ? ''
        : `, about ${seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`} left`;
    console.error(`${this.#title}: ${++this.#done} of ${this.#total}, ${what}${left}`);
  }
}
