//! The Huffman code of RFC 7541, appendix B.
//!
//! Invariants: the code is canonical (codes of one length follow one another in the order of their bytes, and longer ones follow
//! shorter ones), so that the lengths say all of it; a text ends with fewer than eight bits of padding, all ones, and the mark of
//! the end never stands in it (RFC 7541 section 5.2).
//! How: ten bits look up the byte, five times for each eight bytes that are read; the few codes that are longer are found by comparing with the first code of each length.

/// How many bits the code of each byte has; the last is the mark of the end.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, // 0x00
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, // 0x10
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, // 0x20
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, // 0x30
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, // 0x40
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, // 0x50
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, // 0x60
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, // 0x70
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, // 0x80
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, // 0x90
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, // 0xa0
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, // 0xb0
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, // 0xc0
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, // 0xd0
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, // 0xe0
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, // 0xf0
    30, // the end
];

const SHORTEST: usize = 5;
const LONGEST: usize = 30;
/// Bits that are looked up at once.
const FAST_BITS: usize = 10;
const END: u16 = 256;

/// The code, in the ways in which it is used.
struct Code {
    /// By byte: the code, at the lowest bits.
    codes: [u32; 257],
    /// By the next ten bits: the length above the byte; 0 where the code is longer.
    fast: [u16; 1 << FAST_BITS],
    /// Bytes in the order of their codes.
    order: [u16; 257],
    /// By length: the first code beyond those of this length, at the highest of 32 bits.
    beyond: [u64; LONGEST + 1],
    /// By length: the first code.
    first: [u32; LONGEST + 1],
    /// By length: where in `order` the first code's byte is.
    place: [u16; LONGEST + 1],
}

static CODE: Code = build();

const fn build() -> Code {
    let mut code = Code {
        codes: [0; 257],
        fast: [0; 1 << FAST_BITS],
        order: [0; 257],
        beyond: [0; LONGEST + 1],
        first: [0; LONGEST + 1],
        place: [0; LONGEST + 1],
    };
    let mut next: u32 = 0;
    let mut placed = 0;
    let mut length = SHORTEST;
    while length <= LONGEST {
        code.first[length] = next;
        code.place[length] = placed as u16;
        let mut byte = 0;
        while byte < 257 {
            if LENGTHS[byte] as usize == length {
                code.codes[byte] = next;
                code.order[placed] = byte as u16;
                if length <= FAST_BITS {
                    let free = FAST_BITS - length;
                    let mut low = 0;
                    while low < 1 << free {
                        code.fast[((next as usize) << free) | low] = ((length as u16) << 8) | byte as u16;
                        low += 1;
                    }
                }
                next += 1;
                placed += 1;
            }
            byte += 1;
        }
        code.beyond[length] = (next as u64) << (32 - length);
        next <<= 1;
        length += 1;
    }
    code
}

/// Bytes that a coded string of this length has at most: the shortest codes have five bits.
pub fn most_decoded(coded: usize) -> usize {
    coded.saturating_mul(8) / SHORTEST
}

/// What the next ten bits say: the byte, and above it the length of its code; 0 where that is longer.
#[inline]
fn fast(bits: u64) -> u16 {
    CODE.fast[(bits >> (64 - FAST_BITS)) as usize]
}

/// The byte of a code of more than ten bits, and its length; `None` for the mark of the end.
#[cold]
fn rare(bits: u64) -> Option<(u8, u32)> {
    let bits = bits >> 32;
    let length = (FAST_BITS + 1..=LONGEST).find(|length| bits < CODE.beyond[*length])?;
    let index = ((bits >> (32 - length)) as usize).checked_sub(CODE.first[length] as usize)?;
    let byte = *CODE.order.get(usize::from(CODE.place[length]) + index)?;
    (byte != END).then_some((byte as u8, length as u32))
}

/// Codes of ten bits that are surely there where eight bytes are.
const AT_ONCE: usize = 5;

/// Decodes into `out`, which has [`most_decoded`] bytes, and says how many there are; `None` where it is no such code.
pub fn decode(coded: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut rest = coded;
    let mut bits: u64 = 0; // the next ones, at the top; beyond `have` those that come next, or zeros
    let mut have: u32 = 0;
    let mut written = 0;
    while let Some(word) = rest.first_chunk::<8>() {
        bits |= u64::from_be_bytes(*word) >> have;
        let whole = (63 - have) / 8;
        rest = rest.get(whole as usize..)?;
        have += whole * 8; // 56 at least
        let window = out.get_mut(written..)?.first_chunk_mut::<AT_ONCE>()?;
        let before = written;
        for byte in window.iter_mut() {
            let entry = fast(bits);
            if entry == 0 {
                break;
            }
            *byte = entry as u8;
            bits <<= entry >> 8;
            have -= u32::from(entry >> 8);
            written += 1;
        }
        if written == before {
            let (byte, length) = rare(bits)?;
            window[0] = byte;
            bits <<= length;
            have -= length;
            written += 1;
        }
    }
    // Fewer than eight bytes are left, at the top of a word of their own.
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let (mut word, mut left) = (u64::from_be_bytes(last), rest.len() as u32);
    loop {
        let entry = fast(bits);
        let (byte, length) = if entry != 0 && u32::from(entry >> 8) <= have {
            (entry as u8, u32::from(entry >> 8))
        } else if left > 0 && have < 56 {
            let whole = left.min((63 - have) / 8);
            bits |= word >> have;
            word <<= whole * 8;
            left -= whole;
            have += whole * 8;
            continue;
        } else if entry == 0 && have >= 8 {
            rare(bits)?
        } else {
            // No code is that short: what is left is padding, or not all there.
            return (have < 8 && bits == !(u64::MAX >> have)).then_some(written);
        };
        have = have.checked_sub(length)?;
        bits <<= length;
        *out.get_mut(written)? = byte;
        written += 1;
    }
}

