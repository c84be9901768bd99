// The forms of mma.sync and ldmatrix, with the fragments of a warp as the manual's index formulas have them: maps from (register,
// half, lane) to (row, column).
type Place = (register: number, half: number, lane: number) => [row: number, column: number];
const group = (lane: number) => lane >> 2;
const inGroup = (lane: number) => lane % 4;
// "row = groupID for ai where 0 <= i < 2 || 4 <= i < 6, groupID + 8 otherwise; col = (threadID_in_group * 2) + (i & 0x1) for i < 4, + 8 beyond"
const a16: Place = (r, h, lane) => {
  const i = 2 * r + h;
  return [group(lane) + (i < 2 || (i >= 4 && i < 6) ? 0 : 8), inGroup(lane) * 2 + (i & 1) + (i < 4 ? 0 : 8)];
};
const b16: Place = (r, h, lane) => {
  const i = 2 * r + h;
  return [inGroup(lane) * 2 + (i & 1) + (i < 2 ? 0 : 8), group(lane)];
};
// tf32, m16n8k8: "row = groupID for a0 and a2, groupID + 8 for a1 and a3; col = threadID_in_group for a0 and a1, + 4 for a2 and a3"
const aTf32: Place = (r, _h, lane) => [group(lane) + (r % 2 === 0 ? 0 : 8), inGroup(lane) + (r < 2 ? 0 : 4)];
const bTf32: Place = (r, _h, lane) => [inGroup(lane) + 4 * r, group(lane)];
// "row = groupID for ci where i < 2, groupID + 8 for i >= 2; col = (threadID_in_group * 2) + (i & 0x1)"
export const placeC = (i: number, lane: number) => [group(lane) + (i < 2 ? 0 : 8), inGroup(lane) * 2 + (i & 1)];

interface MatrixCase {
  readonly shape: string;
  readonly type: 'f16' | 'bf16' | 'tf32';
  readonly accumulator: 'f32' | 'f16';
  readonly k: number;
  /** Registers of a lane. */
  readonly registersA: number;
  readonly registersB: number;
  readonly a: Place;
  readonly b: Place;
}

const shape = (type: MatrixCase['type'], k: number, accumulator: MatrixCase['accumulator']): MatrixCase => {
  const elements = type === 'tf32' ? 1 : 2;
  return {
    shape: `m16n8k${k}`,
    type,
    accumulator,
    k,
    registersA: (16 * k) / 32 / elements,
    registersB: (8 * k) / 32 / elements,
    a: type === 'tf32' ? aTf32 : a16,
    b: type === 'tf32' ? bTf32 : b16,
  };
};
export const matrixCases: readonly MatrixCase[] = [
  shape('bf16', 16, 'f32'),
  shape('bf16', 8, 'f32'),
  shape('f16', 16, 'f32'),
  shape('f16', 8, 'f32'),
  shape('f16', 16, 'f16'),
  shape('f16', 8, 'f16'),
  shape('tf32', 8, 'f32'),
  shape('tf32', 4, 'f32'),
];
export const opcodeOf = ({ shape, type, accumulator }: MatrixCase): string =>
  `mma.sync.aligned.${shape}.row.col.${accumulator}.${type}.${type}.${accumulator}`;

export const matrixLoads = [1, 2, 4].flatMap((count) =>
  ['', '.trans'].flatMap((transposed) =>
    ['.shared', '.shared::cta'].map((space) => ({
      opcode: `ldmatrix.sync.aligned.m8n8.x${count}${transposed}${space}.b16`,
      count,
      transposed: transposed !== '',
    })),
  ),
);

export const matrixOpcodes: readonly string[] = [
  ...matrixCases.map(opcodeOf),
  ...matrixLoads.map(({ opcode }) => opcode),
];
