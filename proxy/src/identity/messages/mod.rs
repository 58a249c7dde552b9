//! The messages of those who issue identities, as far as they are used here: field numbers are those of the published `.proto` files.
//! What is not named is skipped, as protobuf wants it.
//!
//! Invariant: a message that holds a key has no `Debug`, and is wiped.

pub mod istio;
pub mod sds;
pub mod spiffe;

#[cfg(test)]
mod tests {
    use super::{sds, spiffe};
    use prost::Message;
    use zeroize::ZeroizeOnDrop;

    fn is_wiped<T: ZeroizeOnDrop + Message>() {}

    #[test]
    fn what_may_hold_a_key_is_wiped() {
        is_wiped::<sds::Any>();
        is_wiped::<sds::DataSource>();
        is_wiped::<spiffe::X509Svid>();
    }
}
