//! llama.cpp's block formats. A block is little-endian and packed: d and m are f16, q unsigned quants.
//!
//! | type | elements | bytes | layout (in order) | element |
//! |---|---|---|---|---|
//! | Q8_0 | 32 | 34 | d, i8 × 32 | d·q |
//! | Q4_0 | 32 | 18 | d, nibbles | d·(q - 8) |
//! | Q4_1 | 32 | 20 | d, m, nibbles | d·q + m |
//! | Q5_0 | 32 | 22 | d, fifth bits u32, nibbles | d·(q - 16) |
//! | Q5_1 | 32 | 24 | d, m, fifth bits u32, nibbles | d·q + m |
//! | Q4_K | 256 | 144 | d, dmin, 6-bit scales × 12 B, nibbles | (d·s)·q - dmin·m |
//! | Q5_K | 256 | 176 | d, dmin, 6-bit scales × 12 B, fifth bits × 32 B, nibbles | (d·s)·q - dmin·m |
//! | Q6_K | 256 | 210 | nibbles × 128 B, high pairs × 64 B, scales i8 × 16, d | (d·s)·(q - 32) |
//!
//! Nibbles of 32 elements: the low halves of 16 bytes are elements 0-15, the high halves 16-31. The K types store groups
//! of 32: two neighbouring groups share 32 bytes, the low halves are the first group's.

use core::arch::wasm32::*;

use super::{Eight, Weight, splat_f16, splat_two_f16};
use crate::simd::fma;

/// Eight i16 as f32.
#[inline(always)]
fn widen(x: v128) -> Eight {
    [f32x4_convert_i32x4(i32x4_extend_low_i16x8(x)), f32x4_convert_i32x4(i32x4_extend_high_i16x8(x))]
}

#[inline(always)]
fn scaled(x: v128, d: v128) -> Eight {
    widen(x).map(|x| f32x4_mul(x, d))
}

#[inline(always)]
fn affine(x: v128, (d, m): (v128, v128)) -> Eight {
    widen(x).map(|x| fma(x, d, m))
}

/// Eight bytes as u16.
#[inline(always)]
unsafe fn bytes(p: *const u8) -> v128 {
    unsafe { u16x8_load_extend_u8x8(p) }
}

/// Elements E … E + 7 of 32 elements' nibbles.
#[inline(always)]
unsafe fn nibbles<const E: usize>(p: *const u8) -> v128 {
    unsafe {
        match E < 16 {
            true => v128_and(bytes(p.add(E)), u16x8_splat(15)),
            false => u16x8_shr(bytes(p.add(E - 16)), 4),
        }
    }
}

/// 16 in the lanes whose bit of `byte` is set, else 0.
#[inline(always)]
fn fifth_bits(byte: u8) -> v128 {
    let bit = u16x8(1, 2, 4, 8, 16, 32, 64, 128);
    let set = i16x8_eq(v128_and(u16x8_splat(byte as u16), bit), bit);
    v128_and(set, u16x8_splat(16))
}

/// A type of blocks of 32. `$eight` is evaluated with the block's address, the scale and the constant E.
macro_rules! block_of_32 {
    ($name:ident, $bytes:literal, $scale:ty, |$s:ident| $read:expr, |$p:ident, $d:ident, $e:ident| $eight:expr) => {
        #[allow(non_camel_case_types)]
        pub struct $name;
        impl Weight for $name {
            const BLOCK: usize = 32;
            const BLOCK_BYTES: usize = $bytes;
            const GROUP: usize = 32;
            type Scale = $scale;

            #[inline(always)]
            unsafe fn scale(row: *const u8, group: usize) -> $scale {
                unsafe {
                    let $s = row.add(group * $bytes);
                    $read
                }
            }

            #[inline(always)]
            unsafe fn eight<const $e: usize>(row: *const u8, group: usize, $d: $scale) -> Eight {
                unsafe {
                    let $p = row.add(group * $bytes);
                    $eight
                }
            }
        }
    };
}

block_of_32!(Q8_0, 34, v128, |p| splat_f16(p), |p, d, E| scaled(i16x8_load_extend_i8x8(p.add(2 + E).cast()), d));
block_of_32!(Q4_0, 18, v128, |p| splat_f16(p), |p, d, E| {
    scaled(i16x8_sub(nibbles::<E>(p.add(2)), i16x8_splat(8)), d)
});
block_of_32!(Q4_1, 20, (v128, v128), |p| splat_two_f16(p), |p, d, E| { affine(nibbles::<E>(p.add(4)), d) });
block_of_32!(Q5_0, 22, v128, |p| splat_f16(p), |p, d, E| {
    let quants = v128_or(nibbles::<E>(p.add(6)), fifth_bits(*p.add(2 + E / 8)));
    scaled(i16x8_sub(quants, i16x8_splat(16)), d)
});
block_of_32!(Q5_1, 24, (v128, v128), |p| splat_two_f16(p), |p, d, E| {
    affine(v128_or(nibbles::<E>(p.add(8)), fifth_bits(*p.add(4 + E / 8))), d)
});

