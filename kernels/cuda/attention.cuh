// Sizes of attention and tiles of its plan (engine/segments.ts).
#pragma once
#include "common.cuh"

/// The ints of every launch: q is [Tq, H, D], k and v are [Tk, KVH, D], of which the first `keys` rows are in use.
struct Sizes {
  i32 Tq, H, D, Tk, KVH, keys, tiles;
  /// Query heads that share a key head.
  INLINE i32 group() const { return H / KVH; }
};

/// Rows of a plan's tile.
constexpr int TILE = 32;

/// Part `block` of all query tiles, cut into parts of `rows`: the queries [first, first + count), of which the first
/// one has key row `row`, see the spans [span, spanEnd). Behind a tile's end the count is 0 or less.
struct QueryTile {
  i32 first, count, row, span, spanEnd;
  INLINE QueryTile(const i32 *tiles, i32 block, i32 rows) {
    i32 parts = TILE / rows, skip = block % parts * rows;
    const i32 *tile = tiles + (i64)5 * (block / parts);
    first = tile[0] + skip;
    count = min(rows, tile[1] - skip);
    row = tile[2] + skip;
    span = tile[3];
    spanEnd = span + tile[4];
  }
};

/// The same of key tiles: keys [first, first + count), seen by the query spans [span, spanEnd).
struct KeyTile {
  i32 first, count, span, spanEnd;
  INLINE KeyTile(const i32 *tiles, i32 block, i32 rows) {
    i32 parts = TILE / rows, skip = block % parts * rows;
    const i32 *tile = tiles + (i64)4 * (block / parts);
    first = tile[0] + skip;
    count = min(rows, tile[1] - skip);
    span = tile[2];
    spanEnd = span + tile[3];
  }
};
