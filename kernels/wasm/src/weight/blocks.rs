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

use super::{Eight, Strip, Weight, f16_to_f32, splat_f16, splat_two_f16};
use crate::gemm::pack::transpose;
use crate::simd::{fma, splat};

/// Elements that are decoded at a time.
const GROUP: usize = 32;

/// A type of blocks. An element is (d·s)·q + (e·z): f16 d and e, small integers s and z, quant q.
pub trait Block {
    const ELEMENTS: usize;
    const BYTES: usize;
    /// Where d is; whether e follows it, or is d.
    const D: usize = 0;
    const HAS_E: bool = false;
    /// The quant of the element 0 where e is d: z is -s times it.
    const ZERO: i16 = 0;
    /// Pairs (s, z) of a group: one, or one for each half.
    const SCALES: usize = 1;
    /// Whether `strip` gives the quants byte by byte (`split`), and by how much those of a group's second half are too large.
    const SPLIT: bool = false;
    const SECOND: f32 = 1.0;

    /// (s, z) of a group's half.
    unsafe fn factors(block: *const u8, group: usize, half: usize) -> (i32, i32);

    /// The quants of elements E … E + 7 of a group as i16; E is 0, 8, 16 or 24.
    unsafe fn quants<const E: usize>(block: *const u8, group: usize) -> v128;

    /// The quants of a group as `Weight::strip` gives them.
    #[inline(always)]
    unsafe fn strip(block: *const u8, group: usize) -> Strip {
        let [a, b, c, d] = unsafe {
            [
                widen(Self::quants::<0>(block, group)),
                widen(Self::quants::<8>(block, group)),
                widen(Self::quants::<16>(block, group)),
                widen(Self::quants::<24>(block, group)),
            ]
        };
        match Self::SCALES {
            1 => [a, b, c, d],
            _ => [[a[0], c[0]], [a[1], c[1]], [b[0], d[0]], [b[1], d[1]]],
        }
    }
}

/// The block of a row's group, and the group's index in it.
#[inline(always)]
fn locate<B: Block>(row: *const u8, group: usize) -> (*const u8, usize) {
    let groups = B::ELEMENTS / GROUP;
    (row.wrapping_add(group / groups * B::BYTES), group % groups)
}

/// d·s and e·z, each in all lanes.
#[inline(always)]
unsafe fn splat_scale<B: Block>(row: *const u8, group: usize, half: usize) -> (v128, v128) {
    unsafe {
        let (block, group) = locate::<B>(row, group);
        let (s, z) = B::factors(block, group, half);
        let (d, e) = match B::HAS_E {
            true => splat_two_f16(block.add(B::D)),
            false => [splat_f16(block.add(B::D)); 2].into(),
        };
        // A z of 0 is -0, for a product that is a zero keeps its sign when nothing is added.
        (f32x4_mul(d, splat(s as f32)), f32x4_mul(e, splat(-(-z as f32))))
    }
}

impl<B: Block> Weight for B {
    const BLOCK: usize = B::ELEMENTS;
    const BLOCK_BYTES: usize = B::BYTES;
    const GROUP: usize = GROUP;
    const SCALES: usize = B::SCALES;
    /// (d·s, e·z) of the group's halves.
    type Scale = [(v128, v128); 2];

    #[inline(always)]
    unsafe fn scale(row: *const u8, group: usize) -> Self::Scale {
        unsafe {
            let first = splat_scale::<B>(row, group, 0);
            [first, if B::SCALES == 2 { splat_scale::<B>(row, group, 1) } else { first }]
        }
    }

    #[inline(always)]
    unsafe fn eight<const E: usize>(row: *const u8, group: usize, scale: Self::Scale) -> Eight {
        let (d, m) = scale[E / 16];
        let (block, group) = locate::<B>(row, group);
        let quants = unsafe { B::quants::<E>(block, group) };
        match B::HAS_E {
            true => widen(quants).map(|q| fma(q, d, m)),
            // d·(q - zero), whose zeros have d's sign as in llama.cpp.
            false => widen(i16x8_sub(quants, i16x8_splat(B::ZERO))).map(|q| f32x4_mul(q, d)),
        }
    }

