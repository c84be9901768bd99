// What `npm run bench:ptx` fails on.

/** Of the GPUs' compilations the worst; what depends on sizes, for the first that are simulated. */
export const figureNames = [
  'registers',
  'spilled bytes',
  'shared bytes',
  'mma : ldmatrix',
  'wavefronts above ideal',
  'bytes/FLOP',
] as const;
/** An entry that uses no tensor cores has no ratio. */
export type Figures = Readonly<Record<(typeof figureNames)[number], number | undefined>>;
type Bars = Partial<Figures>;

const every: Bars = { 'spilled bytes': 0, 'wavefronts above ideal': 0 };
/** A reference bf16 GEMM of 128×128×32 tiles at K = 256; 24/1024 is 0.0234. */
const gemm: Bars = {
  ...every,
  registers: 122,
  'shared bytes': 48 * 1024,
  'mma : ldmatrix': 32 / 12,
  'bytes/FLOP': 24 / 1024,
};
const bars: Readonly<Record<string, Bars>> = {
  linear_bf16_async: gemm,
  linearGradInput_bf16_async: gemm,
  // Two blocks of 256 threads to a multiprocessor go with 128 registers too; an adapter is read beside the operands, and a mask.
  loraLinear_bf16_async: { ...gemm, registers: 128, 'bytes/FLOP': 27 / 1088 },
  loraLinearGradInput_bf16_async: { ...gemm, registers: 128, 'bytes/FLOP': 29 / 1088 },
};

export interface Judged {
  readonly figure: string;
  readonly value: number;
  readonly bar: number;
  readonly sign: '≤' | '≥';
  readonly holds: boolean;
}

/** An entry's figures that have a bar. */
export function judge(entry: string, figures: Figures): Judged[] {
  const own = bars[entry] ?? every;
  return Object.entries(own).map(([figure, bar]) => {
    // What is missing does not hold.
    const value = figures[figure as keyof Figures] ?? Number.NaN;
    const least = figure === 'mma : ldmatrix';
    return { figure, value, bar, sign: least ? '≥' : '≤', holds: least ? value >= bar : value <= bar };
  });
}
