import { Profile, type ProfileEntry, withContext } from '../engine/index.ts';
import { type Output, percent } from './output.ts';
import { alignColumns } from './table.ts';

/** Entries below this share of the time are summed up. */
const shown = 0.005;

/**
 * A table of where time went: op, shapes, calls, time, GFLOP/s of products and GB/s of the rest.
 * @internal exported for bench/
 */
export function profileLines(entries: readonly ProfileEntry[]): string[] {
  const total = entries.reduce((sum, { ms }) => sum + ms, 0);
  const large = entries.filter(({ ms }) => ms >= shown * total);
  const rest = entries.filter(({ ms }) => ms < shown * total);
  const time = (ms: number): string[] => [ms.toFixed(1), percent(ms / total)];
  const rows = large.map((e) => {
    const [least, most] = e.rows;
    const rate = ((e.contraction ? 2 * e.multiplyAdds : e.bytes) / e.ms / 1e6).toFixed(1);
    const range = least === most ? `${most}` : `${least}–${most}`;
    return [e.op, e.inputs, range, `${e.calls}`, ...time(e.ms), `${rate} ${e.contraction ? 'GFLOP/s' : 'GB/s   '}`];
  });
  if (rest.length > 0) {
    const [calls, ms] = [rest.reduce((n, e) => n + e.calls, 0), rest.reduce((n, e) => n + e.ms, 0)];
    rows.push([`${rest.length} others`, '', '', `${calls}`, ...time(ms), '']);
  }
  const right = [false, false, true, true, true, true, true];
  return alignColumns([['op', 'inputs', 'T', 'calls', 'ms', '', 'rate'], ...rows], right);
}

/** Runs `run` and, where asked, prints where its time went. */
export async function profiled<T>(on: boolean, out: Output, run: () => Promise<T>): Promise<T> {
  if (!on) return run();
  const profile = new Profile();
  const started = performance.now();
  try {
    return await withContext({ observer: profile.observer }, run);
  } finally {
    const entries = profile.entries();
    const ops = entries.reduce((sum, { ms }) => sum + ms, 0);
    out.line(`profile: ${(ops / 1000).toFixed(1)} of ${((performance.now() - started) / 1000).toFixed(1)} s in ops`);
    for (const line of profileLines(entries)) out.line(line);
  }
}
