//! Messages and services as generated from `sdk/proto`, whose comments say what they mean.

macro_rules! generated {
    ($(#[$doc:meta])* $name:ident, $file:literal) => {
        $(#[$doc])*
        pub mod $name {
            #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
            #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
            include!(concat!(env!("OUT_DIR"), "/", $file));
        }
    };
}

generated!(
    /// `transom.plugin.v1`.
    v1, "transom.plugin.v1.rs"
);
generated!(
    /// MOSN's `proto`.
    mosn, "proto.rs"
);

/// The revision of `transom.plugin.v1` that this SDK was made with.
pub const REVISION: u32 = 1;
