//! 128-bit vectors of four f32: memory, fused multiply-add, transcendental functions, reductions in a fixed order.
//!
//! The functions are accurate to the bound in their comment over the whole range, return denormal results and follow IEEE
//! for infinities and NaN. With relaxed SIMD the multiply-adds round once (where the CPU has FMA), else twice.

use core::arch::asm;
use core::arch::wasm32::*;

/// Elements in a vector.
pub const LANES: usize = 4;

#[inline(always)]
pub unsafe fn load(p: *const f32) -> v128 {
    unsafe { v128_load(p.cast()) }
}

#[inline(always)]
pub unsafe fn store(p: *mut f32, x: v128) {
    unsafe { v128_store(p.cast(), x) }
}

/// The first `count` < 4 elements, zeros behind them.
#[inline(always)]
pub unsafe fn load_part(p: *const f32, count: usize) -> v128 {
    let mut lanes = [0f32; LANES];
    unsafe {
        core::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), count);
        load(lanes.as_ptr())
    }
}

/// The first `lanes` ≤ 4 elements, zeros behind them.
#[inline(always)]
pub unsafe fn load_upto(p: *const f32, lanes: usize) -> v128 {
    match lanes {
        LANES => unsafe { load(p) },
        _ => unsafe { load_part(p, lanes) },
    }
}

/// The first `lanes` ≤ 4 elements, `filler` behind them.
#[inline(always)]
pub unsafe fn load_or(p: *const f32, lanes: usize, filler: f32) -> v128 {
    let inside = i32x4_lt(i32x4(0, 1, 2, 3), i32x4_splat(lanes as i32));
    select(inside, unsafe { load_upto(p, lanes) }, splat(filler))
}

/// Stores the first `count` < 4 elements.
#[inline(always)]
pub unsafe fn store_part(p: *mut f32, x: v128, count: usize) {
    let mut lanes = [0f32; LANES];
    unsafe {
        store(lanes.as_mut_ptr(), x);
        core::ptr::copy_nonoverlapping(lanes.as_ptr(), p, count);
    }
}

/// Stores the first `lanes` ≤ 4 elements.
#[inline(always)]
pub unsafe fn store_upto(p: *mut f32, x: v128, lanes: usize) {
    match lanes {
        LANES => unsafe { store(p, x) },
        _ => unsafe { store_part(p, x, lanes) },
    }
}

#[inline(always)]
pub fn splat(x: f32) -> v128 {
    f32x4_splat(x)
}

/// a·b + c.
#[inline(always)]
pub fn fma(a: v128, b: v128, c: v128) -> v128 {
    #[cfg(target_feature = "relaxed-simd")]
    return f32x4_relaxed_madd(a, b, c);
    #[cfg(not(target_feature = "relaxed-simd"))]
    return f32x4_add(f32x4_mul(a, b), c);
}

/// The pointer itself, of unknown origin to LLVM, which would else compute the address of every load from it anew. The
/// revectorizer takes loads and stores for neighbours only if they differ in their constant offsets.
#[inline(always)]
pub fn opaque(mut p: *const f32) -> *const f32 {
    unsafe { asm!("/* {0} */", inout(local) p, options(nomem, nostack, preserves_flags)) };
    p
}

/// A constant in all lanes, from memory, which takes one operation. Of a constant in the code V8 makes four or five
/// wherever it is used.
#[inline(always)]
pub fn constant(x: &'static f32) -> v128 {
    let mut p: *const f32 = x;
    // To LLVM, what it points to is unknown from here on.
    unsafe { asm!("/* {0} */", inout(local) p, options(pure, nomem, nostack, preserves_flags)) };
    unsafe { v128_load32_splat(p.cast()) }
}

/// Polynomial c₀ + c₁·x + …, by Horner's rule.
#[inline(always)]
fn polynomial<const N: usize>(x: v128, coefficients: &'static [f32; N]) -> v128 {
    let mut sum = constant(&coefficients[N - 1]);
    for i in (0..N - 1).rev() {
        sum = fma(sum, x, constant(&coefficients[i]));
    }
    sum
}

