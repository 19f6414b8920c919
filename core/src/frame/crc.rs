//! CRC-32/ISO-HDLC (the one of Ethernet and zip).
//!
//! Our own in 40 lines: devices get a table of 64 bytes (the bitwise way costs four times the time, a
//! byte table 1 KiB of flash), 64-bit hosts eight tables that take 8 bytes a step.

const POLYNOMIAL: u32 = 0xedb8_8320;

/// CRC-32 of `bytes`.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !update(!0, bytes)
}

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "evaluated by the compiler"
)]
const fn table<const N: usize, const BITS: u32>() -> [u32; N] {
    let mut table = [0; N];
    let mut i = 0;
    while i < N {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < BITS {
            crc = (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

#[cfg(not(target_pointer_width = "64"))]
#[expect(clippy::indexing_slicing, reason = "four bits into 16 entries")]
fn update(mut crc: u32, bytes: &[u8]) -> u32 {
    static TABLE: [u32; 16] = table::<16, 4>();
    for byte in bytes {
        crc ^= *byte as u32;
        crc = (crc >> 4) ^ TABLE[crc as usize & 15];
        crc = (crc >> 4) ^ TABLE[crc as usize & 15];
    }
    crc
}

#[cfg(target_pointer_width = "64")]
#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "eight bits into 256 entries"
)]
fn update(mut crc: u32, bytes: &[u8]) -> u32 {
    static TABLES: [[u32; 256]; 8] = tables();
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        let word = u64::from_le_bytes(*eight) ^ crc as u64;
        let byte = |i: u32| (word >> (i * 8)) as usize & 255;
        crc = TABLES[7][byte(0)]
            ^ TABLES[6][byte(1)]
            ^ TABLES[5][byte(2)]
            ^ TABLES[4][byte(3)]
            ^ TABLES[3][byte(4)]
            ^ TABLES[2][byte(5)]
            ^ TABLES[1][byte(6)]
            ^ TABLES[0][byte(7)];
    }
    for byte in rest {
        crc = (crc >> 8) ^ TABLES[0][(crc as usize ^ *byte as usize) & 255];
    }
    crc
}

#[cfg(target_pointer_width = "64")]
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [table::<256, 8>(); 8];
    let mut k = 1;
    while k < 8 {
        let mut i = 0;
        while i < 256 {
            let before = tables[k - 1][i];
            tables[k][i] = (before >> 8) ^ tables[0][before as usize & 255];
            i += 1;
        }
        k += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]
    use super::*;

    #[test]
    fn check_value_and_a_bitwise_oracle() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let bytes: [u8; 67] = core::array::from_fn(|i| (i * 37) as u8);
        for len in 0..bytes.len() {
            let mut crc = !0u32;
            for byte in &bytes[..len] {
                crc ^= *byte as u32;
                for _ in 0..8 {
                    crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
                }
            }
            assert_eq!(crc32(&bytes[..len]), !crc, "{len}");
        }
    }
}
