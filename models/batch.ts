import { type AttentionPlan, attentionPlan, type Backend, type Forest, type Tensor, tensor } from '../engine/index.ts';

/** What dropout masks depend on: `rng` i32 [2] = (seed, step) and per row i32 [T, 2] = (owner, position). */
export interface DropoutRows {
  rng: Tensor;
  rows: Tensor;
}

/** The rows of one pass through the model, described on the host. Row numbers count from the forest's first row. */
export interface BatchRows {
  /** How the rows attend to each other; its rows before `from` are in the cache already. */
  forest: Forest;
  from?: number;
  /** How many of the new rows, at their beginning, are virtual tokens and have no id. */
  virtual?: number;
  /** Token ids of the other new rows. */
  ids: ArrayLike<number>;
  /** Rows whose final hidden states are wanted, ascending; default: all new rows. */
  outputs?: readonly number[];
  /** Dropout: the (seed, step) tensor and the owner of every new row (see the design's determinism). */
  dropout?: { rng: Tensor; owners: ArrayLike<number> };
}

/** Everything a layer needs to know about the rows it works on. */
export interface LayerRows {
  positions: Tensor;
  plan: AttentionPlan;
  dropout?: DropoutRows;
}

/** One pass through the model on a device. */
export interface Batch {
  ids: Tensor;
  rows: number;
  /** Key row at which the new rows begin. */
  from: number;
  /** One more than the highest position. */
  positions: number;
  all: LayerRows;
  /** In the last layer only the wanted rows have queries and an MLP; undefined when all rows are wanted. */
  last?: LayerRows & { index: Tensor };
}

const i32 = (values: ArrayLike<number>, shape: number[], backend: Backend): Tensor =>
  tensor(Int32Array.from(values), shape, { dtype: 'i32', backend });

/** Uploads index lists and attention plans for these rows. The tensors belong to the innermost scope. */
export function prepareBatch(spec: BatchRows, backend: Backend): Batch {
  const { forest, from = 0, virtual = 0, ids, outputs, dropout } = spec;
  const rows = forest.rows - from;
  if (ids.length + virtual !== rows) {
    throw new RangeError(`batch: ${ids.length} ids and ${virtual} virtual tokens for ${rows} rows`);
  }
  const describe = (wanted: readonly number[]): LayerRows => {
    const at = wanted.map((row) => forest.positions[row]);
    return {
      positions: i32(at, [wanted.length], backend),
      plan: attentionPlan(forest, wanted, backend),
      dropout: dropout && {
        rng: dropout.rng,
        rows: i32(
          wanted.flatMap((row, i) => [dropout.owners[row - from], at[i]]),
          [wanted.length, 2],
          backend,
        ),
      },
    };
  };
  const every = Array.from({ length: rows }, (_, i) => from + i);
  return {
    ids: i32(ids, [ids.length], backend),
    rows,
    from,
    positions: every.reduce((top, row) => Math.max(top, forest.positions[row] + 1), 0),
    all: describe(every),
    last:
      outputs && outputs.length < rows
        ? {
            ...describe(outputs),
            index: i32(
              outputs.map((row) => row - from),
              [outputs.length],
              backend,
            ),
          }
        : undefined,
  };
}
