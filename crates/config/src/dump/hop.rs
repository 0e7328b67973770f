//! What an `http` filter believes and tells as one hop of many, as JSON.

use serde_json::{Value, json};

use crate::{HopOptions, Trust};

/// The keys that it adds to those of `http`.
pub(super) fn hop(hop: &HopOptions) -> [(&'static str, Value); 5] {
    let (hops, networks) = match &hop.trust {
        Trust::Nobody => (0, Vec::new()),
        Trust::Hops(hops) => (*hops, Vec::new()),
        Trust::Networks(networks) => (0, networks.iter().map(ToString::to_string).collect()),
    };
    [
        (
            "forwarded",
            json!({
                "mode": hop.forwarded.mode.name(),
                "trusted_hops": hops,
                "trusted_networks": networks,
                "host": hop.forwarded.host,
                "port": hop.forwarded.port,
            }),
        ),
        (
            "request_id",
            json!(hop.request_id.map(|id| json!({
                "generate": id.generate,
                "preserve": id.preserve,
                "in_response": id.in_response,
            }))),
        ),
        (
            "trace",
            json!(hop.trace.map(|trace| json!({
                "generate": trace.generate,
                "sample": trace.sample,
                "span": trace.span,
                "trusted_only": trace.trusted_only,
            }))),
        ),
        ("via", json!(hop.via)),
        (
            "server",
            json!(hop.server.as_ref().map(|server| json!({
                "name": server.name,
                "overwrite": server.overwrite,
            }))),
        ),
    ]
}
