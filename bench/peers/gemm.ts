// The parts `gemm` and `weights`: matrix products, ours against others' and against the machine's peak.
import { Child } from './child.ts';
import {
  file,
  installPackages,
  Progress,
  packageVersion,
  pythonVersion,
  pythonWith,
  type Settings,
  threadVariables,
  Unavailable,
} from './context.ts';
import { lastElement, type Product, type ProductAnswer, type ProductRequest, products } from './products.ts';
import { engines, type ProductRates } from './results.ts';

/** How long a library repeats a product in one turn. */
const SECONDS = 0.2;
/** Between turns: OpenBLAS's threads spin for 100 ms before they sleep. */
const PAUSE_MS = 150;

const weights = ['f32', 'bf16', 'q8_0', 'q4_1'] as const;
type Weight = (typeof weights)[number];

/** Something that is measured: `ask` gives GFLOP/s. */
interface Engine {
  name: string;
  weight: Weight;
  gflops(product: Product): Promise<number>;
}

const flops = ({ M, N, K }: Product): number => 2 * M * N * K;

function library(name: string, child: Child, weight: Weight = 'f32'): Engine {
  const gflops = async (product: Product): Promise<number> => {
    const request: ProductRequest = { ...product, seconds: SECONDS, weight };
    const { seconds, last } = await child.ask<ProductAnswer>(request);
    const { value, bound } = lastElement(product);
    if (weight === 'f32' && !(Math.abs(last - value) <= bound)) {
      throw new Error(`${name}: the last element of ${JSON.stringify(product)} is ${last}, it should be ${value}`);
    }
    return flops(product) / seconds / 1e9;
  };
  return { name, weight, gflops };
}

/** Every thread has its own loop, all at once. */
function peak(name: string, children: Child[]): Engine {
  const gflops = async (): Promise<number> => {
    const rates = await Promise.all(children.map((child) => child.ask<number>({ seconds: SECONDS })));
    return rates.reduce((a, b) => a + b);
  };
  return { name, weight: 'f32', gflops };
}

/** Starts what is measured and ends it. */
class Team implements Disposable {
  readonly engines: Engine[] = [];
  readonly #children: Child[] = [];
  readonly #threads: number;

  constructor(threads: number) {
    this.#threads = threads;
  }

  #start(name: string, command: string, args: string[]): Child {
    const child = new Child(name, command, args, threadVariables(this.#threads));
    this.#children.push(child);
    return child;
  }

  #node(name: string, engine: string, threads: number, revectorize = false): Child {
    const args = [file('productServer.ts'), engine, String(threads), ...(revectorize ? ['revectorize'] : [])];
    return this.#start(name, process.execPath, args);
  }

  node(name: string, engine: string, revectorize = false, kinds: readonly Weight[] = ['f32']): void {
    const child = this.#node(name, engine, this.#threads, revectorize);
    for (const weight of kinds) this.engines.push(library(name, child, weight));
  }

  python(python: string, name: string): void {
    const child = this.#start(name, python, [file('products.py'), name, String(this.#threads)]);
    this.engines.push(library(name, child));
  }

  peak(name: string, revectorize: boolean): void {
    const children = Array.from({ length: this.#threads }, () => this.#node(name, 'peak', 1, revectorize));
    this.engines.push(peak(name, children));
  }

  [Symbol.dispose](): void {
    for (const child of this.#children) child[Symbol.dispose]();
  }
}

const threadCounts = ({ threads }: Settings): number[] => [...new Set([1, threads])];

/** All engines of a team, shape by shape, in turns. */
async function measure(
  title: string,
  settings: Settings,
  assemble: (team: Team, threads: number) => void,
): Promise<ProductRates[]> {
  const rates: ProductRates[] = [];
  const counts = threadCounts(settings);
  const progress = new Progress(title, counts.length * products.length * settings.rounds);
  for (const threads of counts) {
    using team = new Team(threads);
    assemble(team, threads);
    for (const product of products) {
      const rows = team.engines.map(
        ({ name: engine, weight }): ProductRates => ({ ...product, threads, engine, weight, gflops: [] }),
      );
      rates.push(...rows);
      for (let round = 0; round < settings.rounds; round++) {
        progress.next(`${threads} thread${threads > 1 ? 's' : ''}, ${Object.values(product).join('×')}`);
        for (const [i, engine] of team.engines.entries()) {
          rows[i].gflops.push(await engine.gflops(product));
          await new Promise((done) => setTimeout(done, PAUSE_MS));
        }
      }
    }
  }
  return rates;
}

export async function measureGemm(
  settings: Settings,
): Promise<{ versions: Record<string, string>; rates: ProductRates[] }> {
  installPackages();
  const versions: Record<string, string> = {
    [engines.web]: packageVersion('onnxruntime-web'),
    [engines.tfjs]: packageVersion('@tensorflow/tfjs-backend-wasm'),
    [engines.native]: packageVersion('onnxruntime-node'),
  };
  const inPython = [engines.numpy, engines.torch].flatMap((name) => {
    try {
      const python = pythonWith('numpy', name);
      versions[name] = pythonVersion(python, name);
      return [{ python, name }];
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      versions[name] = `not measured: ${error.message}`;
      console.error(versions[name]);
      return [];
    }
  });
  const rates = await measure('gemm', settings, (team, threads) => {
    team.node(engines.wide, 'lorikeet', true);
    team.node(engines.narrow, 'lorikeet');
    team.peak(engines.peak256, true);
    team.peak(engines.peak128, false);
    team.node(engines.web, 'onnxruntime-web');
    // Its threads do not start in Node.
    if (threads === 1) team.node(engines.tfjs, 'tfjs-wasm');
    team.node(engines.native, 'onnxruntime-node');
    for (const { python, name } of inPython) team.python(python, name);
  });
  return { versions, rates };
}

export async function measureWeights(settings: Settings): Promise<{ rates: ProductRates[] }> {
  const { revectorize } = settings;
  const name = revectorize ? engines.wide : engines.narrow;
  return { rates: await measure('weights', settings, (team) => team.node(name, 'lorikeet', revectorize, weights)) };
}
