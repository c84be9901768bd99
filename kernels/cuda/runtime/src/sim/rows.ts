import { flag, timeShift, warpShift } from './clocks.ts';
import { shadow, WRITTEN } from './deviceMemory.ts';
import { arenaBytes, places, rowBytes } from './places.ts';
import * as w from './wasm.ts';

// Functions that work on up to 32 rows of shared memory, 16 bytes each, whose offsets lie at places.rows: what ldmatrix and
// cp.async access, which is most of what a kernel for tensor cores does with shared memory. They do the accesses that nothing
// is wrong with; the others are left to SharedMemory and RaceDetector, which know more cases and what to report.

/** Shared memory from here on is no variable's: illegal accesses are sent there. */
export const scratch = arenaBytes - 4096;

const ALLOCATED = shadow.allocated * 0x01010101;
const IN_FLIGHT = shadow.inFlight * 0x01010101;
const lanes = 31;
const warps = 31 << warpShift;

const { isZero, splat: all } = w;
/** Misaligned, or outside what variables may lie in. */
const isNowhere = (at: w.Code) => w.orWord(w.andWord(at, w.i32(rowBytes - 1)), w.atLeast(at, w.i32(scratch)));
const differs = (row: w.Code, word: w.Code) => w.anyBit(w.xor(row, all(word)));

/** `body` for `i` from 0 to `count`, with the offset of row i in `at`. */
const eachRow = (i: number, count: number, at: number, ...body: readonly w.Code[]): w.Code =>
  w.block(
    w.loop(
      w.leaveIf(1, w.atLeast(w.local(i), w.local(count))),
      w.setLocal(at, w.loadWord(w.shiftLeft(w.local(i), w.i32(2)), places.rows)),
      ...body,
      w.setLocal(i, w.plus(w.local(i), w.i32(1))),
      w.leave(0),
    ),
  );

/** `body` in two blocks, of which leaving the inner one, 0, counts `i` in `slow`, and leaving the outer one, 1, does not. */
const unlessLeft = (i: number, slow: number, ...body: readonly w.Code[]): w.Code =>
  w.block(w.block(...body, w.leave(1)), w.setLocal(slow, w.orWord(w.local(slow), w.shiftLeft(w.i32(1), w.local(i)))));

/**
 * readRows(rows, key, settled, races): a warp's lanes, of which lane i reads row i, with the warp's `key` and (as an entry)
 * `settled` time (see Clocks); `races` says whether to look for races. Returns a mask of the lanes of whom nothing is done.
 */
function readRows(): w.WasmFunction {
  const [count, key, settled, races, lane, at, last, slow] = [0, 1, 2, 3, 4, 5, 6, 7];
  const [row, read] = [w.local(at), w.local(last)];
  const of = (place: number) => w.load(row, place);
  const set = (place: number, word: w.Code) => w.store(row, place, all(word));
  const time = w.shiftRight(read, w.i32(timeShift));
  const warp = w.shiftLeft(w.i32(1), w.shiftRight(read, w.i32(warpShift)));
  const setReads = (lane: w.Code) => set(places.reads, w.orWord(w.local(key), lane));
  const otherWarp = w.andWord(w.xorWord(read, w.local(key)), w.i32(warps));
  const body = unlessLeft(
    lane,
    slow,
    w.leaveIf(0, isNowhere(row)),
    w.leaveIf(0, differs(of(places.shadow), w.i32(WRITTEN))),
    w.leaveIf(1, isZero(w.local(races))),
    // Words that always go together mostly have one past.
    w.setLocal(last, w.loadWord(row, places.reads)),
    w.leaveIf(0, differs(of(places.reads), read)),
    w.leaveIf(0, isZero(w.allLess(of(places.writes), all(w.local(settled))))),
    w.when(w.equal(w.andWord(read, w.i32(~(flag | lanes))), w.local(key)), [
      ...w.when(w.notEqual(w.andWord(read, w.i32(lanes)), w.local(lane)), setReads(w.i32(flag))),
      ...w.leave(2),
    ]),
    // Another warp's read that is not ordered before is remembered beside this one, if none of an earlier time is.
    w.when(w.andWord(w.atLeast(read, w.local(settled)), w.notEqual(otherWarp, w.i32(0))), [
      ...w.when(
        differs(of(places.readTime), time),
        [
          ...w.leaveIf(
            2,
            isZero(w.allLess(of(places.readTime), all(w.shiftRight(w.local(settled), w.i32(timeShift))))),
          ),
          ...set(places.readTime, time),
          ...set(places.readers, warp),
        ],
        w.store(row, places.readers, w.or(of(places.readers), all(warp))),
      ),
    ]),
    setReads(w.local(lane)),
  );
  return {
    name: 'readRows',
    params: 4,
    words: 4,
    vectors: 0,
    returns: true,
    body: [...eachRow(lane, count, at, body), ...w.local(slow)],
  };
}

