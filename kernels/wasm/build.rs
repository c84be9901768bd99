//! Writes the matrix product's micro-kernels as WebAssembly assembly (`OUT_DIR/tiles.s`); `src/gemm/tile.rs`, which
//! includes it, says what they compute and why they are not written in Rust.

use std::{env, fmt::Write, fs, path::PathBuf};

const LANES: usize = 4;
const LANE_BYTES: usize = 4;
/// Steps along the depth in one turn of the loop; `pack.rs` pads odd depths with zeros.
const UNROLL: usize = 2;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    let fused = features.split(',').any(|feature| feature == "relaxed-simd");
    let mut assembly = String::new();
    for columns in [8, 16] {
        for rows in 1..=6 {
            assembly += &tile(rows, columns, Kind::Set, fused);
            assembly += &tile(rows, columns, Kind::Add, fused);
        }
        for rows in 1..=5 {
            assembly += &tile(rows, columns, Kind::Int16, fused);
        }
    }
    let path = PathBuf::from(env::var("OUT_DIR").unwrap()).join("tiles.s");
    fs::write(path, assembly).unwrap();
}

/// What a tile does with its products: writes them, adds them to C, or writes sums of products of pairs of i16.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Set,
    Add,
    Int16,
}

/// The function `tile_{rows}x{columns}_{set|add|int16}(depth, a, b, c, stride)`.
fn tile(rows: usize, columns: usize, kind: Kind, fused: bool) -> String {
    // Locals: the five parameters, then a pointer, B's vectors of one step, one element of A in all lanes, the tile.
    let (depth, a, b, c, stride, pointer) = (0, 1, 2, 3, 4, 5);
    let vectors = columns / LANES;
    let b_vector = |vector| pointer + 1 + vector;
    let a_element = b_vector(vectors);
    let sum = |row: usize, vector: usize| a_element + 1 + row * vectors + vector;
    let (multiply, add) = match kind {
        Kind::Int16 => ("i32x4.dot_i16x8_s\n", "i32x4.add"),
        _ if fused => ("", "f32x4.relaxed_madd"),
        _ => ("f32x4.mul\n", "f32x4.add"),
    };
    let multiply_add = |sum: usize, b: usize| {
        format!("local.get {a_element}\nlocal.get {b}\n{multiply}local.get {sum}\n{add}\nlocal.set {sum}\n")
    };

    let suffix = match kind {
        Kind::Set => "set",
        Kind::Add => "add",
        Kind::Int16 => "int16",
    };
    let name = format!("tile_{rows}x{columns}_{suffix}");
    let locals = vec!["v128"; vectors + 1 + rows * vectors].join(", ");
    let mut code = format!(
        ".section .text.{name},\"\",@\n.globl {name}\n.type {name},@function\n{name}:\n\
         .functype {name} (i32, i32, i32, i32, i32) -> ()\n.local i32, {locals}\n"
    );
    // Calls `f` for every vector of the tile of C with local `at` pointing to its row; leaves `at` at the last row.
    let each_vector = |code: &mut String, at: usize, f: &dyn Fn(&mut String, usize, usize)| {
        for row in 0..rows {
            if row > 0 {
                write!(code, "local.get {at}\nlocal.get {stride}\ni32.add\nlocal.set {at}\n").unwrap();
            }
            (0..vectors).for_each(|vector| f(code, sum(row, vector), vector * LANES * LANE_BYTES));
        }
    };

    if kind == Kind::Add {
        write!(code, "local.get {c}\nlocal.set {pointer}\n").unwrap();
        each_vector(&mut code, pointer, &|code, sum, offset| {
            write!(code, "local.get {pointer}\nv128.load {offset}\nlocal.set {sum}\n").unwrap();
        });
    }
    // From here on `pointer` is the end of the panel of B.
    let row_bytes = columns * LANE_BYTES;
    write!(
        code,
        "local.get {depth}\ni32.const {row_bytes}\ni32.mul\nlocal.get {b}\ni32.add\nlocal.set {pointer}\nloop\n"
    )
    .unwrap();
    for step in 0..UNROLL {
        for vector in 0..vectors {
            let (offset, local) = ((step * columns + vector * LANES) * LANE_BYTES, b_vector(vector));
            write!(code, "local.get {b}\nv128.load {offset}\nlocal.set {local}\n").unwrap();
        }
        for row in 0..rows {
            let offset = (step * rows + row) * LANE_BYTES;
            write!(code, "local.get {a}\nv128.load32_splat {offset}\nlocal.set {a_element}\n").unwrap();
            (0..vectors).for_each(|vector| code += &multiply_add(sum(row, vector), b_vector(vector)));
        }
    }
    let (a_step, b_step) = (UNROLL * rows * LANE_BYTES, UNROLL * row_bytes);
    write!(
        code,
        "local.get {a}\ni32.const {a_step}\ni32.add\nlocal.set {a}\n\
         local.get {b}\ni32.const {b_step}\ni32.add\nlocal.tee {b}\n\
         local.get {pointer}\ni32.lt_u\nbr_if 0\nend_loop\n"
    )
    .unwrap();
    each_vector(&mut code, c, &|code, sum, offset| {
        write!(code, "local.get {c}\nlocal.get {sum}\nv128.store {offset}\n").unwrap();
    });
    code + "end_function\n"
}
