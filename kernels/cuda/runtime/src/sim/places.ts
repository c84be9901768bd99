/** Room for the opt-in limit of shared memory of every known device, and for red zones between variables. */
export const arenaBytes = 512 * 1024;
/** What ldmatrix and most of cp.async access at once. */
export const rowBytes = 16;

const arena = (k: number) => 8192 + k * arenaBytes;

/** Where things lie in the WebAssembly memory of a block that runs: offsets in bytes. */
export const places = {
  /** Operands of a matrix product as f64: A with rows of (up to) 16, B with a row of 8 for each k, the sums by register and lane. */
  a: 0,
  b: 2048,
  sums: 3072,
  /** Of up to 32 rows of 16 bytes of shared memory: the offset of each, and the lane that accesses it. */
  rows: 4096,
  lanes: 4224,
  /** Shared memory, its shadow, and what is remembered of each word: see RaceDetector. */
  shared: arena(0),
  shadow: arena(1),
  writes: arena(2),
  reads: arena(3),
  readers: arena(4),
  readTime: arena(5),
  /** The registers of the block's warps, up to the memory's end. */
  file: arena(6),
} as const;
