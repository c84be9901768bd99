import { shadow, views } from './deviceMemory.ts';
import type { Layout } from './layout.ts';
import type { Reporter } from './report.ts';

/** Local memory of a block's threads: `bytes` each, one after the other, with gaps between variables. */
export class LocalMemory {
  readonly data: ReturnType<typeof views>;
  readonly shadow: ReturnType<typeof views>;
  readonly scratch: number;
  readonly bytes: number;
  readonly #pattern: Uint8Array;
  #reporter: Reporter;

  constructor(layout: Layout, threads: number, reporter: Reporter, trackWrites: boolean) {
    this.bytes = layout.localBytes;
    this.scratch = this.bytes * threads;
    const size = this.scratch + 64;
    this.data = views(new ArrayBuffer(size));
    this.shadow = views(new ArrayBuffer(size));
    this.shadow.bytes.fill(shadow.written, this.scratch);
    this.#reporter = reporter;
    this.#pattern = new Uint8Array(this.bytes);
    for (const { variable, offset } of layout.local) {
      this.#pattern.fill(trackWrites ? shadow.allocated : shadow.written, offset, offset + variable.bytes);
    }
  }

  /** Begins a block: nothing is written. */
  begin(threads: number): void {
    if (this.bytes === 0) return;
    for (let t = 0; t < threads; t++) this.shadow.bytes.set(this.#pattern, t * this.bytes);
  }

  /** Slow path of an access to `lo` of the thread's own memory; returns the byte offset to use. */
  access(site: number, w: number, lane: number, lo: number, _hi: number, bytes: number, store: boolean): number {
    const verb = store ? 'store' : 'load';
    const address = lo >>> 0;
    const offset = (w * 32 + lane) * this.bytes + address;
    if (address + bytes > this.bytes) {
      this.#reporter.add(
        'out-of-bounds',
        site,
        w,
        lane,
        address,
        `${verb} of ${bytes} bytes outside the thread's local memory`,
      );
      return this.scratch;
    }
    if (address % bytes !== 0) {
      this.#reporter.add(
        'misaligned',
        site,
        w,
        lane,
        address,
        `${verb} of ${bytes} bytes at an address that is no multiple of ${bytes}`,
      );
      return this.scratch;
    }
    let unwritten = false;
    for (let k = offset; k < offset + bytes; k++) {
      if (this.shadow.bytes[k] === 0) {
        this.#reporter.add(
          'out-of-bounds',
          site,
          w,
          lane,
          address,
          `${verb} of ${bytes} bytes outside the thread's local variables`,
        );
        return this.scratch;
      }
      if (this.shadow.bytes[k] !== shadow.written) unwritten = true;
    }
    if (store) this.shadow.bytes.fill(shadow.written, offset, offset + bytes);
    else if (unwritten)
      this.#reporter.add(
        'uninitialised',
        site,
        w,
        lane,
        address,
        `load of ${bytes} local bytes that nobody has written`,
      );
    return offset;
  }
}
