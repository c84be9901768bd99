//! 128-bit vectors of four f32: memory, fused multiply-add, transcendental functions, reductions in a fixed order.
//!
//! The functions are accurate to the bound in their comment over the whole range, return denormal results and follow IEEE
//! for infinities and NaN. With relaxed SIMD the multiply-adds round once (where the CPU has FMA), else twice.

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

/// Stores the first `count` < 4 elements.
#[inline(always)]
pub unsafe fn store_part(p: *mut f32, x: v128, count: usize) {
    let mut lanes = [0f32; LANES];
    unsafe {
        store(lanes.as_mut_ptr(), x);
        core::ptr::copy_nonoverlapping(lanes.as_ptr(), p, count);
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

/// Polynomial c₀ + c₁·x + …, by Horner's rule.
#[inline(always)]
fn polynomial<const N: usize>(x: v128, coefficients: [f32; N]) -> v128 {
    let mut sum = splat(coefficients[N - 1]);
    for i in (0..N - 1).rev() {
        sum = fma(sum, x, splat(coefficients[i]));
    }
    sum
}

/// 2^n for integers -126 ≤ n ≤ 127.
#[inline(always)]
fn power_of_two(n: v128) -> v128 {
    i32x4_shl(i32x4_add(n, i32x4_splat(127)), 23)
}

/// eˣ, ≤ 1.5 ulp: x = n·ln 2 + r with |r| ≤ ln 2 / 2, e^r by a polynomial.
#[inline(always)]
pub fn exp(x: v128) -> v128 {
    // Beyond these bounds the result is 0 or infinity anyway, and n stays small; min and max keep NaN.
    let x = f32x4_min(f32x4_max(x, splat(-104.0)), splat(89.0));
    let n = f32x4_nearest(f32x4_mul(x, splat(core::f32::consts::LOG2_E)));
    // ln 2 in two parts: n times the first is exact.
    let r = fma(n, splat(-0.693_359_4), x);
    let r = fma(n, splat(2.121_944_4e-4), r);
    let p = polynomial(r, [1.0, 1.0, 0.5, 0.166_666_57, 0.041_665_8, 0.008_336_72, 0.001_393_5]);
    // In two steps, since 2^n itself may be out of range while the result is not.
    let n = i32x4_trunc_sat_f32x4(n);
    let half = i32x4_shr(n, 1);
    f32x4_mul(f32x4_mul(p, power_of_two(half)), power_of_two(i32x4_sub(n, half)))
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