/// `a` where the mask's bits are set, else `b`.
#[inline(always)]
pub fn select(mask: v128, a: v128, b: v128) -> v128 {
    v128_bitselect(a, b, mask)
}

/// |magnitude| with the sign of `sign`.
#[inline(always)]
fn copy_sign(magnitude: v128, sign: v128) -> v128 {
    select(splat(-0.0), sign, magnitude)
}

/// ln 2 in two parts, of which a small integer times the first is exact.
const LN_2: (f32, f32) = (0.693_359_375, -2.121_944_4e-4);

/// Adding this rounds a small number to an integer, which the low bits of the sum then hold: 1.5·2²³.
pub const ROUNDER: f32 = 12_582_912.0;

/// eˣ, ≤ 1 ulp. x = n·ln 2 + r with |r| ≤ ln 2 / 2; e^r by a polynomial (coefficients: Cephes).
#[inline(always)]
pub fn exp(x: v128) -> v128 {
    // Beyond these bounds the result is 0 or infinity anyway, and n stays small.
    let bounded = f32x4_pmin(f32x4_pmax(x, constant(&-104.0)), constant(&89.0));
    let rounded = fma(bounded, constant(&core::f32::consts::LOG2_E), constant(&ROUNDER));
    let n = f32x4_sub(rounded, constant(&ROUNDER));
    let r = fma(n, constant(&-LN_2.1), fma(n, constant(&-LN_2.0), bounded));
    let p = polynomial(r, &[0.5, 1.666_666_5e-1, 4.166_579_6e-2, 8.333_452e-3, 1.398_199_9e-3, 1.987_569_1e-4]);
    let p = f32x4_add(fma(f32x4_mul(r, r), p, r), constant(&1.0));
    // 2^n in two factors, since it may be out of range where the result is not (n = 128, or a denormal result).
    let n = i32x4_sub(rounded, constant(&ROUNDER));
    let half = i32x4_shr(n, 1);
    let power = |n| i32x4_add(i32x4_shl(n, 23), constant(&1.0));
    let y = f32x4_mul(f32x4_mul(p, power(half)), power(i32x4_sub(n, half)));
    // With relaxed SIMD, LLVM makes relaxed_min and relaxed_max of pmin and pmax, which may drop a NaN.
    select(f32x4_ne(x, x), x, y)
}

/// Natural logarithm, ≤ 1 ulp. x = 2^n·(1 + f) with √½ ≤ 1 + f < √2; ln(1 + f) by a polynomial (coefficients: Cephes).
#[inline(always)]
pub fn log(x: v128) -> v128 {
    let tiny = f32x4_lt(x, splat(f32::MIN_POSITIVE));
    let scaled = select(tiny, f32x4_mul(x, splat(8_388_608.0)), x);
    let n = i32x4_shr(i32x4_sub(scaled, splat(core::f32::consts::FRAC_1_SQRT_2)), 23);
    let f = f32x4_sub(i32x4_sub(scaled, i32x4_shl(n, 23)), splat(1.0));
    let n = f32x4_convert_i32x4(i32x4_sub(n, v128_and(tiny, i32x4_splat(23))));
    let p = polynomial(
        f,
        &[
            3.333_333_1e-1,
            -2.499_999_4e-1,
            2.000_071_5e-1,
            -1.666_805_8e-1,
            1.424_932_3e-1,
            -1.242_014_1e-1,
            1.167_699_9e-1,
            -1.151_461_03e-1,
            7.037_683_6e-2,
        ],
    );
    let square = f32x4_mul(f, f);
    let small = fma(square, splat(-0.5), fma(n, splat(LN_2.1), f32x4_mul(f32x4_mul(f, square), p)));
    let ordinary = fma(n, splat(LN_2.0), f32x4_add(f, small));
    let special = select(f32x4_eq(x, splat(0.0)), splat(f32::NEG_INFINITY), splat(f32::NAN));
    let infinite = f32x4_eq(x, splat(f32::INFINITY));
    select(infinite, x, select(f32x4_gt(x, splat(0.0)), ordinary, special))
}

