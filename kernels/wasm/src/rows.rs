//! Rows of a matrix divided into chunks.

use core::ops::Range;

/// Elements in a chunk, about: 64 KiB.
const CHUNK: usize = 1 << 14;

fn rows_per_chunk(columns: usize) -> usize {
    (CHUNK / columns.max(1)).max(1)
}

/// Chunks that `rows` rows of `columns` elements are divided into.
pub fn chunks(rows: usize, columns: usize) -> usize {
    rows.div_ceil(rows_per_chunk(columns))
}

/// The rows of a chunk.
pub fn range(chunk: usize, rows: usize, columns: usize) -> Range<usize> {
    let step = rows_per_chunk(columns);
    chunk * step..rows.min((chunk + 1) * step)
}
