//! `transom.plugin.v1`: the messages, clients and servers of Transom's own protocol, as generated from `sdk/proto/transom/plugin/v1`, whose
//! comments say what they mean.

#![allow(missing_docs, unreachable_pub)]
#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

include!(concat!(env!("OUT_DIR"), "/transom.plugin.v1.rs"));

/// The revision of the protocol's files that this was made with.
pub const REVISION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use transom_api::verdict;

    /// The numbers on the wire are the interface's, so that nothing has to be translated, and no side can translate wrongly.
    #[test]
    fn verdicts_have_the_interfaces_numbers() {
        for number in -1..10 {
            macro_rules! same {
                ($($name:ident),*) => {$(
                    let ours = $name::try_from(number).is_ok();
                    assert_eq!(verdict::$name::from_number(number).is_some(), ours, "{number}");
                )*};
            }
            same!(HeadersVerdict, DataVerdict, TrailersVerdict, NetworkVerdict);
        }
        assert_eq!(
            HeadersVerdict::HeadersStopAllIterationAndBuffer as i32,
            verdict::HeadersVerdict::StopAllIterationAndBuffer as i32
        );
        assert_eq!(
            DataVerdict::DataStopIterationNoBuffer as i32,
            verdict::DataVerdict::StopIterationNoBuffer as i32
        );
        assert_eq!(
            Phase::AfterChooseHost as u32,
            verdict::Phase::AfterChooseHost as u32
        );
        assert_eq!(
            Direction::Response as u32,
            verdict::Direction::Response as u32
        );
    }
}
