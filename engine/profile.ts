import type { Spec } from './op.ts';
import type { Observer } from './scope.ts';

/** Time and work of the calls of an op on inputs of the same types and shapes, whatever their number of rows. */
export interface ProfileEntry {
  op: string;
  /** Types and shapes of the inputs but index lists; `T` stands for the number of rows. */
  inputs: string;
  /** Least and most rows. */
  rows: [least: number, most: number];
  calls: number;
  ms: number;
  multiplyAdds: number;
  bytes: number;
  /** Whether arithmetic is what it costs: a matrix product or the like. */
  contraction: boolean;
}

function describe(specs: readonly Spec[]): { inputs: string; rows: number } {
  const shown = specs.filter(({ dtype }) => dtype !== 'i32');
  const rows = shown.find(({ shape }) => shape.length > 1)?.shape[0] ?? 1;
  const inputs = shown.map(({ dtype, shape }) => {
    const sizes = shape.map((n, axis) => (axis === 0 && shape.length > 1 && n === rows ? 'T' : n));
    return `${dtype === 'f32' ? '' : dtype}[${sizes.join(', ')}]`;
  });
  return { inputs: inputs.join(' '), rows };
}

/**
 * Where time goes, by op and shape: `withContext({ observer: profile.observer }, run)` adds what runs in `run`. Ops that
 * are made of others count by their parts, views not at all. On a backend that computes after `launch` has returned, an
 * op's time is that of launching it.
 */
export class Profile {
  readonly #entries = new Map<string, ProfileEntry>();

  readonly observer: Observer = ({ def, specs, attrs, ms }) => {
    if (!def.launch) return;
    const { inputs, rows } = describe(specs);
    const key = `${def.name} ${inputs}`;
    let entry = this.#entries.get(key);
    if (!entry) {
      const none = { calls: 0, ms: 0, multiplyAdds: 0, bytes: 0 };
      entry = { op: def.name, inputs, rows: [rows, rows], ...none, contraction: def.contraction !== undefined };
      this.#entries.set(key, entry);
    }
    const { multiplyAdds, bytes } = def.cost(specs, attrs as never);
    entry.rows = [Math.min(entry.rows[0], rows), Math.max(entry.rows[1], rows)];
    entry.calls++;
    entry.ms += ms;
    entry.multiplyAdds += multiplyAdds;
    entry.bytes += bytes;
  };

  /** What took longest first. */
  entries(): ProfileEntry[] {
    return [...this.#entries.values()].sort((a, b) => b.ms - a.ms);
  }
}
