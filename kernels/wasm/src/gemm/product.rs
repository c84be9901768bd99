//! A matrix product cut into blocks that fit the caches and into chunks for the threads.
//!
//! ```text
//! phase 1   A is packed once into scratch memory, in chunks of rows; of few rows, each thread packs A for itself instead
//! phase 2   each chunk is a rectangle of C:
//!             for each block of the depth            (panels of B that stay in L1 while they are used)
//!               for each block of rows               (slivers of A that stay in L2)
//!                 for each 32 columns: pack B (on the first block of rows, into the thread's own scratch)
//!                   for each panel: for each sliver: the micro-kernel
//! ```
//!
//! All sizes follow from the shape alone. In f32 each element of C is one chain of multiply-adds in ascending depth that
//! passes through memory between depth blocks: threads, tiles and blocks do not show in the result. In 16 bits each block
//! of the depth has scales of its own, so that these blocks show, and through them the shape; threads and tiles do not.

use core::ops::Range;

use super::int16;
use super::operand::{COLUMNS, Left, Right};
use super::tile::{INT16_ROWS, ROWS, WIDE, panel_columns, tile_rows, tiles};

/// Words of a line in a block of the depth, at most: a panel of 16 columns takes 24 KB of L1.
const DEPTH: usize = 384;
/// Rows in a block: 192 × 384 of A take 288 KB of L2.
const ROW_BLOCK: usize = 192;
/// Rows of A packed by one chunk.
const PACK_ROWS: usize = 24;
/// Columns of C in a chunk, at most: the thread's packed panels share L2 with the block of A.
const MAX_COLUMNS: usize = 6 * COLUMNS;
/// Elements of a thread's packed panels, at most.
pub const MAX_PANELS: usize = MAX_COLUMNS * DEPTH;
/// Rows of C in a chunk, at most: a block of the depth of their A comes from L3 once for each chunk. With fewer rows B is
/// packed oftener, with more there are not enough chunks of few columns.
const CHUNK_ROWS: usize = 6 * ROW_BLOCK;
/// Rows of A, at most, that each thread packs for itself.
const OWN_ROWS: usize = 2 * ROW_BLOCK;
/// Chunks worth having, so that eight threads finish together even if one of them is held up.
const CHUNKS: usize = 32;
/// Multiply-adds that make a chunk worth a hand-off: a few microseconds.
const WORTHWHILE: usize = 1 << 18;

/// What a product's packed operands are, and so its tiles.
#[derive(Clone, Copy, PartialEq)]
pub enum Arithmetic {
    F32,
    Int16,
}

impl Arithmetic {
    /// Rows of the highest tile.
    const fn rows(self) -> usize {
        match self {
            Arithmetic::F32 => ROWS,
            Arithmetic::Int16 => INT16_ROWS,
        }
    }

    /// Elements in a word of 32 bits.
    const fn elements(self) -> usize {
        match self {
            Arithmetic::F32 => 1,
            Arithmetic::Int16 => 2,
        }
    }

    /// Words of 32 bits that `depth` elements of a packed line take.
    fn words(self, depth: usize) -> usize {
        match self {
            Arithmetic::F32 => depth.next_multiple_of(2),
            Arithmetic::Int16 => int16::words(depth),
        }
    }

    /// The same, with what else belongs to a line.
    fn line(self, depth: usize) -> usize {
        self.words(depth) + (self == Arithmetic::Int16) as usize
    }
}

/// `batch` products C[M, N] = A[M, K]·B[K, N].
#[derive(Clone, Copy)]
pub struct Shape {
    pub arithmetic: Arithmetic,
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

impl Shape {
    /// Words of one packed A.
    pub fn packed(&self) -> usize {
        let depth = self.depth().max(1);
        self.packed_before(self.k / depth * depth) + self.m * self.arithmetic.line(self.k % depth)
    }

    /// Words of packed A before the block of the depth that starts at `begin`.
    fn packed_before(&self, begin: usize) -> usize {
        let depth = self.depth().max(1);
        self.m * (begin / depth * self.arithmetic.line(depth))
    }

