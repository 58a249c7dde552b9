//! As much of HPACK as the rows need: literal fields out, the status of a response in.
//!
//! Source: RFC 7541. Not here: the dynamic table. Rows ask for a table of no size, or look only at the first answer.

/// Appends a literal field without indexing, name and value as they are.
pub fn literal(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        integer(block, 7, text.len());
        block.extend_from_slice(text);
    }
}

fn integer(block: &mut Vec<u8>, prefix: u32, mut value: usize) {
    let most = (1 << prefix) - 1;
    if value < most {
        return block.push(value as u8);
    }
    block.push(most as u8);
    value -= most;
    while value >= 128 {
        block.push((value % 128) as u8 | 128);
        value /= 128;
    }
    block.push(value as u8);
}

/// The `:status` of a response, which is its first field.
pub fn status(block: &[u8]) -> Option<u16> {
    let block = after_size_updates(block)?;
    match *block.first()? {
        indexed @ 0x88..=0x8e => {
            [200, 204, 206, 304, 400, 404, 500].get(usize::from(indexed - 0x88)).copied()
        }
        // With indexing, without, and never indexed: name 8 to 14 is `:status`.
        0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e => digits(block.get(1..)?),
        _ => None,
    }
}

/// Updates of the dynamic table's size stand before the first field.
fn after_size_updates(mut block: &[u8]) -> Option<&[u8]> {
    while let Some((&first, rest)) = block.split_first() {
        if first & 0xe0 != 0x20 {
            return Some(block);
        }
        let long = first & 0x1f == 0x1f;
        let tail = if long { rest.iter().position(|byte| byte & 0x80 == 0)? + 1 } else { 0 };
        block = &rest[tail..];
    }
    None
}

fn digits(text: &[u8]) -> Option<u16> {
    let (&length, text) = text.split_first()?;
    let bytes = text.get(..usize::from(length & 0x7f))?;
    if length & 0x80 == 0 {
        return std::str::from_utf8(bytes).ok()?.parse().ok();
    }
    let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
    (0..3).try_fold(0, |number, _| Some(number * 10 + huffman_digit(&mut bits)?))
}

/// Digits 0 to 2 take five bits, the others six.
fn huffman_digit(bits: &mut impl Iterator<Item = u16>) -> Option<u16> {
    let mut code = 0;
    for _ in 0..5 {
        code = code * 2 + bits.next()?;
    }
    if code <= 2 { Some(code) } else { (code * 2 + bits.next()?).checked_sub(0x19).map(|digit| digit + 3) }
}

/// Known answers, checked before the rows are.
pub fn check() {
    assert_eq!(status(&[0x88]), Some(200));
    assert_eq!(status(&[0x20, 0x48, 0x82, 0x68, 0x00]), Some(400), "4 is 011010, 0 is 00000");
    assert_eq!(status(&[0x48, 3, b'4', b'3', b'1']), Some(431));
    assert_eq!(status(&[0x3f, 0xe1, 0x1f, 0x8c]), Some(400));
    assert_eq!(status(&[0x3f, 0xe1]), None);
    let mut block = Vec::new();
    literal(&mut block, b"a", &[b'x'; 200]);
    assert_eq!(block[..5], [0, 1, b'a', 0x7f, 73]);
}