    #[inline(always)]
    unsafe fn scales(rows: [*const u8; 4], strip: usize, half: usize) -> (v128, v128) {
        let mut halves = i32x4_splat(0);
        let blocks = rows.map(|row| locate::<B>(row, strip));
        unsafe {
            let [a, b, c, d] = blocks.map(|(block, _)| block.add(B::D));
            let [f, g, h, i] = blocks.map(|(block, group)| B::factors(block, group, half));
            let (s, z) = (i32x4(f.0, g.0, h.0, i.0), i32x4(f.1, g.1, h.1, i.1));
            let (d, e) = if B::HAS_E {
                halves = v128_load32_lane::<0>(halves, a.cast());
                halves = v128_load32_lane::<1>(halves, b.cast());
                halves = v128_load32_lane::<2>(halves, c.cast());
                halves = v128_load32_lane::<3>(halves, d.cast());
                (f16_to_f32(i32x4_shl(halves, 16)), f16_to_f32(halves))
            } else {
                halves = v128_load16_lane::<1>(halves, a.cast());
                halves = v128_load16_lane::<3>(halves, b.cast());
                halves = v128_load16_lane::<5>(halves, c.cast());
                halves = v128_load16_lane::<7>(halves, d.cast());
                [f16_to_f32(halves); 2].into()
            };
            (f32x4_mul(d, f32x4_convert_i32x4(s)), f32x4_mul(e, f32x4_convert_i32x4(z)))
        }
    }

    #[inline(always)]
    fn arrange(x: [v128; 8]) -> [v128; 8] {
        let [a, b, c, d, e, f, g, h] = x;
        let (first, second) = match (B::SPLIT, B::SCALES) {
            (true, _) => (transpose([a, b, c, d]), transpose([e, f, g, h])),
            (false, 1) => return x,
            (false, _) => ([a, b, c, d], [e, f, g, h]),
        };
        core::array::from_fn(|i| match i % 2 {
            0 => first[i / 2],
            _ => f32x4_mul(second[i / 2], splat(1.0 / B::SECOND)),
        })
    }

    #[inline(always)]
    unsafe fn strip(row: *const u8, strip: usize) -> Strip {
        let (block, group) = locate::<B>(row, strip);
        unsafe { B::strip(block, group) }
    }
}

/// Eight i16 as f32.
#[inline(always)]
fn widen(x: v128) -> Eight {
    [f32x4_convert_i32x4(i32x4_extend_low_i16x8(x)), f32x4_convert_i32x4(i32x4_extend_high_i16x8(x))]
}

/// Quants of the 32 bytes' bits in `mask`, without a shuffle: eight j holds byte j of every four.
#[inline(always)]
fn split(bytes: [v128; 2], mask: [u32; 2]) -> Strip {
    [0, 8, 16, 24].map(|shift| {
        [0, 1].map(|half| f32x4_convert_i32x4(v128_and(u32x4_shr(bytes[half], shift), u32x4_splat(mask[half]))))
    })
}