/// 1/(1 + e⁻ˣ), ≤ 2.5 ulp.
#[inline(always)]
pub fn sigmoid(x: v128) -> v128 {
    // e^-|x| cannot overflow, and e^x/(1 + e^x) keeps the small values that 1 − … would cancel.
    let e = exp(copy_sign(x, constant(&-1.0)));
    f32x4_div(select(f32x4_lt(x, constant(&0.0)), e, constant(&1.0)), f32x4_add(constant(&1.0), e))
}

/// Hyperbolic tangent, ≤ 2 ulp (coefficients: Cephes).
#[inline(always)]
pub fn tanh(x: v128) -> v128 {
    let t = f32x4_abs(x);
    let square = f32x4_mul(t, t);
    let p = polynomial(square, &[-3.333_328_3e-1, 1.333_144_2e-1, -5.373_971_6e-2, 2.063_908_9e-2, -5.704_988_7e-3]);
    let near = fma(f32x4_mul(t, square), p, t);
    let far = f32x4_sub(splat(1.0), f32x4_div(splat(2.0), f32x4_add(exp(f32x4_add(t, t)), splat(1.0))));
    copy_sign(select(f32x4_lt(t, splat(0.625)), near, far), x)
}

/// Φ(x) = ½·erfc(−x/√2), ≤ 6 ulp for x ≥ −1; below, rounding the exponent adds up to a relative error of 4e-6 at x = −10.
/// erfc(z) = t·e^(−z² + P(t)), z = |x|/√2, t = 1/(1 + z/2) (Numerical Recipes, 2nd edition, "erfcc").
#[inline(always)]
pub fn normal_cdf(x: v128) -> v128 {
    let z = f32x4_mul(f32x4_abs(x), splat(core::f32::consts::FRAC_1_SQRT_2));
    let t = f32x4_div(splat(1.0), fma(z, splat(0.5), splat(1.0)));
    let p = polynomial(
        t,
        &[
            -1.265_512_2,
            1.000_023_7,
            0.374_091_96,
            0.096_784_18,
            -0.186_288_06,
            0.278_868_07,
            -1.135_204,
            1.488_515_9,
            -0.822_152_2,
            0.170_872_77,
        ],
    );
    let tail = f32x4_mul(f32x4_mul(t, splat(0.5)), exp(fma(f32x4_mul(x, splat(-0.5)), x, p)));
    select(f32x4_lt(x, splat(0.0)), tail, f32x4_sub(splat(1.0), tail))
}

/// a^b lane by lane through the standard library, which is correct where e^(b·ln a) in single precision is not.
#[inline(always)]
pub fn pow(a: v128, b: v128) -> v128 {
    f32x4(
        f32x4_extract_lane::<0>(a).powf(f32x4_extract_lane::<0>(b)),
        f32x4_extract_lane::<1>(a).powf(f32x4_extract_lane::<1>(b)),
        f32x4_extract_lane::<2>(a).powf(f32x4_extract_lane::<2>(b)),
        f32x4_extract_lane::<3>(a).powf(f32x4_extract_lane::<3>(b)),
    )
}

/// Sum of the lanes, (0 + 2) + (1 + 3).
#[inline(always)]
pub fn horizontal_sum(x: v128) -> f32 {
    let pairs = f32x4_add(x, i32x4_shuffle::<2, 3, 0, 1>(x, x));
    f32x4_extract_lane::<0>(pairs) + f32x4_extract_lane::<1>(pairs)
}

/// Largest lane; NaN if any lane is.
#[inline(always)]
pub fn horizontal_max(x: v128) -> f32 {
    let pairs = f32x4_max(x, i32x4_shuffle::<2, 3, 0, 1>(x, x));
    f32x4_extract_lane::<0>(f32x4_max(pairs, i32x4_shuffle::<1, 0, 3, 2>(pairs, pairs)))
}