/**
 * takeRows(rows, settled, races): from now on copies to the rows are in flight. Returns a mask of the rows of which nothing is
 * done.
 */
function takeRows(): w.WasmFunction {
  const [count, settled, races, i, at, slow] = [0, 1, 2, 3, 4, 5];
  const row = w.local(at);
  const isNot = (state: number) => differs(w.load(row, places.shadow), w.i32(state));
  const unsettled = (place: number) => isZero(w.allLess(w.load(row, place), all(w.local(settled))));
  const body = unlessLeft(
    i,
    slow,
    w.leaveIf(0, isNowhere(row)),
    w.leaveIf(0, w.andWord(isNot(WRITTEN), isNot(ALLOCATED))),
    w.when(w.local(races), [...w.leaveIf(1, unsettled(places.writes)), ...w.leaveIf(1, unsettled(places.reads))]),
    w.store(row, places.shadow, w.splat32(IN_FLIGHT)),
  );
  return {
    name: 'takeRows',
    params: 3,
    words: 3,
    vectors: 0,
    returns: true,
    body: [...eachRow(i, count, at, body), ...w.local(slow)],
  };
}

/** noteRows(rows, key, races): the rows are written, by the warp with that `key` and the lanes at places.lanes. */
function noteRows(): w.WasmFunction {
  const [count, key, races, i, at] = [0, 1, 2, 3, 4];
  const row = w.local(at);
  const set = (place: number, word: w.Code) => w.store(row, place, all(word));
  const body = eachRow(
    i,
    count,
    at,
    set(places.shadow, w.i32(WRITTEN)),
    w.when(w.local(races), [
      ...set(places.writes, w.orWord(w.local(key), w.loadWord(w.shiftLeft(w.local(i), w.i32(2)), places.lanes))),
      ...set(places.reads, w.i32(0)),
      ...set(places.readers, w.i32(0)),
    ]),
  );
  return { name: 'noteRows', params: 3, words: 2, vectors: 0, body };
}

const matrixRow = (from: w.Code, r: number) => w.load(w.loadWord(from, places.rows + 4 * r), places.shared);

/** loadRows(from, to): of an 8×8 matrix of 16-bit elements, whose rows' offsets begin `from` bytes behind, to a row of the file. */
function loadRows(): w.WasmFunction {
  const [from, to] = [0, 1];
  const body = Array.from({ length: 8 }, (_, r) =>
    w.store(w.local(to), places.file + 16 * r, matrixRow(w.local(from), r)),
  );
  return { name: 'loadRows', params: 2, vectors: 0, body: body.flat() };
}

/** The same of the transposed matrix. */
function loadColumns(): w.WasmFunction {
  const [from, to, first] = [0, 1, 2];
  const interleaved = (start: number) =>
    Array.from({ length: 16 }, (_, k) => start + (k & 1) + 2 * (k >> 2) + (k & 2 ? 16 : 0));
  const body: number[] = [];
  for (let r = 0; r < 8; r++) body.push(...w.setLocal(first + r, matrixRow(w.local(from), r)));
  // Each round moves the last bit of the row's number to the front of the column's: after three they are exchanged.
  for (let round = 0; round < 3; round++) {
    const [now, then] = round % 2 === 0 ? [first, first + 8] : [first + 8, first];
    for (let r = 0; r < 8; r++) {
      const [x, y] = [w.local(now + (r >> 1)), w.local(now + (r >> 1) + 4)];
      body.push(...w.setLocal(then + r, w.shuffle(x, y, interleaved(8 * (r & 1)))));
    }
  }
  for (let r = 0; r < 8; r++) body.push(...w.store(w.local(to), places.file + 16 * r, w.local(first + 8 + r)));
  return { name: 'loadColumns', params: 2, vectors: 16, body };
}

export const rowFunctions = (): w.WasmFunction[] => [readRows(), takeRows(), noteRows(), loadRows(), loadColumns()];