/// Bytes that a text has when it is coded.
pub fn encoded_length(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|byte| usize::from(LENGTHS[usize::from(*byte)])).sum();
    bits.div_ceil(8)
}

/// Appends a text, coded.
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    let mut bits: u64 = 0; // those that wait, at the bottom
    let mut have: u32 = 0;
    for byte in text {
        let byte = usize::from(*byte);
        let length = u32::from(LENGTHS[byte]);
        bits = (bits << length) | u64::from(CODE.codes[byte]);
        have += length;
        if have >= 32 {
            have -= 32;
            out.extend_from_slice(&((bits >> have) as u32).to_be_bytes());
        }
    }
    if have > 0 {
        let word = (bits << (64 - have)) | (u64::MAX >> have); // padding is of ones
        out.extend_from_slice(&word.to_be_bytes()[..have.div_ceil(8) as usize]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn coded(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(text, &mut out);
        assert_eq!(out.len(), encoded_length(text));
        out
    }

    fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; most_decoded(bytes.len())];
        let length = decode(bytes, &mut out)?;
        out.truncate(length);
        Some(out)
    }

    #[test]
    fn the_lengths_are_a_whole_code() {
        let leaves: u64 = LENGTHS.iter().map(|length| 1 << (LONGEST - usize::from(*length))).sum();
        assert_eq!(leaves, 1 << LONGEST);
        for (byte, code) in [
            (b'0', 0x0),
            (b'a', 0x3),
            (b' ', 0x14),
            (b'{', 0x7ffe),
            (0, 0x1ff8),
            (249, 0xffffffe),
            (22, 0x3ffffffe),
        ] {
            assert_eq!(CODE.codes[usize::from(byte)], code, "{byte}");
        }
        assert_eq!(CODE.codes[256], 0x3fff_ffff);
    }

    #[test]
    fn the_examples_of_the_rfc() {
        for (text, hex) in [
            ("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
            ("no-cache", "a8eb10649cbf"),
            ("custom-value", "25a849e95bb8e8b4bf"),
            ("Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
            ("https://www.example.com", "9d29ad171863c78f0b97c8e9ae82ae43d3"),
        ] {
            assert_eq!(coded(text.as_bytes()), super::super::tests::bytes(hex), "{text}");
        }
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decoded(&coded(&all)), Some(all.clone()));
        for byte in all {
            assert_eq!(decoded(&coded(&[byte])), Some(vec![byte]), "{byte}");
        }
        assert_eq!(decoded(&[]), Some(Vec::new()));
    }

    /// As RFC 7541 has it, one bit after the other.
    fn bit_by_bit(bytes: &[u8]) -> Option<Vec<u8>> {
        let (mut text, mut code, mut length) = (Vec::new(), 0, 0);
        for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |place| byte >> place & 1)) {
            (code, length) = (code << 1 | u32::from(bit), length + 1);
            let found = (0..257).find(|&byte| LENGTHS[byte] == length && CODE.codes[byte] == code);
            if let Some(byte) = found {
                text.push(u8::try_from(byte).ok()?);
                (code, length) = (0, 0);
            }
        }
        (length < 8 && code == (1 << length) - 1).then_some(text)
    }

    #[test]
    fn two_bytes_are_what_their_bits_say() {
        for bytes in (0..=u16::MAX).step_by(7).map(u16::to_be_bytes) {
            assert_eq!(decoded(&bytes), bit_by_bit(&bytes), "{bytes:?}");
        }
    }

    #[test]
    fn padding_is_of_ones_and_short() {
        assert_eq!(decoded(&[0b0001_1111]), Some(b"a".to_vec()));
        assert_eq!(decoded(&[0b0001_1110]), None); // not of ones
        assert_eq!(decoded(&[0b0001_1000]), None);
        assert_eq!(decoded(&[0b0001_1111, 0xff]), None); // eleven bits
        assert_eq!(decoded(&[0xff]), None); // eight
        assert_eq!(decoded(&[0x00]), None); // '0', and then zeros
    }

    #[test]
    fn the_mark_of_the_end_never_stands_in_a_text() {
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(decoded(&[0b0001_1111, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xfc]), None); // exactly the mark, then zeros
    }

    proptest! {
        #[test]
        fn what_is_coded_is_decoded(text: Vec<u8>) {
            prop_assert_eq!(decoded(&coded(&text)), Some(text));
        }

        #[test]
        fn it_is_what_the_bits_say(text in "[ -~]{0,40}", mut bytes: Vec<u8>, at: usize, with: u8) {
            prop_assert_eq!(decoded(&bytes), bit_by_bit(&bytes));
            bytes.splice(0..0, coded(text.as_bytes()));
            prop_assert_eq!(decoded(&bytes), bit_by_bit(&bytes));
            let mut bytes = coded(text.as_bytes());
            if !bytes.is_empty() {
                let at = at % bytes.len();
                bytes[at] = with;
            }
            prop_assert_eq!(decoded(&bytes), bit_by_bit(&bytes));
        }

        #[test]
        fn what_is_decoded_was_coded_so(bytes: Vec<u8>) {
            // There is one code for each text: whatever is taken is what would have been sent.
            if let Some(text) = decoded(&bytes) {
                prop_assert_eq!(coded(&text), bytes);
            }
        }

        #[test]
        fn words_of_headers_come_back(text in "[ -~]{0,200}") {
            prop_assert_eq!(decoded(&coded(text.as_bytes())), Some(text.into_bytes()));
        }
    }
}
