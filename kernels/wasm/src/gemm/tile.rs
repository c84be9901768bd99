//! The micro-kernels: a tile of C that stays in registers while one sliver of A and one panel of B stream past.
//!
//! ```text
//!                    ┌─ panel of B: 8 or 16 columns ─┐
//!                    │ b[d][0] …           b[d][15]  │  depth steps d, one row of the panel each
//!                    └───────────────────────────────┘
//!   sliver of A      ┌───────────────────────────────┐
//!   1 to 6 rows      │ c[i][j] += a[d][i] · b[d][j]  │  tile of C: the only thing written, after the last step
//!   a[d][0…5]        └───────────────────────────────┘
//! ```
//!
//! A step loads the panel's row (2 or 4 vectors) and for each row of the tile one element of A in all lanes: 6×8 does 12
//! multiply-adds for 8 loads and needs 12 + 2 + 1 of x64's 16 vector registers. At least 8 multiply-adds must be in
//! flight (latency 4 cycles, two a cycle), which is why a low tile wastes time.
//!
//! 6×16 is the same tile for V8's revectorizer, which pairs neighbouring 128-bit operations into 256-bit ones (again 12
//! + 2 + 1 registers, 12 multiply-adds in flight, twice the work). It fails to pair when set and add share a function
//! with a branch at the store; without it 6×16 spills and is slower than 6×8.
//!
//! They are assembly because order is everything here: V8 keeps the order and the folded offsets it is given, while of the
//! same tiles through intrinsics LLVM moves the loads up, and V8 spills. `build.rs` writes them. What they reach of the
//! machine's best `npm run bench -- matmul linear` measures; bench/RESULTS.md has whole products.
//!
//! 5×8 and 5×16 with 16-bit integers are the same again: an element is a pair of neighbours along the depth, a
//! multiply-add two instructions (a product of pairs, which adds the two products, and an addition), so that one register
//! more is taken between them, and a step is worth two. They write exact sums in i32; `int16.rs` says what they are for,
//! and scales the sums.
//!
//! In f32 every element of C is a chain c ← a·b + c in ascending order of the depth, in every tile. So the choice of tile
//! changes no bit of the result, in f32 as in 16 bits.

core::arch::global_asm!(include_str!(concat!(env!("OUT_DIR"), "/tiles.s")), options(raw));

/// Rows of the highest tile.
pub const ROWS: usize = 6;
pub const NARROW: usize = 8;
pub const WIDE: usize = 16;

/// Rows of the highest tile of 16-bit integers.
pub const INT16_ROWS: usize = 5;

/// `tile(depth, a, b, c, stride)`: `depth` is even and above 0, `a` holds `[depth][rows]`, `b` `[depth][columns]`; the
/// rows of C are `stride` bytes apart. In 16 bits an element is a pair of i16 and C holds i32.
pub type Tile = unsafe extern "C" fn(depth: usize, a: *const f32, b: *const f32, c: *mut f32, stride: usize);

/// Of one width: by rows - 1, then whether the product is added to C or takes its place.
pub type Tiles = [[Tile; 2]; ROWS];

macro_rules! tiles {
    ($table:ident: $($set:ident $add:ident),*) => {
        unsafe extern "C" {
            $(
                fn $set(depth: usize, a: *const f32, b: *const f32, c: *mut f32, stride: usize);
                fn $add(depth: usize, a: *const f32, b: *const f32, c: *mut f32, stride: usize);
            )*
        }
        static $table: Tiles = [$([$set, $add]),*];
    };
}

tiles!(NARROW_TILES:
    tile_1x8_set tile_1x8_add, tile_2x8_set tile_2x8_add, tile_3x8_set tile_3x8_add,
    tile_4x8_set tile_4x8_add, tile_5x8_set tile_5x8_add, tile_6x8_set tile_6x8_add);
tiles!(WIDE_TILES:
    tile_1x16_set tile_1x16_add, tile_2x16_set tile_2x16_add, tile_3x16_set tile_3x16_add,
    tile_4x16_set tile_4x16_add, tile_5x16_set tile_5x16_add, tile_6x16_set tile_6x16_add);

macro_rules! int16_tiles {
    ($table:ident: $($tile:ident),*) => {
        unsafe extern "C" {
            $(fn $tile(depth: usize, a: *const f32, b: *const f32, c: *mut f32, stride: usize);)*
        }
        static $table: [Tile; INT16_ROWS] = [$($tile),*];
    };
}

int16_tiles!(NARROW_INT16_TILES:
    tile_1x8_int16, tile_2x8_int16, tile_3x8_int16, tile_4x8_int16, tile_5x8_int16);
int16_tiles!(WIDE_INT16_TILES:
    tile_1x16_int16, tile_2x16_int16, tile_3x16_int16, tile_4x16_int16, tile_5x16_int16);

/// The tiles of 16-bit integers for panels of `columns` columns, by rows - 1.
pub fn int16_tiles(columns: usize) -> &'static [Tile; INT16_ROWS] {
    if columns == WIDE { &WIDE_INT16_TILES } else { &NARROW_INT16_TILES }
}

/// The tiles for panels of `columns` columns.
pub fn tiles(columns: usize) -> &'static Tiles {
    if columns == WIDE { &WIDE_TILES } else { &NARROW_TILES }
}

/// Columns of the panel that starts where `left` columns remain. A wide panel that would be half empty is a narrow one.
pub fn panel_columns(wide: bool, left: usize) -> usize {
    if wide && left > NARROW { WIDE } else { NARROW }
}

/// Rows of the tile that starts where `left` rows remain: `highest`, and the last ones, if fewer than two such tiles, in
/// halves.
pub fn tile_rows(left: usize, highest: usize) -> usize {
    if left <= highest {
        left
    } else if left < 2 * highest {
        left.div_ceil(2)
    } else {
        highest
    }
}
