// Ratios out of results, beside the bars that the project has set itself.
import { median, ratioOfPairs, type Spread, spread, sum } from '../statistics.ts';
import type { Product } from './products.ts';
import {
  comparisonNames,
  comparisons,
  engines,
  type Pairs,
  type PeakMemory,
  type ProductRates,
  type Results,
} from './results.ts';
import type { Turn } from './sides.ts';

/** A line of the table of bars. */
export interface Bar {
  measure: string;
  least: number;
  aim: number;
  /** Bars are for ratios that should be high; memory's should be low. */
  low?: true;
  /** Undefined: not measured. */
  measured: Spread | undefined;
  /** What the spread is over. */
  over: 'shapes' | 'pairs' | 'one run';
}

export const holds = ({ measured, least, low }: Bar): boolean =>
  measured !== undefined && (low ? measured.median <= least : measured.median >= least);

export const reviewsPerSecond = ({ reviews, seconds }: Turn): number => reviews / sum(seconds);

/** Our reviews a second over theirs, pair by pair. */
export const speedRatio = ({ pairs }: Pairs): Spread =>
  ratioOfPairs(
    pairs.map(({ ours }) => reviewsPerSecond(ours)),
    pairs.map(({ theirs }) => reviewsPerSecond(theirs)),
  );

export const shapeName = ({ M, N, K }: Product): string => `${M}×${N}×${K}`;

/** The rates that share shape and threads, one list a shape. */
export function byShape(rates: readonly ProductRates[], threads: number): ProductRates[][] {
  const ofThreads = rates.filter((r) => r.threads === threads);
  const shapes = new Set(ofThreads.map(shapeName));
  return [...shapes].map((shape) => ofThreads.filter((r) => shapeName(r) === shape));
}

/**
 * Of each shape the median over the rounds of ours / theirs, then the spread over the shapes. Of several others a round counts
 * the slowest. Undefined if one of them was not measured.
 */
export function productRatio(
  shapes: readonly ProductRates[][],
  ours: (r: ProductRates) => boolean,
  ...theirs: ((r: ProductRates) => boolean)[]
): Spread | undefined {
  const medians: number[] = [];
  for (const rates of shapes) {
    const a = rates.find(ours);
    const others = theirs.map((is) => rates.find(is));
    if (!a || others.some((other) => !other)) return undefined;
    const slowest = a.gflops.map((_, round) => Math.min(...others.map((other) => other?.gflops[round] as number)));
    medians.push(ratioOfPairs(a.gflops, slowest).median);
  }
  return medians.length > 0 ? spread(medians) : undefined;
}

const is = (engine: string) => (r: ProductRates) => r.engine === engine;

/**
 * Whether a native library multiplies faster than 256-bit pipes can: it has 512-bit ones then, which WebAssembly has no
 * instructions for, and is no measure for it.
 */
function usesWiderPipes(shapes: readonly ProductRates[][]): boolean {
  const rate = (rates: ProductRates[], engine: string): number => median(rates.find(is(engine))?.gflops ?? []);
  const native = [engines.native, engines.numpy, engines.torch];
  return shapes.some((rates) => native.some((engine) => rate(rates, engine) > rate(rates, engines.peak256)));
}

function gemmBars({ rates }: NonNullable<Results['gemm']>, threads: number): Bar[] {
  const shapes = byShape(rates, threads);
  const bar = (measure: string, least: number, aim: number, ours: string, ...theirs: string[]): Bar => ({
    measure: `GEMM f32, ${threads} thread${threads > 1 ? 's' : ''}: ${measure}`,
    ...{ least, aim, over: 'shapes' },
    measured: productRatio(shapes, is(ours), ...theirs.map(is)),
  });
  const { wide, narrow, native, numpy, torch, web, tfjs, peak128, peak256 } = engines;
  return [
    ...(usesWiderPipes(shapes)
      ? [bar('revectorized / 256-bit FMA peak', 0.95, 1.1, wide, peak256)]
      : [
          bar('revectorized / the slower of onnxruntime-node and numpy', 0.95, 1.1, wide, native, numpy),
          bar('revectorized / torch', 0.95, 1.1, wide, torch),
        ]),
    bar('128-bit / 128-bit FMA peak', 0.85, 0.95, narrow, peak128),
    bar('128-bit / onnxruntime-web', 1.7, 1.9, narrow, web),
    bar('revectorized / onnxruntime-web', 3, 3.5, wide, web),
    bar('128-bit / tfjs-backend-wasm', 1.7, 1.9, narrow, tfjs),
    bar('revectorized / tfjs-backend-wasm', 3, 3.5, wide, tfjs),
    // tfjs has one thread only.
  ].filter(({ measured }) => measured !== undefined);
}

function weightBars({ rates }: NonNullable<Results['weights']>, threads: number): Bar[] {
  const shapes = byShape(rates, threads);
  return ['bf16', 'q8_0', 'q4_1'].map(
    (weight): Bar => ({
      measure: `GEMM with ${weight} weights / f32, ${threads} thread${threads > 1 ? 's' : ''}`,
      ...{ least: 0.9, aim: 1, over: 'shapes' },
      measured: productRatio(
        shapes,
        (r) => r.weight === weight,
        (r) => r.weight === 'f32',
      ),
    }),
  );
}

export const threadsOf = (rates: readonly ProductRates[]): number[] => [
  ...new Set(rates.map(({ threads }) => threads)),
];

function memoryRatio(processes: readonly PeakMemory[] | undefined, job: string): Spread | undefined {
  const of = (side: string, dtype: string): number | undefined =>
    processes?.find((p) => p.side === side && p.job === job && p.dtype === dtype)?.peakBytes;
  const [ours, theirs] = [of('lorikeet', 'f32'), of('transformers', 'float32')];
  return ours === undefined || theirs === undefined ? undefined : spread([ours / theirs]);
}

/** The table "shown at the end" of what was asked for. */
export function bars(results: Results): Bar[] {
  const pairs = (measure: string, part: Pairs | undefined, least: number, aim: number): Bar => ({
    ...{ measure, least, aim, over: 'pairs' },
    measured: part && part.pairs.length > 0 ? speedRatio(part) : undefined,
  });
  const { gemm, weights } = results;
  return [
    ...(gemm ? threadsOf(gemm.rates).flatMap((threads) => gemmBars(gemm, threads)) : []),
    ...(weights ? threadsOf(weights.rates).flatMap((threads) => weightBars(weights, threads)) : []),
    ...comparisonNames.map((name) => {
      const { measure, least, aim } = comparisons[name];
      return pairs(measure, results[name], least, aim);
    }),
    {
      ...{ measure: 'peak memory of LoRA training / transformers + peft f32', least: 0.4, aim: 0.2, low: true },
      measured: memoryRatio(results.memory?.processes, 'lora'),
      over: 'one run',
    },
    pairs(`LoRA step: ${results.scaling?.threads ?? 'all'} threads / 1 thread`, results.scaling, 1.7, 1.9),
  ];
}
