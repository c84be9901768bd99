import { isReference } from '../../engine/backend.ts';
import { isQuantized } from '../../engine/dtype.ts';
import { execute } from '../../engine/execute.ts';
import type { DType, Gen, Tensor } from '../../engine/index.ts';
import { memory, noGrad, scope, tensor } from '../../engine/index.ts';
import type { AnyOp } from '../../engine/op.ts';
import { sumTo } from '../../engine/ops/reduce.ts';
import { size } from '../../engine/shape.ts';

const step = 1e-5;
const tolerance = 1e-6;

/** The float64 memory of a tensor on the reference backend. */
export function host(t: Tensor): Float64Array {
  if (!isReference(t.backend)) throw new Error('host: only tensors of the reference backend have one');
  return t.backend.view(t.storage.handle, t.dtype, t.byteOffset, t.size) as Float64Array;
}

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
};

/** Which inputs an op can be differentiated in. */
export const differentiable = (def: AnyOp, dtypes: DType[]): boolean[] =>
  dtypes.map((d, i) => d !== 'i32' && !isQuantized(d) && !def.constants?.includes(i));

/** A case of an op with everything the check ⟨u, Jv⟩ = ⟨Jᵀu, v⟩ needs. */
export interface Case {
  inputs: Tensor[];
  attrs: unknown;
  needs: boolean[];
  /** Cotangent of output 0. */
  u: Float64Array;
  /** Tangent of every input. */
  vs: Float64Array[];
}

export function drawCase(def: AnyOp, dtypes: DType[], gen: Gen): Case {
  const [inputs, attrs] = def.sample(gen, dtypes);
  const needs = differentiable(def, dtypes);
  const specs = inputs.map(({ shape, dtype }) => ({ shape, dtype }));
  const [out] = def.outputs(specs, attrs, needs);
  const draw = (n: number): Float64Array => host(gen.tensor([n], { lo: -1, hi: 1 })).slice();
  return { inputs, attrs, needs, u: draw(size(out.shape)), vs: inputs.map((t) => draw(t.size)) };
}

/** ⟨u, Jv⟩ along input `i` alone, by central differences. */
function numeric(def: AnyOp, { inputs, attrs, u, vs }: Case, i: number): number {
  const at = (sign: number): Float64Array => {
    using _ = scope();
    const moved = inputs.map((t, k) =>
      k !== i
        ? t
        : tensor(
            host(t).map((x, j) => x + sign * step * vs[k][j]),
            t.shape,
            { backend: t.backend },
          ),
    );
    const none = moved.map(() => false);
    return host(noGrad(() => execute(def, moved, attrs, none))[0]).slice();
  };
  return (dot(u, at(1)) - dot(u, at(-1))) / (2 * step);
}

/**
 * Gradients of ⟨u, op(inputs)⟩ as the op's own rule gives them, before un-broadcasting, with NaN in everything that
 * the op did not ask to save.
 */
function analytic(def: AnyOp, { inputs, attrs, needs, u }: Case): (Tensor | undefined)[] {
  const outputs = execute(def, inputs, attrs, needs);
  const saved = def.save?.(inputs, outputs, needs) ?? [];
  const restore = def.view ? [] : poison([...inputs, ...outputs], new Set(saved));
  const g = tensor(u.slice(), outputs[0].shape, { backend: inputs[0].backend });
  const specs = inputs.map(({ shape, dtype }) => ({ shape, dtype }));
  const gradients = noGrad(() => def.vjp?.(g, { saved: saved as Tensor[], attrs, specs }, needs)) ?? [];
  // Copied: a rule may hand back an input, whose poison is about to be taken away.
  const results = gradients.map((t, i) =>
    needs[i] && t ? tensor(host(t).slice(), t.shape, { backend: t.backend }) : undefined,
  );
  for (const undo of restore) undo();
  return results;
}

function poison(tensors: Tensor[], saved: Set<unknown>): (() => void)[] {
  return tensors
    .filter((t) => !saved.has(t) && t.dtype !== 'i32' && !isQuantized(t.dtype))
    .map((t) => {
      const values = host(t);
      const before = values.slice();
      values.fill(Number.NaN);
      return () => values.set(before);
    });
}

/** How far ⟨Jᵀu, v⟩ along input `i` is from the numeric value, in units of the tolerance: at most 1 is right. */
const mismatch = (exact: number, approximate: number): number =>
  Number.isNaN(exact)
    ? Number.POSITIVE_INFINITY
    : Math.abs(exact - approximate) / (tolerance * Math.max(1, Math.abs(approximate)));

/** Directional gradient check with poison and leak check. @throws Error naming op, input and both numbers */
export function gradcheck(def: AnyOp, dtypes: DType[], gen: Gen): void {
  const before = memory().tensors;
  {
    using _ = scope();
    const c = drawCase(def, dtypes, gen);
    const gradients = analytic(def, c);
    for (const [i, t] of c.inputs.entries()) {
      if (!c.needs[i]) continue;
      const g = gradients[i];
      if (!g) throw new Error(`${def.name}: no gradient for input ${i}`);
      const exact = dot(host(noGrad(() => sumTo(g, t.shape))), c.vs[i]);
      const approximate = numeric(def, c, i);
      if (mismatch(exact, approximate) > 1) {
        throw new Error(`${def.name}, input ${i} [${t.shape}]: ⟨Jᵀu, v⟩ = ${exact}, ⟨u, Jv⟩ = ${approximate}`);
      }
    }
  }
  const leaked = memory().tensors - before;
  if (leaked !== 0) throw new Error(`${def.name}: ${leaked} tensors leaked`);
}

/** Wrong gradients a check must notice; undefined where this case cannot show the mistake. */
export const mutants: Record<string, (g: Tensor, to: Tensor, v: Float64Array, scale: number) => number | undefined> = {
  'one element is off by 1%': (g, to, v, scale) => {
    const values = host(noGrad(() => sumTo(g, to.shape)));
    const j = values.findIndex((x, k) => Math.abs(x * v[k]) > 1e-3 * scale);
    return j < 0 ? undefined : dot(values, v) + 0.01 * values[j] * v[j];
  },
  'the sum over a broadcast axis is dropped': (g, to, v, scale) => {
    if (g.size === to.size || to.size === 0) return undefined;
    const right = dot(host(noGrad(() => sumTo(g, to.shape))), v);
    const wrong = dot(host(g).subarray(0, to.size), v);
    return Math.abs(wrong - right) > 1e-3 * scale ? wrong : undefined;
  },
  'the last row is zero': (g, to, v, scale) => {
    const values = host(noGrad(() => sumTo(g, to.shape)));
    const columns = to.shape.at(-1) ?? 1;
    const last = dot(values.subarray(values.length - columns), v.subarray(values.length - columns));
    return Math.abs(last) > 1e-3 * scale ? dot(values, v) - last : undefined;
  },
};

/** Applies a mutant to input `i`'s gradient: whether the check noticed, or undefined where it does not apply. */
export function mutantIsCaught(def: AnyOp, c: Case, i: number, mutant: string): boolean | undefined {
  const g = analytic(def, c)[i];
  if (!g) return undefined;
  const approximate = numeric(def, c, i);
  const wrong = mutants[mutant](g, c.inputs[i], c.vs[i], Math.max(1, Math.abs(approximate)));
  return wrong === undefined ? undefined : mismatch(wrong, approximate) > 1;
}
