// The parts of bench:peers that need no idle machine: both ends of a child process, the operands, the ratios and the page; and
// that transformers reads a review as the tokens we read, where a Python has it (LORIKEET_PYTHON).
import { afterAll, describe, expect, it } from 'vitest';
import { peak } from '../../bench/peaks.ts';
import { Child } from '../../bench/peers/child.ts';
import { file, pythonWith, Unavailable } from '../../bench/peers/context.ts';
import { resultsPage } from '../../bench/peers/page.ts';
import { lastElement, type ProductAnswer } from '../../bench/peers/products.ts';
import { engines, type Pairs, type ProductRates, type Results } from '../../bench/peers/results.ts';
import type { Loaded, LoadRequest, Template, Turn } from '../../bench/peers/sides.ts';
import { bars, holds, productRatio, speedRatio } from '../../bench/peers/summary.ts';
import { machine } from '../../bench/report.ts';
import { describeWithSmolLM2 } from '../support/smollm2.ts';

describe('matrix products', () => {
  const shape = { M: 7, N: 33, K: 64 };
  const child = new Child('lorikeet', process.execPath, [file('productServer.ts'), 'lorikeet', '1']);
  afterAll(() => child[Symbol.dispose]());

  it('our product is what float64 says', async () => {
    const { last, runs } = await child.ask<ProductAnswer>({ ...shape, seconds: 0, weight: 'f32' });
    const { value, bound } = lastElement(shape);
    expect(runs).toBe(3);
    expect(Math.abs(last - value)).toBeLessThan(bound);
    expect(Math.abs(value)).toBeGreaterThan(100 * bound);
  });

  it('tells what went wrong on the other side, and goes on', async () => {
    await expect(child.ask({ ...shape, K: 5, seconds: 0, weight: 'q8_0' })).rejects.toThrow(/^lorikeet: \w*Error/);
    await expect(child.ask({ ...shape, seconds: 0, weight: 'q4_1' })).resolves.toHaveProperty('seconds');
  });

  it('tells when the other side has ended', async () => {
    using gone = new Child('nobody', process.execPath, ['--eval', '']);
    await expect(gone.ask({})).rejects.toThrow('nobody: the process has ended');
  });
});

describe('peak', () => {
  it.each(['f32', 'wideF32', 'wideInt8', 'wideInt16'] as const)('runs the loop %s', (loop) => {
    const rate = peak(loop, 0.01);
    // Between a microcontroller and what no core can do.
    expect(rate).toBeGreaterThan(0.01);
    expect(rate).toBeLessThan(2000);
  });
});

const turn = (seconds: number): Turn => ({
  ...{ seconds: [seconds], reviews: 8, tokens: 2000, computed: 1800, losses: [], predictions: [], peakBytes: 0 },
});
const origin = { machine: machine(), commit: 'abc', command: 'npm run bench:peers -- train', load: 0 };
const pairs = (...seconds: [ours: number, theirs: number][]): Pairs => ({
  ours: { description: 'ours', tokens: 1 },
  theirs: { description: 'theirs', tokens: 1 },
  ...{ batch: 8, maxLength: 256, steps: 1, threads: 2 },
  pairs: seconds.map(([a, b]) => ({ ours: turn(a), theirs: turn(b) })),
});
const rates = (engine: string, M: number, ...gflops: number[]): ProductRates => ({
  ...{ M, N: 1, K: 1, threads: 1, engine, weight: 'f32', gflops },
});
const is = (engine: string) => (r: ProductRates) => r.engine === engine;

