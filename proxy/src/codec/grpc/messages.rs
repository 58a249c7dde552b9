//! Counting gRPC messages as their bytes go by.
//!
//! Source: "gRPC over HTTP2": a flag byte, four bytes of length, the message.

/// Counts the messages of one direction of a stream.
#[derive(Debug, Default, Clone, Copy)]
pub struct MessageCounter {
    /// Bytes of the current prefix that have come: 0 to 5.
    prefix: u8,
    length: u32,
    /// Bytes of the current message that are still to come.
    left: u32,
    count: u64,
}

const PREFIX: u8 = 5;

impl MessageCounter {
    /// Messages that have come whole.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether nothing of a message has come that is not whole.
    pub fn is_between_messages(&self) -> bool {
        self.prefix == 0
    }

    /// Takes the next bytes of the stream.
    pub fn see(&mut self, mut data: &[u8]) {
        while let Some((&byte, rest)) = data.split_first() {
            if self.prefix < PREFIX {
                self.length = if self.prefix == 0 { 0 } else { self.length << 8 | u32::from(byte) };
                self.prefix += 1;
                data = rest;
                if self.prefix < PREFIX {
                    continue;
                }
                self.left = self.length;
            } else {
                let taken = data.len().min(self.left as usize);
                self.left -= taken as u32;
                data = &data[taken..];
            }
            if self.left == 0 {
                self.count += 1;
                self.prefix = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However the bytes are cut, the count is the number of messages.
        #[test]
        fn counts_whole_messages(lengths in prop::collection::vec(0usize..600, 0..20), cut in 1usize..40) {
            let mut bytes = Vec::new();
            for length in &lengths {
                bytes.push(0);
                bytes.extend((*length as u32).to_be_bytes());
                bytes.extend(std::iter::repeat_n(0xff, *length));
            }
            let mut counter = MessageCounter::default();
            bytes.chunks(cut).for_each(|chunk| counter.see(chunk));
            prop_assert_eq!(counter.count(), lengths.len() as u64);
            counter.see(&[0, 0, 0]);
            prop_assert_eq!(counter.count(), lengths.len() as u64);
        }
    }
}
