// The most multiply-adds a second that WASM can do here: a loop of nothing else, once in 128-bit and, where V8 pairs
// neighbouring operations (`--experimental-wasm-revectorize`), in 256-bit. The measure for "share of the peak".
//
// The module is written byte by byte, because what is measured is one fixed sequence of instructions.
import { median } from '../statistics.ts';

/** Chains of dependent multiply-adds: latency 4, two a cycle, so 8 would do; registers hold 12. */
const CHAINS = 12;
/** Rounds of the chains in the loop's body, against the cost of the jump. */
const UNROLL = 8;

const LOOP = 0x03;
const VOID = 0x40;
const BR_IF = 0x0d;
const END = 0x0b;
const LOCAL_GET = 0x20;
const LOCAL_SET = 0x21;
const LOCAL_TEE = 0x22;
const I32_CONST = 0x41;
const I32_SUB = 0x6b;
const I32 = 0x7f;
const V128 = 0x7b;
const SIMD = 0xfd;
const V128_LOAD = [SIMD, 0x00];
const V128_LOAD32_SPLAT = [SIMD, 0x09];
const V128_STORE = [SIMD, 0x0b];
const RELAXED_MADD = [SIMD, 0x85, 0x02];

/** LEB128. */
function unsigned(n: number): number[] {
  return n < 128 ? [n] : [(n & 127) | 128, ...unsigned(n >>> 7)];
}

const vector = (items: number[][]): number[] => [...unsigned(items.length), ...items.flat()];
const section = (id: number, body: number[]): number[] => [id, ...unsigned(body.length), ...body];
/** Loads from address 0 + `offset`, aligned to 2^`align` bytes. */
const load = (op: number[], offset: number, align: number): number[] => [
  ...[I32_CONST, 0, ...op, align],
  ...unsigned(offset),
];

/** `run(n)`: n × UNROLL × CHAINS × `pairs` vector multiply-adds. With two pairs every operation stands beside its twin. */
function moduleBytes(pairs: 1 | 2): Uint8Array<ArrayBuffer> {
  const chains = CHAINS * pairs;
  // Local 0 counts down; then the chains, the factor of all lanes, and the other factor.
  const chain = (i: number): number => 1 + i;
  const a = 1 + chains;
  const b = (i: number): number => a + 1 + (i % pairs);
  const cOffset = (i: number): number => 64 + 16 * i;
  const each = (n: number, f: (i: number) => number[]): number[] => Array.from({ length: n }, (_, i) => f(i)).flat();
  const code = [
    ...[...load(V128_LOAD32_SPLAT, 48, 2), LOCAL_SET, ...unsigned(a)],
    ...each(pairs, (i) => [...load(V128_LOAD, 16 * i, 4), LOCAL_SET, ...unsigned(b(i))]),
    ...each(chains, (i) => [...load(V128_LOAD, cOffset(i), 4), LOCAL_SET, ...unsigned(chain(i))]),
    LOOP,
    VOID,
    ...each(UNROLL * chains, (k) => {
      const c = unsigned(chain(k % chains));
      const factors = [LOCAL_GET, ...unsigned(a), LOCAL_GET, ...unsigned(b(k))];
      return [...factors, LOCAL_GET, ...c, ...RELAXED_MADD, LOCAL_SET, ...c];
    }),
    ...[LOCAL_GET, 0, I32_CONST, 1, I32_SUB, LOCAL_TEE, 0, BR_IF, 0],
    END,
    ...each(chains, (i) => [I32_CONST, 0, LOCAL_GET, ...unsigned(chain(i)), ...V128_STORE, 4, ...unsigned(cOffset(i))]),
    END,
  ];
  const locals = [[...unsigned(chains + 1 + pairs), V128]];
  const body = [...vector(locals), ...code];
  const name = [...Buffer.from('run')];
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, vector([[0x60, ...vector([[I32]]), ...vector([])]])),
    ...section(3, vector([[0]])),
    ...section(5, vector([[0, 1]])),
    ...section(7, vector([[...unsigned(name.length), ...name, 0, 0]])),
    ...section(10, vector([[...unsigned(body.length), ...body]])),
  ]);
}

/**
 * GFLOP/s of one thread (a multiply-add counts as two operations): median of some milliseconds each, after V8's optimised
 * code has taken over. 256-bit only if V8's revectorizer is on in this process.
 */
export function fmaPeak(bits: 128 | 256, seconds: number): number {
  const pairs = bits === 256 ? 2 : 1;
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(moduleBytes(pairs)));
  const run = exports.run as (n: number) => void;
  const n = 10_000;
  const flops = n * UNROLL * CHAINS * pairs * 4 * 2;
  for (const warm = performance.now() + 100; performance.now() < warm; ) run(n);
  const rates: number[] = [];
  const end = performance.now() + 1000 * seconds;
  do {
    const started = performance.now();
    run(n);
    rates.push(flops / (performance.now() - started) / 1e6);
  } while (performance.now() < end);
  return median(rates);
}
