import { LaunchError } from '../errors.ts';
import type { AsyncCopies } from './asyncCopy.ts';
import { atomicFunctions } from './atomicFunctions.ts';
import * as bitFunctions from './bitFunctions.ts';
import type { BlockMemory } from './blockMemory.ts';
import { outcomes } from './compile.ts';
import type { AccessCounter, Way } from './counters.ts';
import { type DeviceMemory, views, WRITTEN, windows } from './deviceMemory.ts';
import * as float from './float.ts';
import type { Instrumentation } from './instrumentation.ts';
import * as int64 from './int64.ts';
import { matrixLoader } from './ldmatrix.ts';
import type { LocalMemory } from './localMemory.ts';
import { halfAccumulators } from './matrix.ts';
import type { Reporter } from './report.ts';
import type { Scheduler } from './scheduler.ts';
import type { SharedMemory } from './sharedMemory.ts';
import { warpFunctions } from './warpFunctions.ts';

interface Parts {
  readonly checks: Instrumentation;
  readonly global: DeviceMemory;
  readonly shared: SharedMemory;
  readonly local: LocalMemory;
  readonly params: ReturnType<typeof views>;
  readonly memory: BlockMemory;
  /** ntid, ctaid, nctaid, number of warps, dynamic and total shared bytes, clock. */
  readonly uniforms: Int32Array;
  readonly copies: AsyncCopies;
  readonly scheduler: Scheduler;
  readonly reporter: Reporter;
  readonly counter: AccessCounter;
  readonly addresses: Int32Array;
  /** Warp instructions and active threads of each block. */
  readonly blockCounts: Float64Array;
}

type Arrays = ReturnType<typeof views>;
const named = (letter: string, arrays: Arrays) => ({
  [`${letter}I`]: arrays.ints,
  [`${letter}F`]: arrays.floats,
  [`${letter}D`]: arrays.doubles,
  [`${letter}B`]: arrays.bytes,
  [`${letter}H`]: arrays.halves,
});
const shadows = (letter: string, arrays: Arrays) => ({
  [`${letter}S1`]: arrays.bytes,
  [`${letter}S2`]: arrays.halves,
  [`${letter}S4`]: arrays.ints,
});

