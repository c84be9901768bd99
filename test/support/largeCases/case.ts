import { type Gen, registry, type Tensor } from '../../../engine/index.ts';
import type { AnyOp } from '../../../engine/op.ts';

/** One case for `checkParity` that the derived suite's sizes do not reach. */
export interface LargeCase {
  name: string;
  def: AnyOp;
  compute: 'f32' | 'bf16';
  /** Made when they are wanted, on the generator's backend. */
  make(gen: Gen): [inputs: Tensor[], attrs: unknown];
}

export function opOf(name: string): AnyOp {
  const def = registry.get(name);
  if (!def) throw new Error(`no op ${name}`);
  return def;
}

/** Columns that end one, two or three behind every packet of four that a thread of a tile for tensor cores has. */
export const packetEnds: readonly number[] = [0, 8, 16, 24].flatMap((packet) => [1, 2, 3].map((more) => packet + more));
