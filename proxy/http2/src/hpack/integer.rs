//! Integers with a prefix (RFC 7541 section 5.1), and what is left of a block.

use super::HpackError;

/// Bytes after the prefix: five carry 35 bits, which is all that 32 bits need.
const MOST_BYTES: u32 = 5;

/// What is left of a block.
#[derive(Clone, Copy)]
pub struct Rest<'a>(pub &'a [u8]);

impl<'a> Rest<'a> {
    /// The next byte; `None` at the end.
    #[inline]
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next byte without taking it.
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next bytes.
    ///
    /// # Errors
    /// There are not that many.
    #[inline]
    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], HpackError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(HpackError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The integer that begins in the lowest `PREFIX` bits of `first`.
    ///
    /// # Errors
    /// More than 32 bits, also where they are zero but take more bytes than that.
    #[inline]
    pub fn integer<const PREFIX: u32>(&mut self, first: u8) -> Result<usize, HpackError> {
        let full = (1_u8 << PREFIX).wrapping_sub(1);
        match first & full {
            small if small < full => Ok(usize::from(small)),
            _ => self.long_integer(full),
        }
    }

    #[inline(never)]
    fn long_integer(&mut self, full: u8) -> Result<usize, HpackError> {
        let mut value = u64::from(full);
        for place in 0..MOST_BYTES {
            let byte = self.byte().ok_or(HpackError::Short)?;
            value += u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                let value = u32::try_from(value).map_err(|_| HpackError::Integer)?;
                return usize::try_from(value).map_err(|_| HpackError::Integer);
            }
        }
        Err(HpackError::Integer)
    }
}

/// Appends an integer whose first byte has `flags` above the lowest `PREFIX` bits.
#[inline]
pub fn put<const PREFIX: u32>(out: &mut Vec<u8>, flags: u8, value: usize) {
    let full = (1_u8 << PREFIX).wrapping_sub(1);
    match u8::try_from(value) {
        Ok(small) if small < full => out.push(flags | small),
        _ => {
            out.push(flags | full);
            let mut left = value - usize::from(full);
            while left >= 0x80 {
                out.push((left & 0x7f) as u8 | 0x80);
                left >>= 7;
            }
            out.push(left as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read<const PREFIX: u32>(bytes: &[u8]) -> Result<usize, HpackError> {
        let mut rest = Rest(bytes);
        let first = rest.byte().unwrap();
        rest.integer::<PREFIX>(first)
    }

    fn written<const PREFIX: u32>(flags: u8, value: usize) -> Vec<u8> {
        let mut out = Vec::new();
        put::<PREFIX>(&mut out, flags, value);
        out
    }

    #[test]
    fn the_examples_of_the_rfc() {
        assert_eq!(written::<5>(0, 10), [0x0a]);
        assert_eq!(written::<5>(0xe0, 1337), [0xff, 0x9a, 0x0a]);
        assert_eq!(written::<7>(0x80, 42), [0xaa]);
        assert_eq!(read::<5>(&[0xea]), Ok(10));
        assert_eq!(read::<5>(&[0x1f, 0x9a, 0x0a]), Ok(1337));
    }

    #[test]
    fn what_is_too_large_or_too_long_is_refused() {
        assert_eq!(read::<5>(&[0x1f]), Err(HpackError::Short));
        assert_eq!(read::<5>(&[0x1f, 0x80, 0x80]), Err(HpackError::Short));
        assert_eq!(read::<7>(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0x0f]), Err(HpackError::Integer));
        assert_eq!(read::<7>(&[0x7f, 0x80, 0xff, 0xff, 0xff, 0x0f]), Ok(u32::MAX as usize));
        assert_eq!(read::<7>(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0x7f]), Err(HpackError::Integer));
        assert_eq!(read::<7>(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), Err(HpackError::Integer));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value: u32) {
            let value = value as usize;
            prop_assert_eq!(read::<4>(&written::<4>(0x10, value)), Ok(value));
            prop_assert_eq!(read::<5>(&written::<5>(0x20, value)), Ok(value));
            prop_assert_eq!(read::<6>(&written::<6>(0x40, value)), Ok(value));
            prop_assert_eq!(read::<7>(&written::<7>(0x80, value)), Ok(value));
        }
    }
}
