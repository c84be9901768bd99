//! Attention over segments and its gradients, without a queries × keys matrix in memory (FlashAttention-2, Dao 2023).
//!
//! Everything is done in strips of 8 or 16 *columns* (queries; keys in the gradient of keys and values) past which *lines*
//! stream (keys; queries there), in blocks that stay in L1. The scores of a block are stored line by line,
//!
//! ```text
//!   S[line][column] = lines packed along D (6 at a time) · panel of columns            micro-kernel, depth D
//!   …softmax and its gradient, vectors along the columns, so that nothing is summed across lanes…
//!   out[D][column] += lines packed across D (6 of D at a time) · S                     micro-kernel, depth = lines
//! ```
//!
//! which is the order in which the second product reads them: probabilities are never repacked. `strip` holds these
//! pieces; `forward`, `grad_query` and `grad_key_value` are the passes; `direct` takes the place of the first for a few
//! queries.
//!
//! Phases: pack every head of the lines' matrices; in the backward passes the row sums of g ⊙ o; then head × tile in any
//! order. Blocks are cut from the plan's spans alone and a column never looks at another, so neither threads nor the
//! width of a strip show in the result.

mod backward;
mod direct;
mod forward;
mod grad_key_value;
mod grad_query;
mod operand;
mod strip;

use backward::{delta_chunks, run_deltas};
use forward::Forward;
use grad_key_value::{GradKeyValue, clear_unused};
use grad_query::GradQuery;
use operand::{Heads, Operand};

use crate::gemm::tile::ROWS;
use crate::table::{Job, Kernel, Phase};

/// Rows of a tile of the plan, at most.
const TILE: usize = 32;
/// Lines in a block: the scores of 16 columns take 12 KB.
const BLOCK: usize = 32 * ROWS;
/// Lines that are packed in a chunk.
const PACK_LINES: usize = 64 * ROWS;
/// Elements of a cache line: what threads write apart begins in lines of its own.
const CACHE_LINE: usize = 16;

/// Sizes of a launch; q is `[queries, heads, d]`, k and v `[key_rows, kv_heads, d]` of which `keys` rows are in use.
/// ints: queries, heads, d, key_rows, kv_heads, keys, tiles.
#[derive(Clone, Copy)]
struct Shape {
    queries: usize,
    heads: usize,
    d: usize,
    key_rows: usize,
    kv_heads: usize,
    keys: usize,
    tiles: usize,
}

impl Shape {
    fn of(job: &Job) -> Shape {
        let [queries, heads, d, key_rows, kv_heads, keys, tiles] = core::array::from_fn(|i| job.size(i));
        Shape { queries, heads, d, key_rows, kv_heads, keys, tiles }
    }

    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// The depth of products over D: the micro-kernels take even ones.
    fn depth(&self) -> usize {
        self.d.next_multiple_of(2)
    }

    /// D in whole tiles.
    fn tiled(&self) -> usize {
        self.d.next_multiple_of(ROWS)
    }
}

/// One of the three passes. Its operands have the same rows and heads.
trait Pass {
    const OPERANDS: usize;
    fn operand(job: &Job, i: usize) -> Operand;
    /// Elements of scratch memory behind the operands, shared by all threads.
    fn shared(_: &Job) -> usize {
        0
    }
    /// Heads that a tile is worked on for, each a chunk.
    fn tile_heads(shape: &Shape) -> usize;
    /// Works on columns of `V` vectors.
    unsafe fn tile<const V: usize>(job: &Job, tile: usize, head: usize, space: strip::Space);
    /// Whether nothing is packed and the launch takes another way.
    fn direct(_: &Shape) -> bool {
        false
    }
    unsafe fn tile_direct(_: &Job, _tile: usize, _head: usize, _space: strip::Space) {}
}