/** Everything that generated code calls by name. */
export function environment(parts: Parts): Record<string, unknown> {
  const { checks, global, shared, local, params, memory, reporter, scheduler, counter, addresses, copies } = parts;
  const { file } = memory;
  const transfer = views(new ArrayBuffer(8));

  const globalAccess =
    (store: boolean) =>
    (site: number, w: number, l: number, lo: number, hi: number, bytes: number): number =>
      global.access(reporter, site, w, l, lo, hi, bytes, store);

  // Bytes of a generic address outside global memory, and the offset in them; undefined where nothing lies.
  const resolve = (site: number, w: number, l: number, lo: number, hi: number, bytes: number, store: boolean) => {
    if (hi === windows.SHARED) {
      const offset = checks.memory ? shared.access(site, w, l, lo, 0, bytes, store) : lo;
      if (checks.memory && checks.races && offset !== shared.scratch) {
        for (let x = offset >>> 2; x < (offset + bytes + 3) >>> 2; x++) {
          if (bytes < 4) {
            if (store) shared.writeNarrow(site, w, l, offset, bytes, -1, false);
            else shared.readNarrow(site, w, l, offset, bytes, false);
          } else if (store) shared.races.write(site, w, l, x, false);
          else shared.races.read(site, w, l, x);
        }
      }
      return { data: shared.data, offset };
    }
    if (hi === windows.LOCAL) {
      const place = (w * 32 + l) * local.bytes + lo;
      return { data: local.data, offset: checks.memory ? local.access(site, w, l, lo, 0, bytes, store) : place };
    }
    if (hi === windows.PARAM && !store) return { data: params, offset: lo & 4095 };
    return undefined;
  };

  // Generic accesses outside global memory go through a slot of it: the generated code then reads or writes there.
  const genericLoad = (site: number, w: number, l: number, lo: number, hi: number, bytes: number): number => {
    const found = hi === windows.GLOBAL ? undefined : resolve(site, w, l, lo, hi, bytes, false);
    if (found === undefined) return checks.memory ? globalAccess(false)(site, w, l, lo, hi, bytes) : lo;
    global.data.bytes.set(found.data.bytes.subarray(found.offset, found.offset + bytes), global.genericSlot);
    return global.genericSlot;
  };
  const genericStore = (site: number, w: number, l: number, lo: number, hi: number, bytes: number): number => {
    if (hi === windows.SHARED || hi === windows.LOCAL) return global.genericSlot;
    return checks.memory ? globalAccess(true)(site, w, l, lo, hi, bytes) : lo;
  };
  const genericStoreBack = (site: number, w: number, l: number, lo: number, hi: number, bytes: number): void => {
    const found = resolve(site, w, l, lo, hi, bytes, true)!;
    found.data.bytes.set(global.data.bytes.subarray(global.genericSlot, global.genericSlot + bytes), found.offset);
  };

  // An atomic reads and writes: unwritten memory is reported.
  const atomicPlace = (site: number, w: number, l: number, lo: number, hi: number, space: string, bytes: number) => {
    const inShared = space === 'S' || (space === '' && hi === windows.SHARED);
    if (inShared) {
      const offset = checks.memory ? shared.access(site, w, l, lo, space === 'S' ? hi : 0, bytes, false) : lo;
      if (checks.memory) for (let x = offset >>> 2; x < (offset + bytes + 3) >>> 2; x++) shared.atomic(site, w, l, x);
      return { data: shared.data, offset };
    }
    if (space === '' && hi === windows.LOCAL) return resolve(site, w, l, lo, hi, bytes, false)!;
    const offset = checks.memory ? globalAccess(false)(site, w, l, lo, hi, bytes) : lo;
    return { data: global.data, offset, global: true };
  };

  const unassigned = (site: number, w: number, l: number, name: string): void => {
    reporter.add('uninitialised', site, w, l, undefined, `reads register ${name}, which nothing has assigned`);
  };

  return {
    ...outcomes,
    ...windows,
    WRITTEN,
    GENERIC: global.genericSlot,
    ...named('', file),
    ...named('G', global.data),
    ...named('S', shared.data),
    ...named('L', local.data),
    ...named('P', params),
    ...shadows('G', global.shadow),
    ...shadows('S', shared.shadow),
    ...shadows('L', local.shadow),
    ...named('T', transfer),
    SW: shared.races.writes,
    SR: shared.races.reads,
    READERS: shared.races.readers,
    READ_TIME: shared.races.readTime,
    KEY: shared.races.clocks.key,
    SETTLED: shared.races.clocks.settled,
    U: parts.uniforms,
    CTL: scheduler.control,
    TARGETS: scheduler.targets,
    ADDRESSES: addresses,
    COUNT: parts.blockCounts,
    ...float,
    ...int64,
    ...bitFunctions,
    clock: (uniforms: Int32Array) => uniforms[12]++,
    flushHalf: (x: number) => (Math.abs(x) < 2 ** -14 ? x * 0 : x),
    relu: (x: number) => (Number.isNaN(x) || x > 0 ? x : 0),
    divApprox: (a: number, b: number) => {
      // Divisors beyond 2^126 are treated as infinite.
      const far = Math.abs(b) > 2 ** 126 && Math.abs(b) < Infinity;
      return Math.fround(a / (far ? Math.sign(b) * Infinity : b));
    },
    globalLoad: globalAccess(false),
    globalStore: globalAccess(true),
    genericLoad,
    genericStore,
    genericStoreBack,
    sharedLoad: (site: number, w: number, l: number, lo: number, hi: number, bytes: number) =>
      shared.access(site, w, l, lo, hi, bytes, false),
    // A misaligned or wild store; whether the place is a variable's is left to the store of its words.
    sharedStore: (site: number, w: number, l: number, lo: number, hi: number, bytes: number) =>
      shared.access(site, w, l, lo, hi, bytes, true),
    localLoad: (site: number, w: number, l: number, lo: number, hi: number, bytes: number) =>
      local.access(site, w, l, lo, hi, bytes, false),
    localStore: (site: number, w: number, l: number, lo: number, hi: number, bytes: number) =>
      local.access(site, w, l, lo, hi, bytes, true),
    sharedRead: shared.races.read.bind(shared.races),
    sharedReadNarrow: shared.readNarrow.bind(shared),
    sharedWriteI: shared.write.bind(shared),
    sharedWriteF: (site: number, w: number, l: number, x: number, value: number, strong: boolean) =>
      shared.write(site, w, l, x, float.bitsOf(value), strong),
    sharedWriteNarrow: shared.writeNarrow.bind(shared),
    sharedAtomic: shared.atomic.bind(shared),
    copyAsync: copies.issue.bind(copies),
    asyncCommit: copies.commit.bind(copies),
    asyncWait: (_site: number, w: number, lanes: number, allow: number) => copies.wait(w, lanes, allow),
    countGlobal: (site: number, lanes: number, bytes: number, way: Way) =>
      counter.global(addresses, site * 32, lanes, bytes, way),
    countShared: (site: number, lanes: number, bytes: number, way: Way) =>
      counter.shared(addresses, site * 32, lanes, bytes, way),
    gather: scheduler.gather.bind(scheduler),
    gatherAll: scheduler.gatherAll.bind(scheduler),
    barrier: scheduler.barriers.remember.bind(scheduler.barriers),
    syncWarp: (w: number) => shared.races.clocks.syncWarp(w),
    unassigned,
    unassignedLanes: (site: number, w: number, lanes: number, name: string) => {
      if (lanes !== 0) unassigned(site, w, 31 - Math.clz32(lanes & -lanes), name);
    },
    trap: (site: number) => {
      const { line } = reporter.position.sites[site];
      throw new LaunchError('CUDA_ERROR_LAUNCH_FAILED', `${reporter.position.kernel}: trap at PTX line ${line}`);
    },
    badTarget: (site: number, w: number, l: number) => {
      reporter.add('out-of-bounds', site, w, l, undefined, 'brx.idx with an index beyond its targets');
      return 0;
    },
    ...warpFunctions(file.ints, scheduler.wrongLane.bind(scheduler)),
    ...atomicFunctions(atomicPlace, float),
    ...memory.functions,
    mmaHalf: halfAccumulators(memory),
    loadMatrix: matrixLoader(memory, shared, checks, counter),
  };
}
