/** What the generated code checks and counts; fixed when a device is opened, because it changes the code. */
export interface Instrumentation {
  /** Bounds, alignment and lifetime of every access. */
  readonly memory: boolean;
  /** Reads of memory and registers that nobody wrote (memory needs `memory`). */
  readonly uninitialised: boolean;
  /** Shared-memory races between warps and within one (needs `memory`). */
  readonly races: boolean;
  /** Divergent barriers and wrong member masks. */
  readonly sync: boolean;
  /** Instruction, sector and wavefront counts. */
  readonly counters: boolean;
}
