import { mul, type Observer, sumTo, type Tensor, withContext } from '../engine/index.ts';

/** The first op whose output is not finite. */
export interface Culprit {
  op: string;
  shape: readonly number[];
}

/** Loss or gradient of a step is not a finite number. */
export class NonFiniteError extends Error {
  override name = 'NonFiniteError';
  constructor(step: number, culprit: Culprit | undefined) {
    const where = culprit
      ? `first in the output of ${culprit.op}, shape [${culprit.shape.join(', ')}]`
      : 'but not when the step was run again';
    super(`step ${step}: loss or gradient is not a finite number, ${where}; the adapter is as it was before the step`);
  }
}

/** Runs `fn` and looks at every op's outputs. Slow: for a step that is known to be bad. */
export async function findNonFinite(fn: () => Promise<unknown>): Promise<Culprit | undefined> {
  const seen: { op: string; shape: readonly number[]; zero: Tensor }[] = [];
  const observer: Observer = ({ def, outputs }) => {
    withContext({ observer: undefined, grad: false, scope: undefined }, () => {
      for (const t of outputs) {
        if (t.dtype !== 'f32' || t.size === 0) continue;
        // 0·x is 0 for every finite x, and NaN otherwise.
        const product = mul(t, 0);
        seen.push({ op: def.name, shape: t.shape, zero: product.size === 1 ? product : sumTo(product, []) });
        if (product.size !== 1) product.dispose();
      }
    });
  };
  try {
    await withContext({ observer }, fn);
    for (const { op, shape, zero } of seen) if (Number.isNaN(await zero.item())) return { op, shape };
    return undefined;
  } finally {
    for (const { zero } of seen) zero.dispose();
  }
}