/// Joins the vectors of a row in an order that depends on its length only: vectors 4i + j go to accumulator j, and the
/// accumulators are joined last. `vector(i, lanes)` gives the elements from i on; it fills those behind `lanes` itself.
#[inline(always)]
fn fold(count: usize, start: v128, vector: impl Fn(usize, usize) -> v128, join: impl Fn(v128, v128) -> v128) -> v128 {
    let mut accumulators = [start; 4];
    let mut i = 0;
    while i + 4 * LANES <= count {
        for (j, accumulator) in accumulators.iter_mut().enumerate() {
            *accumulator = join(*accumulator, vector(i + j * LANES, LANES));
        }
        i += 4 * LANES;
    }
    let mut j = 0;
    while i < count {
        accumulators[j] = join(accumulators[j], vector(i, LANES.min(count - i)));
        i += LANES;
        j += 1;
    }
    let [a, b, c, d] = accumulators;
    join(join(a, b), join(c, d))
}

/// Σ of `terms(i, lanes)` over a row of `count` elements, in a fixed order; terms behind `lanes` must be 0 (`load_upto`).
#[inline(always)]
pub fn sum(count: usize, terms: impl Fn(usize, usize) -> v128) -> f32 {
    horizontal_sum(fold(count, splat(0.0), terms, |a, b| f32x4_add(a, b)))
}

/// Largest element of a row; NaN if any is, −∞ if there is none.
#[inline(always)]
pub unsafe fn max(x: *const f32, count: usize) -> f32 {
    let vector = |i: usize, lanes: usize| unsafe { load_or(x.add(i), lanes, f32::NEG_INFINITY) };
    horizontal_max(fold(count, splat(f32::NEG_INFINITY), vector, |a, b| f32x4_max(a, b)))
}

/// outputs[k][i] = f(inputs[i · step])[k] for i < count; a step is 1, or 0 at four copies of one element. An output may be
/// an input.
#[inline(always)]
pub unsafe fn map_steps<const N: usize, const M: usize>(
    outputs: [*mut f32; M],
    inputs: [(*const f32, usize); N],
    count: usize,
    f: impl Fn([v128; N]) -> [v128; M],
) {
    // Four vectors a turn: V8 loads every constant of `f` anew in each.
    const UNROLL: usize = 4;
    let (unrolled, whole) = (count - count % (UNROLL * LANES), count - count % LANES);
    unsafe {
        let vector = |i: usize| f(inputs.map(|(x, step)| load(x.add(i * step))));
        let put = |i: usize, y: [v128; M]| (0..M).for_each(|k| store(outputs[k].add(i), y[k]));
        for i in (0..unrolled).step_by(UNROLL * LANES) {
            let inputs = inputs.map(|(x, step)| (opaque(x.add(i * step)), step));
            let outputs = outputs.map(|y| opaque(y.add(i)).cast_mut());
            let results: [[v128; M]; UNROLL] =
                core::array::from_fn(|j| f(inputs.map(|(x, step)| load(x.add(j * LANES * step)))));
            (0..UNROLL).for_each(|j| (0..M).for_each(|k| store(outputs[k].add(j * LANES), results[j][k])));
        }
        for i in (unrolled..whole).step_by(LANES) {
            put(i, vector(i));
        }
        let rest = count - whole;
        if rest > 0 {
            let y = f(inputs.map(|(x, step)| load_part(x.add(whole * step), rest)));
            (0..M).for_each(|k| store_part(outputs[k].add(whole), y[k], rest));
        }
    }
}

/// outputs[k][i] = f(inputs[i])[k] for i < count.
#[inline(always)]
pub unsafe fn map<const N: usize, const M: usize>(
    outputs: [*mut f32; M],
    inputs: [*const f32; N],
    count: usize,
    f: impl Fn([v128; N]) -> [v128; M],
) {
    unsafe { map_steps(outputs, inputs.map(|x| (x, 1)), count, f) }
}
