// What benchmarks make of their samples.

/** NaN without values. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** A median between the smallest and the largest value. */
export interface Spread {
  median: number;
  min: number;
  max: number;
}

export const spread = (values: readonly number[]): Spread => ({
  median: median(values),
  min: Math.min(...values),
  max: Math.max(...values),
});

/** Spread of a[i] / b[i]: a pair's two halves were measured one after the other, so what slows the machine down slows both. */
export function ratioOfPairs(a: readonly number[], b: readonly number[]): Spread {
  if (a.length !== b.length) throw new Error(`ratioOfPairs: ${a.length} and ${b.length} values make no pairs`);
  return spread(a.map((value, i) => value / b[i]));
}

/** y ≈ constant + linear·x + quadratic·x². */
export interface Quadratic {
  constant: number;
  linear: number;
  quadratic: number;
}

/**
 * Weighted least squares: the sum of ((y − fit) / y)² is smallest, because a time's error is in proportion to it.
 * @throws with fewer than three different x, or a y that is not above 0
 */
export function fitQuadratic(points: readonly { x: number; y: number }[]): Quadratic {
  if (new Set(points.map(({ x }) => x)).size < 3) throw new Error('fitQuadratic: three different x are needed');
  if (!points.every(({ y }) => y > 0)) throw new Error('fitQuadratic: every y has to be above 0');
  // In units of the largest x, which keeps the normal equations well-conditioned.
  const unit = Math.max(...points.map(({ x }) => Math.abs(x)));
  const rows = points.map(({ x, y }) => [1, x / unit, (x / unit) ** 2].map((v) => v / y));
  const normal = [0, 1, 2].map((i) => [
    ...[0, 1, 2].map((j) => sum(rows.map((r) => r[i] * r[j]))),
    sum(rows.map((r) => r[i])),
  ]);
  const [constant, linear, quadratic] = solve(normal);
  return { constant, linear: linear / unit, quadratic: quadratic / unit ** 2 };
}

/** Gauss-Jordan elimination of a matrix with its right-hand side as last column; pivots are positive, the matrix being definite. */
function solve(matrix: number[][]): number[] {
  for (const [i, row] of matrix.entries()) {
    for (const other of matrix) {
      if (other === row) continue;
      const factor = other[i] / row[i];
      for (let j = i; j < row.length; j++) other[j] -= factor * row[j];
    }
  }
  return matrix.map((row, i) => row[matrix.length] / row[i]);
}