    /// Part `i` when `rows` are divided into `count` parts that begin where tiles do; the last takes the rest. Parts have
    /// at least as many rows as a tile, so that the last tiles, whose heights depend on the rows that are left, lie in one.
    fn part_of_rows(&self, rows: &Range<usize>, i: usize, count: usize) -> Range<usize> {
        let highest = self.arithmetic.rows();
        let step = rows.len() / count / highest * highest;
        let begin = rows.start + i * step;
        begin..if i + 1 == count { rows.end } else { begin + step }
    }

    /// Elements of a line in a block of the depth (the last may have fewer): blocks of about equal size, whole groups of a
    /// quantised type.
    fn depth(&self) -> usize {
        let blocks = self.k.div_ceil(DEPTH * self.arithmetic.elements()).max(1);
        self.k.div_ceil(blocks).next_multiple_of(COLUMNS)
    }

    fn depth_blocks(&self) -> impl Iterator<Item = (usize, usize)> {
        let (k, depth) = (self.k, self.depth());
        (0..k).step_by(depth.max(1)).map(move |begin| (begin, depth.min(k - begin)))
    }

    /// Parts that the rows are divided into: to fit CHUNK_ROWS, or because there are few columns. Each packs B anew, so
    /// they are not small.
    fn row_parts(&self) -> usize {
        let few_columns = CHUNKS / (self.batch * self.n.div_ceil(COLUMNS)).max(1);
        self.m.div_ceil(CHUNK_ROWS).max(few_columns).clamp(1, (self.m / ROW_BLOCK).max(1))
    }

    /// Columns of C in a chunk.
    fn columns(&self) -> usize {
        let parts = self.row_parts();
        let groups = self.batch * parts * self.n.div_ceil(COLUMNS) / CHUNKS;
        let worthwhile = WORTHWHILE.div_ceil((self.m / parts * self.k).max(1)).div_ceil(COLUMNS);
        groups.max(worthwhile).clamp(1, MAX_COLUMNS / COLUMNS) * COLUMNS
    }

    pub fn chunks(&self) -> usize {
        if self.m == 0 { 0 } else { self.batch * self.row_parts() * self.n.div_ceil(self.columns()) }
    }

    /// Batch index, rows and columns of C that chunk `i` computes.
    fn chunk(&self, i: usize) -> (usize, Range<usize>, Range<usize>) {
        let columns = self.columns();
        let across = self.n.div_ceil(columns);
        let parts = self.row_parts();
        let rows = self.part_of_rows(&(0..self.m), i / across % parts, parts);
        let column = i % across * columns;
        (i / across / parts, rows, column..self.n.min(column + columns))
    }

    /// Whether each thread had better pack all of A than share it: no rows are one thread's alone, and memory that another
    /// core has written takes longer to get than packing does.
    pub fn own_left(&self) -> bool {
        self.m <= OWN_ROWS
    }

    /// Chunks in which one A is packed.
    pub fn pack_chunks(&self) -> usize {
        if self.m == 0 { 0 } else { (self.m / PACK_ROWS).max(1) }
    }

    /// Packs the rows of chunk `i` of `left` into `packed`.
    pub unsafe fn pack_left(&self, left: Left, i: usize, packed: *mut f32) {
        let rows = self.part_of_rows(&(0..self.m), i, self.pack_chunks());
        for (begin, depth) in self.depth_blocks() {
            unsafe {
                let out = packed.add(self.packed_before(begin));
                match self.arithmetic {
                    Arithmetic::F32 => left.pack(rows.clone(), begin, depth, out),
                    Arithmetic::Int16 => int16::pack_left(left, rows.clone(), begin, depth, out),
                }
            }
        }
    }

    /// Words of a thread's own scratch: the packed panels of a chunk, and those of COLUMNS in f32 before they are integers.
    pub fn panels(&self) -> usize {
        let depth = self.depth();
        let floats = if self.arithmetic == Arithmetic::Int16 { COLUMNS * depth } else { 0 };
        self.columns() * self.arithmetic.line(depth) + floats
    }

