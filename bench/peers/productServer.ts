// One JavaScript library's matrix products, in a process of its own: `node productServer.ts ENGINE THREADS [revectorize]`.
import { createRequire } from 'node:module';
import { setFlagsFromString } from 'node:v8';
import { byteLength, isQuantized } from '../../engine/dtype.ts';
import {
  createWasmBackend,
  fromBytes,
  linear,
  noGrad,
  Rng,
  scope,
  setBackend,
  type Tensor,
  tensor,
} from '../../engine/index.ts';
import { randomBlocks } from '../../test/support/gen.ts';
import { peak } from '../peaks.ts';
import { median } from '../statistics.ts';
import { serve } from './child.ts';
import { linearModel } from './onnx.ts';
import { operand, type ProductAnswer, type ProductRequest } from './products.ts';

/** A product whose operands are in place. */
interface Ready {
  run(): unknown;
  /** The result's last element. */
  last(): number | Promise<number>;
  dispose(): unknown;
}
type Engine = (request: ProductRequest) => Ready | Promise<Ready>;

const [name, threadsText, flag] = process.argv.slice(2);
const threads = Number(threadsText);
const load = createRequire(new URL('./packages/package.json', import.meta.url));

/** What of onnxruntime's and tfjs's interfaces is used: their packages are there only when the benchmark runs. */
interface OnnxTensor {
  data: Float32Array;
}
interface Onnx {
  env: { wasm: { numThreads: number } };
  InferenceSession: {
    create(
      model: Uint8Array,
      options: object,
    ): Promise<{ run(feeds: object): Promise<{ y: OnnxTensor }>; release(): Promise<void> }>;
  };
  Tensor: new (type: string, data: Float32Array, shape: number[]) => OnnxTensor;
}
interface TfTensor {
  dataSync(): Float32Array;
  dispose(): void;
}
interface Tf {
  setBackend(name: string): Promise<boolean>;
  ready(): Promise<void>;
  tensor2d(values: Float32Array, shape: [number, number]): TfTensor;
  matMul(a: TfTensor, b: TfTensor): TfTensor;
}

async function lorikeet(): Promise<Engine> {
  setBackend(await createWasmBackend({ threads, revectorize: flag === 'revectorize' }));
  return ({ M, N, K, weight }) => {
    const x = tensor(operand(M * K), [M, K]).persist();
    const w = weightTensor(weight, N, K).persist();
    const product = (): Tensor => noGrad(() => linear(x, w));
    return {
      run() {
        using _ = scope();
        product();
      },
      async last() {
        using _ = scope();
        const y = await product().data();
        return Number(y[M * N - 1]);
      },
      dispose() {
        x.dispose();
        w.dispose();
      },
    };
  };
}

/** Quantised weights are random, every row the same: only their speed is asked for. */
function weightTensor(dtype: ProductRequest['weight'], N: number, K: number): Tensor {
  if (!isQuantized(dtype)) return tensor(operand(N * K), [N, K], { dtype });
  const row = randomBlocks(dtype, [1, K], new Rng(0));
  const bytes = new Uint8Array(byteLength(dtype, [N, K]));
  for (let at = 0; at < bytes.length; at += row.length) bytes.set(row, at);
  return fromBytes(bytes, [N, K], dtype);
}

async function onnxruntime(): Promise<Engine> {
  const ort = load(name) as Onnx;
  if (name === 'onnxruntime-web') ort.env.wasm.numThreads = threads;
  const options = { executionProviders: [name === 'onnxruntime-web' ? 'wasm' : 'cpu'], intraOpNumThreads: threads };
  return async (product) => {
    const { M, N, K } = product;
    const session = await ort.InferenceSession.create(linearModel(product, operand(N * K)), options);
    const x = new ort.Tensor('float32', operand(M * K), [M, K]);
    return {
      run: () => session.run({ x }),
      last: async () => (await session.run({ x })).y.data[M * N - 1],
      dispose: () => session.release(),
    };
  };
}

async function tfjs(): Promise<Engine> {
  const tf = load('@tensorflow/tfjs-core') as Tf;
  load('@tensorflow/tfjs-backend-wasm');
  if (!(await tf.setBackend('wasm'))) throw new Error('tfjs: its wasm backend does not start');
  await tf.ready();
  return ({ M, N, K }) => {
    const x = tf.tensor2d(operand(M * K), [M, K]);
    // Only for a weight that is not transposed it uses XNNPACK, which is several times as fast.
    const held = operand(N * K);
    const w = tf.tensor2d(
      Float32Array.from(held, (_, i) => held[(i % N) * K + Math.floor(i / N)]),
      [K, N],
    );
    return {
      run: () => tf.matMul(x, w).dispose(),
      last: () => {
        const y = tf.matMul(x, w);
        const value = y.dataSync()[M * N - 1];
        y.dispose();
        return value;
      },
      dispose() {
        x.dispose();
        w.dispose();
      },
    };
  };
}

/** Answers with the median time of a product after three runs to warm up. Operands stay until another shape is asked for. */
function answers(engine: Engine): (request: ProductRequest) => Promise<ProductAnswer> {
  const held = new Map<string, Ready>();
  let shape = '';
  return async (request) => {
    const { M, N, K, weight, seconds } = request;
    if (shape !== `${M} ${N} ${K}`) {
      for (const product of held.values()) await product.dispose();
      held.clear();
      shape = `${M} ${N} ${K}`;
    }
    const product = held.get(weight) ?? (await engine(request));
    held.set(weight, product);
    for (let i = 0; i < 3; i++) await product.run();
    const times: number[] = [];
    for (const end = performance.now() + 1000 * seconds; times.length < 3 || performance.now() < end; ) {
      const started = performance.now();
      await product.run();
      times.push((performance.now() - started) / 1000);
    }
    return { seconds: median(times), runs: times.length, last: await product.last() };
  };
}

if (name === 'peak') {
  const wide = flag === 'revectorize';
  if (wide) setFlagsFromString('--experimental-wasm-revectorize');
  // A multiply-add is two operations.
  await serve(({ seconds }: ProductRequest) => 2 * peak(wide ? 'wideF32' : 'f32', seconds));
} else {
  const starts: Record<string, () => Promise<Engine>> = {
    lorikeet,
    'onnxruntime-web': onnxruntime,
    'onnxruntime-node': onnxruntime,
    'tfjs-wasm': tfjs,
  };
  const engine = await starts[name]?.();
  if (!engine) throw new Error(`productServer: there is no engine ${name}`);
  await serve(answers(engine));
}
process.exit();