/// (d·s, -dmin·m) of group `group` of a Q4_K or Q5_K block, which begin alike. The 12 bytes hold eight 6-bit s and
/// eight 6-bit m: the first four of each in the low bits of bytes 0-3 and 4-7; of the last four the low nibbles in
/// the halves of bytes 8-11, and the high pairs in the two free bits of bytes 0-7.
#[inline(always)]
unsafe fn scale_and_min(block: *const u8, group: usize) -> (v128, v128) {
    unsafe {
        let q = |i: usize| *block.add(4 + i);
        let (s, m) = match group < 4 {
            true => (q(group) & 63, q(group + 4) & 63),
            false => (q(group + 4) & 15 | q(group - 4) >> 6 << 4, q(group + 4) >> 4 | q(group) >> 6 << 4),
        };
        let (d, dmin) = splat_two_f16(block);
        (f32x4_mul(d, f32x4_splat(s as f32)), f32x4_mul(dmin, f32x4_splat(-(m as f32))))
    }
}

/// Elements E … E + 7 of group `group`'s nibbles in a Q4_K or Q5_K block.
#[inline(always)]
unsafe fn nibbles_of_group<const E: usize>(p: *const u8, group: usize) -> v128 {
    unsafe { v128_and(u16x8_shr(bytes(p.add(group / 2 * 32 + E)), group as u32 % 2 * 4), u16x8_splat(15)) }
}

/// A type of blocks of 256. The expressions are evaluated with the block's address and the group's index in it.
macro_rules! block_of_256 {
    ($name:ident, $bytes:literal, $scale:ty, |$s:ident, $i:ident| $read:expr,
     |$p:ident, $g:ident, $d:ident, $e:ident| $eight:expr) => {
        #[allow(non_camel_case_types)]
        pub struct $name;
        impl Weight for $name {
            const BLOCK: usize = 256;
            const BLOCK_BYTES: usize = $bytes;
            const GROUP: usize = 32;
            type Scale = $scale;

            #[inline(always)]
            unsafe fn scale(row: *const u8, group: usize) -> $scale {
                unsafe {
                    let ($s, $i) = (row.add(group / 8 * $bytes), group % 8);
                    $read
                }
            }

            #[inline(always)]
            unsafe fn eight<const $e: usize>(row: *const u8, group: usize, $d: $scale) -> Eight {
                unsafe {
                    let ($p, $g) = (row.add(group / 8 * $bytes), group % 8);
                    $eight
                }
            }
        }
    };
}

block_of_256!(Q4_K, 144, (v128, v128), |p, group| scale_and_min(p, group), |p, group, d, E| {
    affine(nibbles_of_group::<E>(p.add(16), group), d)
});
block_of_256!(Q5_K, 176, (v128, v128), |p, group| scale_and_min(p, group), |p, group, d, E| {
    // Byte i of the fifth bits holds those of element i of every group.
    let fifth = v128_and(u16x8_shr(bytes(p.add(16 + E)), group as u32), u16x8_splat(1));
    affine(v128_or(nibbles_of_group::<E>(p.add(48), group), u16x8_shl(fifth, 4)), d)
});
// A half block of four groups shares 64 bytes of nibbles (groups 0 and 1 the low halves of its first and second 32
// bytes, groups 2 and 3 the high halves) and 32 bytes of high pairs (two bits for each group). A scale serves 16 elements.
block_of_256!(
    Q6_K,
    210,
    [v128; 2],
    |p, group| {
        let d = splat_f16(p.add(208));
        [0, 1].map(|i| f32x4_mul(d, f32x4_splat(*p.add(192 + 2 * group + i).cast::<i8>() as f32)))
    },
    |p, group, d, E| {
        let (half, part) = (group / 4, group % 4);
        let low = u16x8_shr(bytes(p.add(64 * half + 32 * (part % 2) + E)), part as u32 / 2 * 4);
        let high = u16x8_shr(bytes(p.add(128 + 32 * half + E)), part as u32 * 2);
        let quants = v128_or(v128_and(low, u16x8_splat(15)), u16x8_shl(v128_and(high, u16x8_splat(3)), 4));
        scaled(i16x8_sub(quants, i16x8_splat(32)), d[E / 16])
    }
);