/// Nibbles of 16 bytes: the low halves, and sixteen times the high ones.
#[inline(always)]
unsafe fn split_nibbles(p: *const u8) -> Strip {
    split([unsafe { v128_load(p.cast()) }; 2], [0x0f, 0xf0])
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

/// Declares a type. Expressions are evaluated with the block's address, the group, and the half or E.
macro_rules! block {
    ($name:ident, $elements:literal, $bytes:literal, { $($option:ident: $kind:ty = $value:expr),* },
     |$f:ident, $g:ident, $half:ident| $factors:expr, |$p:ident, $group:ident, $e:ident| $quants:expr
     $(, |$b:ident| $strip:expr)?) => {
        #[allow(non_camel_case_types)]
        pub struct $name;
        impl Block for $name {
            const ELEMENTS: usize = $elements;
            const BYTES: usize = $bytes;
            $(const $option: $kind = $value;)*

            #[inline(always)]
            unsafe fn factors($f: *const u8, $g: usize, $half: usize) -> (i32, i32) {
                #[allow(unused_unsafe)]
                unsafe {
                    $factors
                }
            }

            #[inline(always)]
            unsafe fn quants<const $e: usize>($p: *const u8, $group: usize) -> v128 {
                unsafe { $quants }
            }

            $(
                #[inline(always)]
                unsafe fn strip($b: *const u8, _: usize) -> Strip {
                    unsafe { $strip }
                }
            )?
        }
    };
}

block!(
    Q8_0, 32, 34, { SPLIT: bool = true }, |_p, _g, _h| (1, 0),
    |p, _g, E| i16x8_load_extend_i8x8(p.add(2 + E).cast()),
    |p| {
        let bytes = [0, 16].map(|i| v128_load(p.add(2 + i).cast()));
        [24, 16, 8, 0].map(|shift| bytes.map(|x| f32x4_convert_i32x4(i32x4_shr(i32x4_shl(x, shift), 24))))
    }
);
block!(
    Q4_0, 32, 18, { ZERO: i16 = 8, SPLIT: bool = true, SECOND: f32 = 16.0 }, |_p, _g, _h| (1, -8),
    |p, _g, E| nibbles::<E>(p.add(2)), |p| split_nibbles(p.add(2))
);
block!(
    Q4_1, 32, 20, { HAS_E: bool = true, SPLIT: bool = true, SECOND: f32 = 16.0 }, |_p, _g, _h| (1, 1),
    |p, _g, E| nibbles::<E>(p.add(4)), |p| split_nibbles(p.add(4))
);
block!(Q5_0, 32, 22, { ZERO: i16 = 16 }, |_p, _g, _h| (1, -16), |p, _g, E| {
    v128_or(nibbles::<E>(p.add(6)), fifth_bits(*p.add(2 + E / 8)))
});
block!(Q5_1, 32, 24, { HAS_E: bool = true }, |_p, _g, _h| (1, 1), |p, _g, E| {
    v128_or(nibbles::<E>(p.add(8)), fifth_bits(*p.add(4 + E / 8)))
});

/// s and -m of a group of a Q4_K or Q5_K block, which begin alike. The 12 bytes hold eight 6-bit s and eight 6-bit m: the
/// first four of each in the low bits of bytes 0-3 and 4-7; of the last four the low nibbles in the halves of bytes
/// 8-11, and the high pairs in the two free bits of bytes 0-7.
#[inline(always)]
unsafe fn scale_and_min(block: *const u8, group: usize) -> (i32, i32) {
    let q = |i: usize| unsafe { *block.add(4 + i) };
    let (s, m) = match group < 4 {
        true => (q(group) & 63, q(group + 4) & 63),
        false => (q(group + 4) & 15 | q(group - 4) >> 6 << 4, q(group + 4) >> 4 | q(group) >> 6 << 4),
    };
    (s as i32, -(m as i32))
}

/// Elements E … E + 7 of group `group`'s nibbles in a Q4_K or Q5_K block.
#[inline(always)]
unsafe fn nibbles_of_group<const E: usize>(p: *const u8, group: usize) -> v128 {
    unsafe { v128_and(u16x8_shr(bytes(p.add(group / 2 * 32 + E)), group as u32 % 2 * 4), u16x8_splat(15)) }
}

block!(Q4_K, 256, 144, { HAS_E: bool = true }, |p, group, _h| scale_and_min(p, group), |p, group, E| {
    nibbles_of_group::<E>(p.add(16), group)
});
block!(Q5_K, 256, 176, { HAS_E: bool = true }, |p, group, _h| scale_and_min(p, group), |p, group, E| {
    // Byte i of the fifth bits holds those of element i of every group.
    let fifth = v128_and(u16x8_shr(bytes(p.add(16 + E)), group as u32), u16x8_splat(1));
    v128_or(nibbles_of_group::<E>(p.add(48), group), u16x8_shl(fifth, 4))
});
// A half block of four groups shares 64 bytes of nibbles (groups 0 and 1 the low halves of its first and second 32
// bytes, groups 2 and 3 the high halves) and 32 bytes of high pairs (two bits for each group). A scale serves 16 elements.
block!(
    Q6_K, 256, 210, { ZERO: i16 = 32, D: usize = 208, SCALES: usize = 2 },
    |p, group, half| {
        let s = *p.add(192 + 2 * group + half).cast::<i8>() as i32;
        (s, -32 * s)
    },
    |p, group, E| {
        let (half, part) = (group / 4, group % 4);
        let low = u16x8_shr(bytes(p.add(64 * half + 32 * (part % 2) + E)), part as u32 / 2 * 4);
        let high = u16x8_shr(bytes(p.add(128 + 32 * half + E)), part as u32 * 2);
        v128_or(v128_and(low, u16x8_splat(15)), u16x8_shl(v128_and(high, u16x8_splat(3)), 4))
    }
);
