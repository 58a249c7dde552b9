//! The Huffman code of HPACK (RFC 7541, appendix B). It is canonical, so the lengths say everything.

use crate::void::Void;

/// The longest code, which is that of the end.
const LONGEST: usize = 30;
const END: u16 = 256;

/// How many bits each byte takes, and the end.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// Codes of one length follow one another: the first of them, how many there are, and where their bytes stand.
struct Codes {
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    place: [usize; LONGEST + 1],
    bytes: [u16; 257],
}

static CODES: Codes = codes();

const fn codes() -> Codes {
    let mut codes =
        Codes { first: [0; LONGEST + 1], count: [0; LONGEST + 1], place: [0; LONGEST + 1], bytes: [0; 257] };
    let (mut code, mut placed, mut length) = (0, 0, 1);
    while length <= LONGEST {
        code <<= 1;
        codes.first[length] = code;
        codes.place[length] = placed;
        let mut byte = 0;
        while byte < LENGTHS.len() {
            if LENGTHS[byte] as usize == length {
                codes.bytes[placed] = byte as u16;
                placed += 1;
                code += 1;
            }
            byte += 1;
        }
        codes.count[length] = code - codes.first[length];
        length += 1;
    }
    codes
}

/// What `coded` stands for.
///
/// # Errors
/// When it stands for nothing.
pub fn decode(coded: &[u8]) -> Result<Vec<u8>, Void> {
    let wrong = || Void::because("a Huffman code that stands for nothing");
    let mut text = Vec::with_capacity(coded.len() * 2);
    let (mut code, mut length) = (0u32, 0);
    for bit in coded.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
        (code, length) = (code << 1 | u32::from(bit), length + 1);
        if length > LONGEST {
            return Err(wrong());
        }
        let place = code.wrapping_sub(CODES.first[length]);
        if place < CODES.count[length] {
            match CODES.bytes[CODES.place[length] + place as usize] {
                END => return Err(wrong()),
                byte => text.push(byte as u8),
            }
            (code, length) = (0, 0);
        }
    }
    // What is left is the beginning of the code of the end.
    let padding = length < 8 && code + 1 == 1 << length;
    if padding { Ok(text) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        for (coded, text) in [
            (
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..],
                "www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x64, 0x02], "302"),
            (&[], ""),
        ] {
            assert_eq!(decode(coded).unwrap(), text.as_bytes());
        }
        assert_eq!(CODES.first[LONGEST] + CODES.count[LONGEST], 1 << LONGEST, "the code is complete");
    }

    #[test]
    fn what_does_not_end_with_padding_is_wrong() {
        assert!(decode(&[0x00]).is_err(), "zeros are no padding");
        assert!(decode(&[0xff]).is_err(), "a whole byte is no padding");
        assert!(decode(&[0xff; 4]).is_err(), "the end is no byte");
    }
}