/// Where head `head` of operand `i` is packed; with head 0 of operand OPERANDS, what is behind them.
fn packed<P: Pass>(job: &Job, i: usize, head: usize) -> *mut f32 {
    let before: usize = (0..i).map(|j| P::operand(job, j)).map(|o| o.size() * o.x.heads).sum();
    let within = if i < P::OPERANDS { P::operand(job, i).size() * head } else { 0 };
    job.scratch.cast::<f32>().wrapping_add(before + within)
}

/// Elements behind the operands that `shared` asked for.
fn shared<P: Pass>(job: &Job) -> *mut f32 {
    packed::<P>(job, P::OPERANDS, 0)
}

fn scratch<P: Pass>(job: &Job, threads: usize) -> usize {
    let shape = Shape::of(job);
    let operands: usize = match P::direct(&shape) {
        true => 0,
        false => (0..P::OPERANDS).map(|i| P::operand(job, i)).map(|o| o.size() * o.x.heads).sum(),
    };
    4 * (operands + P::shared(job) + threads * strip::Space::size(&shape))
}

fn pack_chunks<P: Pass>(job: &Job) -> usize {
    let shape = Shape::of(job);
    if P::direct(&shape) || shape.tiles == 0 {
        return 0;
    }
    let Heads { rows, heads, .. } = P::operand(job, 0).x;
    P::OPERANDS * heads * rows.div_ceil(PACK_LINES)
}

unsafe fn pack<P: Pass>(job: &Job, chunk: usize, _thread: usize) {
    let Heads { rows, heads, .. } = P::operand(job, 0).x;
    let parts = rows.div_ceil(PACK_LINES);
    let (part, head, i) = (chunk % parts, chunk / parts % heads, chunk / parts / heads);
    let lines = part * PACK_LINES..rows.min((part + 1) * PACK_LINES);
    unsafe { P::operand(job, i).pack(head, lines, packed::<P>(job, i, head)) };
}

fn tile_chunks<P: Pass>(job: &Job) -> usize {
    let shape = Shape::of(job);
    shape.tiles * P::tile_heads(&shape)
}

unsafe fn run_tile<P: Pass>(job: &Job, chunk: usize, thread: usize) {
    let shape = Shape::of(job);
    // Tiles of one head in a row: they read much the same lines, which the cache still holds.
    let (tile, head) = (chunk % shape.tiles, chunk / shape.tiles);
    let base = if P::direct(&shape) { job.scratch.cast() } else { shared::<P>(job).wrapping_add(P::shared(job)) };
    let space = strip::Space::new(&shape, base.wrapping_add(thread * strip::Space::size(&shape)));
    unsafe {
        match (P::direct(&shape), job.wide != 0) {
            (true, _) => P::tile_direct(job, tile, head, space),
            (false, true) => P::tile::<4>(job, tile, head, space),
            (false, false) => P::tile::<2>(job, tile, head, space),
        }
    }
}

pub const KERNELS: &[Kernel] = &[
    Kernel {
        name: "attention_f32",
        phases: &[
            Phase { chunks: pack_chunks::<Forward>, run: pack::<Forward> },
            Phase { chunks: tile_chunks::<Forward>, run: run_tile::<Forward> },
        ],
        scratch: scratch::<Forward>,
    },
    Kernel {
        name: "attentionGradQuery_f32",
        phases: &[
            Phase { chunks: pack_chunks::<GradQuery>, run: pack::<GradQuery> },
            Phase { chunks: delta_chunks, run: run_deltas::<GradQuery> },
            Phase { chunks: tile_chunks::<GradQuery>, run: run_tile::<GradQuery> },
        ],
        scratch: scratch::<GradQuery>,
    },
    Kernel {
        name: "attentionGradKeyValue_f32",
        phases: &[
            Phase { chunks: pack_chunks::<GradKeyValue>, run: pack::<GradKeyValue> },
            Phase { chunks: delta_chunks, run: run_deltas::<GradKeyValue> },
            Phase { chunks: |_| 1, run: clear_unused },
            Phase { chunks: tile_chunks::<GradKeyValue>, run: run_tile::<GradKeyValue> },
        ],
        scratch: scratch::<GradKeyValue>,
    },
];
