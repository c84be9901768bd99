//! Stored weights and how their elements become f32: the only code that knows a weight's format.

mod blocks;

use core::arch::wasm32::*;

pub use blocks::{Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0};

/// Eight consecutive elements.
pub type Eight = [v128; 2];
/// The 32 elements that a GEMV takes at a time, in an order of the type's own (`arrange`).
pub type Strip = [Eight; 4];

/// A storage type of matrix rows `[K]`: whole blocks, one after the other.
pub trait Weight {
    /// Elements and bytes of a block; K is a multiple of the former.
    const BLOCK: usize;
    const BLOCK_BYTES: usize;
    /// Elements that share one `Scale`: 32, the part of a block that is decoded at a time, or 8 for plain floats.
    const GROUP: usize;
    /// What is read once a group.
    type Scale: Copy;

    unsafe fn scale(row: *const u8, group: usize) -> Self::Scale;

    /// Elements `group`·GROUP + E … + 7 of the row; E is 0, 8, 16 or 24 and less than GROUP.
    unsafe fn eight<const E: usize>(row: *const u8, group: usize, scale: Self::Scale) -> Eight;

    /// Scales of a strip: none (plain floats), one, or one for each half.
    const SCALES: usize = 0;

    /// (d, m) of half `half` of a strip in four rows, a lane for each: an element is d·q + m.
    unsafe fn scales(_rows: [*const u8; 4], _strip: usize, _half: usize) -> (v128, v128) {
        unreachable!("plain floats have no scales")
    }

    /// Elements of x in the order in which `strip` gives a row's.
    fn arrange(x: [v128; 8]) -> [v128; 8];

    /// A strip's q, or elements where there are no scales. With two scales, vector i of each `Eight` has the i-th.
    unsafe fn strip(row: *const u8, strip: usize) -> Strip;

    /// Bytes of a row of `k` elements.
    fn row_bytes(k: usize) -> usize {
        k / Self::BLOCK * Self::BLOCK_BYTES
    }
}

/// Decodes one group of R rows, eight elements of each at a time: `f(element in the group, [row])`.
#[inline(always)]
pub unsafe fn decode_group<W: Weight, const R: usize>(
    rows: [*const u8; R],
    group: usize,
    mut f: impl FnMut(usize, [Eight; R]),
) {
    unsafe {
        let scales = rows.map(|row| W::scale(row, group));
        f(0, core::array::from_fn(|i| W::eight::<0>(rows[i], group, scales[i])));
        if W::GROUP == 32 {
            f(8, core::array::from_fn(|i| W::eight::<8>(rows[i], group, scales[i])));
            f(16, core::array::from_fn(|i| W::eight::<16>(rows[i], group, scales[i])));
            f(24, core::array::from_fn(|i| W::eight::<24>(rows[i], group, scales[i])));
        }
    }
}

/// Elements `begin` … `begin + count` (fewer than eight) of a row of plain floats, zeros behind them.
pub unsafe fn partial_eight<W: Weight>(row: *const u8, begin: usize, count: usize) -> Eight {
    debug_assert!(W::BLOCK == 1 && count < 8);
    let mut bytes = [0u8; 32];
    unsafe {
        let source = row.add(begin * W::BLOCK_BYTES);
        core::ptr::copy_nonoverlapping(source, bytes.as_mut_ptr(), count * W::BLOCK_BYTES);
        W::eight::<0>(bytes.as_ptr(), 0, W::scale(bytes.as_ptr(), 0))
    }
}