    /// Computes chunk `i`; `operands` gives packed A, B and C of a batch index.
    pub unsafe fn multiply<B: Right>(
        &self,
        i: usize,
        wide: bool,
        start: Start,
        panels: *mut f32,
        operands: impl FnOnce(usize) -> (*const f32, B, *mut f32),
    ) {
        let (batch, rows, columns) = self.chunk(i);
        let (packed, right, c) = operands(batch);
        let row_blocks = rows.len().div_ceil(ROW_BLOCK);
        let adds = match start {
            Start::Held => true,
            Start::Row(row) => {
                // Without depth no tile would write anything.
                if !row.is_null() || self.k == 0 {
                    unsafe { self.start(c, row, &rows, &columns) };
                }
                !row.is_null()
            }
        };
        for (begin, depth) in self.depth_blocks() {
            let words = self.arithmetic.words(depth);
            let a = unsafe { packed.add(self.packed_before(begin)) };
            let accumulate = begin > 0 || adds;
            for block in 0..row_blocks {
                let slivers = self.part_of_rows(&rows, block, row_blocks);
                for first in columns.clone().step_by(COLUMNS) {
                    let last = columns.end.min(first + COLUMNS);
                    unsafe {
                        let group = panels.add((first - columns.start) * self.arithmetic.line(depth));
                        if block == 0 {
                            self.pack_right(&right, first..last, begin, depth, wide, panels, group);
                        }
                        let mut column = first;
                        while column < last {
                            let width = panel_columns(wide, last - column);
                            let b = group.add((column - first) * words);
                            let valid = width.min(last - column);
                            match self.arithmetic {
                                Arithmetic::F32 => {
                                    self.panel(slivers.clone(), column, width, valid, words, accumulate, a, b, c)
                                }
                                Arithmetic::Int16 => {
                                    let scales = group.add(COLUMNS * words + column - first);
                                    let (m, n, c) = (self.m, self.n, c.add(column));
                                    let panel = int16::Panel { m, n, depth, width, valid, accumulate, a, b, scales, c };
                                    panel.multiply(slivers.clone());
                                }
                            }
                            column += width;
                        }
                    }
                }
            }
        }
    }

    /// Packs a group of columns; `panels` is the thread's scratch.
    #[allow(clippy::too_many_arguments)]
    unsafe fn pack_right<B: Right>(
        &self,
        right: &B,
        columns: Range<usize>,
        begin: usize,
        depth: usize,
        wide: bool,
        panels: *mut f32,
        group: *mut f32,
    ) {
        unsafe {
            match self.arithmetic {
                Arithmetic::F32 => right.pack(columns, begin, depth, wide, group),
                Arithmetic::Int16 => {
                    let floats = panels.add(self.columns() * self.arithmetic.line(self.depth()));
                    right.pack(columns.clone(), begin, depth, wide, floats);
                    int16::pack_right(floats, columns.len(), depth, wide, group);
                }
            }
        }
    }

    /// One panel of B times the slivers of `rows`.
    #[allow(clippy::too_many_arguments)]
    unsafe fn panel(
        &self,
        rows: Range<usize>,
        column: usize,
        width: usize,
        valid: usize,
        depth: usize,
        accumulate: bool,
        a: *const f32,
        b: *const f32,
        c: *mut f32,
    ) {
        let tiles = tiles(width);
        let mut row = rows.start;
        while row < rows.end {
            let height = tile_rows(self.m - row, ROWS);
            let tile = tiles[height - 1][accumulate as usize];
            unsafe {
                let (a, c) = (a.add(row * depth), c.add(row * self.n + column));
                if valid == width {
                    tile(depth, a, b, c, self.n * 4);
                } else {
                    // The tile would write beyond C's edge: it works on a copy.
                    let mut copy = [0f32; ROWS * WIDE];
                    let edge = copy.as_mut_ptr();
                    if accumulate {
                        (0..height).for_each(|i| c.add(i * self.n).copy_to(edge.add(i * width), valid));
                    }
                    tile(depth, a, b, edge, width * 4);
                    (0..height).for_each(|i| edge.add(i * width).copy_to(c.add(i * self.n), valid));
                }
            }
            row += height;
        }
    }

    /// Writes the row or zeros, which the product is then added to.
    unsafe fn start(&self, c: *mut f32, row: *const f32, rows: &Range<usize>, columns: &Range<usize>) {
        for i in rows.clone() {
            unsafe {
                let out = c.add(i * self.n + columns.start);
                match row.is_null() {
                    true => out.write_bytes(0, columns.len()),
                    false => out.copy_from_nonoverlapping(row.add(columns.start), columns.len()),
                }
            }
        }
    }
}

/// What a product is added to.
#[derive(Clone, Copy)]
pub enum Start {
    /// A row `[N]` in every row of C, or null for zeros.
    Row(*const f32),
    /// What C holds.
    Held,
}