describe('ratios', () => {
  it('compares reviews a second, pair by pair', () => {
    expect(speedRatio(pairs([2, 4], [1, 3], [4, 4]))).toEqual({ median: 2, min: 1, max: 3 });
  });

  it('takes of several others the slowest in each round, and the spread over the shapes', () => {
    const shapes = [
      [rates('a', 1, 10, 30), rates('b', 1, 5, 10), rates('c', 1, 10, 6)],
      [rates('a', 2, 8, 8), rates('b', 2, 8, 8), rates('c', 2, 16, 16)],
    ];
    // First shape: 10 / 5 and 30 / 6, median 3.5; second: 1.
    expect(productRatio(shapes, is('a'), is('b'), is('c'))).toEqual({ median: 2.25, min: 1, max: 3.5 });
    expect(productRatio(shapes, is('a'), is('missing'))).toBeUndefined();
  });

  it('takes the 256-bit peak for the native libraries where one of them is faster than it', () => {
    const against = (numpy: number): string[] => {
      const measured = { [engines.wide]: 90, [engines.native]: 80, [engines.numpy]: numpy, [engines.peak256]: 100 };
      const shape = Object.entries(measured).map(([engine, rate]) => rates(engine, 1, rate));
      const lines = bars({ gemm: { versions: {}, rates: shape, origin } });
      return lines.filter((bar) => bar.measured).map((bar) => bar.measure.replace(/.* \/ /, ''));
    };
    expect(against(99)).toEqual(['the slower of onnxruntime-node and numpy']);
    expect(against(101)).toEqual(['256-bit FMA peak']);
  });

  it('memory holds its bar from below, speed from above', () => {
    const process = { job: 'lora', loadedBytes: 1 };
    const results: Results = {
      train: { ...pairs([1, 1.75]), origin },
      prompt: { ...pairs([1, 2.25]), origin },
      memory: {
        processes: [
          { ...process, side: 'lorikeet', dtype: 'f32', peakBytes: 25 },
          { ...process, side: 'transformers', dtype: 'float32', peakBytes: 100 },
        ],
        origin,
      },
    };
    const held = bars(results).flatMap((bar) => (bar.measured ? [[bar.measured.median, holds(bar)]] : []));
    expect(held).toEqual([
      [1.75, false],
      [2.25, true],
      [0.25, true],
    ]);
  });
});

describe('the page', () => {
  it('shows what was measured and says what was not', () => {
    const results: Results = {
      train: { ...pairs([1, 2], [1, 4], [1, 3]), origin },
      gemm: {
        versions: { numpy: '1.2.3' },
        rates: [rates(engines.wide, 128, 100), rates(engines.numpy, 128, 50)],
        origin,
      },
      length: {
        series: [
          {
            batch: 2,
            points: [64, 128, 256].map((T) => ({ length: T, seconds: 1 + T / 64 + (T / 256) ** 2, microBatch: 2 })),
          },
        ],
        origin,
      },
    };
    const page = resultsPage(results);
    expect(page).toContain(
      '| LoRA training, reviews/s / transformers + peft f32 | 2× | 3.5× | **3.00×** | 2.00× – 4.00× (pairs) | yes |',
    );
    expect(page).toContain(
      '| prompt tuning V = 8, reviews/s / transformers + peft f32 | 2× | 3.5× | not measured | – | – |',
    );
    expect(page).toContain(
      '| LoRA training with --compute int16, reviews/s / transformers + peft bf16 | 0.9× | 1.7× | not measured | – | – |',
    );
    expect(page).toContain('| 1 | 128×1×1 | 100 | 50 |');
    expect(page).toContain('Batch 2: 1.000 s + 15.625 ms · T');
    expect(page).toContain('at T = 256 the linear part is 4.00 s, the quadratic one 1.00 s');
  });
});

describe('transformers', () => {
  let python: string;
  try {
    python = pythonWith('torch', 'transformers', 'peft', 'gguf');
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error;
    it.skip(`skipped: ${error.message}`);
    return;
  }
  describeWithSmolLM2('with SmolLM2', (model) => {
    it.each(['lora', 'eval'] as const)(
      '%s: both sides see the same tokens',
      async (job) => {
        const texts = ['Good.\n\n7 out of 10, 1999’s best!', ' <b>Bad</b>\tand   long '.repeat(9)];
        const request: LoadRequest = {
          ...{ do: 'load', job, model, batch: 2, threads: 1, seed: 0, labels: ['negative', 'positive'], maxLength: 32 },
          rows: texts.map((text, label) => ({ text, label })),
        };
        using ours = new Child('lorikeet', process.execPath, [file('lorikeetServer.ts')]);
        using theirs = new Child('transformers', python, [file('transformers_server.py'), 'float32']);
        const { tokens, template } = await ours.ask<Loaded & { template: Template }>(request);
        expect((await theirs.ask<Loaded>({ ...request, template })).tokens).toBe(tokens);
        expect(template.before).toContain('### Input:\n');
      },
      300_000,
    );
  });
});
