import { type Call, ceilDiv, computeTypes, each, type Family, type Kernel, packBroadcast, threads } from './table.ts';

/** Threads that many outputs have anyway need no more pieces than this. */
const MAX_PIECES = 256;

interface Axis {
  extent: number;
  /** In x, in elements. */
  stride: number;
}

/** `sumTo` as reduce.cu takes it. ints: size of the output, rank, extents of x, the output's strides (0: summed). */
function plan({ ints: [size, rank, ...rest] }: Call) {
  const axes: { kept: Axis[]; summed: Axis[] } = { kept: [], summed: [] };
  let stride = 1;
  for (let axis = rank - 1; axis >= 0; axis--) {
    axes[rest[rank + axis] === 0 ? 'summed' : 'kept'].unshift({ extent: rest[axis], stride });
    stride *= rest[axis];
  }
  const R = axes.summed.reduce((n, { extent }) => n * extent, 1);
  const rows = rest[2 * rank - 1] === 0;
  const chunk = Math.max(rows ? 1024 : 64, ceilDiv(R, MAX_PIECES));
  const pack = (list: Axis[]): number[] =>
    packBroadcast(
      list.map((a) => a.extent),
      list.map((a) => a.stride),
    );
  const pieces = Math.max(1, ceilDiv(R, chunk));
  return { size, rows, pieces, ints: [size, R, chunk, ...pack(axes.kept), ...pack(axes.summed)] };
}

const sumTo = (name: string): Kernel => ({
  scratchBytes: (call) => {
    const { size, pieces } = plan(call);
    return pieces > 1 ? 4 * size * pieces : 0;
  },
  phases: (call) => {
    const { size, rows, pieces, ints } = plan(call);
    const entry = `${name}_${rows ? 'rows' : 'columns'}${pieces > 1 ? '_partial' : ''}`;
    const sums = threads(entry, rows ? 32 * size : size, ints);
    const first = { ...sums, grid: [sums.grid[0], pieces, 1] as const };
    return pieces > 1 ? [first, threads(`${name}_total`, size, [size, pieces])] : [first];
  },
});

export const reduce: Family = each(['sumTo'], computeTypes, sumTo);
