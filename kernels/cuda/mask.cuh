// How a dropout mask lies in memory: a bit for each element, ⌈columns/32⌉ words a row; bit c mod 32 of word ⌊c/32⌋ is 1 where
// element c is kept.
#pragma once
#include "common.cuh"

INLINE i32 maskWords(i32 columns) { return (columns + 31) / 32; }

/// The bits of elements column, column + 1 … of a row, from the lowest on, as far as they are in one word: four where `column` is
/// a multiple of 4.
INLINE uint32_t maskBits(const uint32_t *mask, i32 columns, i64 row, i32 column) {
  return mask[row * maskWords(columns) + column / 32] >> column % 32;
}