/// A type of plain floats, by how to load eight of them, and sixteen of them in the order that costs least.
macro_rules! float {
    ($name:ident, $bytes:literal, |$p:ident| $eight:expr, $arrange:expr, |$q:ident| $sixteen:expr) => {
        pub struct $name;
        impl Weight for $name {
            const BLOCK: usize = 1;
            const BLOCK_BYTES: usize = $bytes;
            const GROUP: usize = 8;
            type Scale = ();

            #[inline(always)]
            unsafe fn scale(_: *const u8, _: usize) {}

            #[inline(always)]
            unsafe fn eight<const E: usize>(row: *const u8, group: usize, _: ()) -> Eight {
                unsafe {
                    let $p = row.add(group * 8 * $bytes);
                    $eight
                }
            }

            #[inline(always)]
            fn arrange([a, b, c, d, e, f, g, h]: [v128; 8]) -> [v128; 8] {
                let arrange: fn([v128; 4]) -> [v128; 4] = $arrange;
                let ([a, b, c, d], [e, f, g, h]) = (arrange([a, b, c, d]), arrange([e, f, g, h]));
                [a, b, c, d, e, f, g, h]
            }

            #[inline(always)]
            unsafe fn strip(row: *const u8, strip: usize) -> Strip {
                let [[a, b], [c, d]] = [0, 16].map(|i| unsafe {
                    let $q = row.add((strip * 32 + i) * $bytes);
                    $sixteen
                });
                [a, b, c, d]
            }
        }
    };
}

float!(F32, 4, |p| [v128_load(p.cast()), v128_load(p.add(16).cast())], |x| x, |p| [0, 32]
    .map(|i| [v128_load(p.add(i).cast()), v128_load(p.add(i + 16).cast())]));
float!(BF16, 2, |p| high_halves(v128_load(p.cast())), even_then_odd, |p| even_and_odd(p));
float!(F16, 2, |p| high_halves(v128_load(p.cast())).map(|x| f16_to_f32(x)), even_then_odd, |p| even_and_odd(p)
    .map(|x| x.map(|x| f16_to_f32(x))));

/// Sixteen elements: those with even indices, then those with odd ones.
fn even_then_odd([a, b, c, d]: [v128; 4]) -> [v128; 4] {
    [
        i32x4_shuffle::<0, 2, 4, 6>(a, b),
        i32x4_shuffle::<0, 2, 4, 6>(c, d),
        i32x4_shuffle::<1, 3, 5, 7>(a, b),
        i32x4_shuffle::<1, 3, 5, 7>(c, d),
    ]
}

/// Sixteen 16-bit values in that order, each in the high half of 32 bits.
#[inline(always)]
unsafe fn even_and_odd(p: *const u8) -> [Eight; 2] {
    let pairs = [0, 16].map(|i| unsafe { v128_load(p.add(i).cast()) });
    [pairs.map(|x| i32x4_shl(x, 16)), pairs.map(|x| v128_and(x, u32x4_splat(0xffff_0000)))]
}

/// Eight 16-bit values, each in the high half of 32 bits.
#[inline(always)]
fn high_halves(x: v128) -> Eight {
    // The lanes of x64's unpack instructions: with others the shuffle is three times slower.
    let zero = i16x8_splat(0);
    [i16x8_shuffle::<8, 0, 9, 1, 10, 2, 11, 3>(x, zero), i16x8_shuffle::<12, 4, 13, 5, 14, 6, 15, 7>(x, zero)]
}

/// Exact, from f16 in the high halves of the lanes: exponent and mantissa move to f32's places, and a multiplication by
/// 2^(127 - 15) corrects the exponent's bias, denormals included.
#[inline(always)]
fn f16_to_f32(x: v128) -> v128 {
    let moved = v128_and(i32x4_shr(x, 3), u32x4_splat(0x8fff_e000));
    let value = f32x4_mul(moved, u32x4_splat(0x7780_0000));
    // f16's largest exponent means infinity or NaN; f32's takes its place.
    let special = f32x4_ge(f32x4_abs(value), f32x4_splat(65536.0));
    v128_or(value, v128_and(special, u32x4_splat(0x7f80_0000)))
}

/// The f16 at `p` in all lanes.
#[inline(always)]
unsafe fn splat_f16(p: *const u8) -> v128 {
    unsafe { f16_to_f32(i32x4_shl(v128_load16_splat(p.cast()), 16)) }
}

/// The two f16 at `p`, each in all lanes.
#[inline(always)]
unsafe fn splat_two_f16(p: *const u8) -> (v128, v128) {
    unsafe {
        let both = v128_load32_splat(p.cast());
        let x = f16_to_f32(i16x8_shuffle::<0, 0, 0, 0, 1, 1, 1, 1>(both, both));
        (i32x4_shuffle::<0, 0, 0, 0>(x, x), i32x4_shuffle::<2, 2, 2, 2>(x, x))
    }
}
