//! The little of HTTP/1.1 that both ends of a measurement speak: heads end with an empty line, bodies have a length.
//!
//! Why not a library: load and upstreams share a core, and should cost less than the proxy, or the proxy is never full.

use crate::void::Void;
use memchr::memmem;

/// Where a head ends, the empty line included; `None` while it is not all there.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// The target of a request whose head is all there.
pub fn target(head: &[u8]) -> Option<&[u8]> {
    head.split(|byte| *byte == b' ').nth(1)
}

/// The body of the answer that `bytes` begin with; `None` while it is not all there.
///
/// # Errors
/// When it is not a 200 with a length, or more comes than was asked for.
pub fn answer(bytes: &[u8]) -> Result<Option<&[u8]>, Void> {
    let Some(end) = head_end(bytes) else { return Ok(None) };
    let (head, body) = bytes.split_at(end);
    let length = length_of_200(head)
        .ok_or_else(|| Void::because(format!("not an answer: {}", String::from_utf8_lossy(bytes))))?;
    match body.len().cmp(&length) {
        std::cmp::Ordering::Less => Ok(None),
        std::cmp::Ordering::Equal => Ok(Some(body)),
        std::cmp::Ordering::Greater => Err(Void::because("more bytes than the answer has")),
    }
}

/// Whether an answer of any status, whose head says its length, is all there; `None`: its head does not.
pub fn is_whole(bytes: &[u8]) -> Option<bool> {
    let Some(end) = head_end(bytes) else { return Some(false) };
    let (head, body) = bytes.split_at(end);
    let length = head.split(|byte| *byte == b'\n').find_map(content_length)?;
    Some(body.len() >= length)
}

/// How long the body of a 200 is; `None` if its head does not say, or is not one of a 200.
pub fn length_of_200(head: &[u8]) -> Option<usize> {
    let right = head.starts_with(b"HTTP/1.1 200 ");
    right.then(|| head.split(|byte| *byte == b'\n').find_map(content_length)).flatten()
}

fn content_length(line: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let (name, value) = line.split_at_checked(NAME.len())?;
    if !name.eq_ignore_ascii_case(NAME) {
        return None;
    }
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\nserver: x\r\nContent-Length: 3\r\n\r\nabc";

    #[test]
    fn an_answer_is_there_when_all_of_it_is() {
        for cut in 0..WHOLE.len() {
            assert_eq!(answer(&WHOLE[..cut]).unwrap(), None, "{cut}");
        }
        assert_eq!(answer(WHOLE).unwrap(), Some(&b"abc"[..]));
    }

    #[test]
    fn anything_but_a_200_of_known_length_is_void() {
        for wrong in ["HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"] {
            assert!(answer(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(answer(&[WHOLE, b"d"].concat()).is_err());
    }

    #[test]
    fn the_target_is_the_second_word() {
        assert_eq!(target(b"GET /a?b HTTP/1.1\r\n\r\n"), Some(&b"/a?b"[..]));
    }
}
