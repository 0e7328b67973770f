//! The configuration of `als`.

use std::time::Duration;

use transom_api::{Node, ParseError, Schema, Shape};

use crate::grpc::{TargetConfig, positive};
use crate::parse::parse_strings;

/// Envoy's defaults.
const BUFFER_SIZE: u64 = 16 << 10;
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// A few hundred records for each megabyte.
const MAX_PENDING: u64 = 1 << 20;

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) grpc: TargetConfig,
    pub(super) log_name: String,
    pub(super) node_id: String,
    pub(super) node_cluster: String,
    pub(super) buffer_size: usize,
    pub(super) flush_interval: Duration,
    pub(super) max_pending: usize,
    pub(super) request_headers: Vec<String>,
    pub(super) response_headers: Vec<String>,
    pub(super) response_trailers: Vec<String>,
}

impl Settings {
    pub(super) fn schema() -> Schema {
        let names = |what: &str| Schema::list(Schema::string()).describe(what);
        Schema::object()
            .required("grpc", TargetConfig::schema())
            .required(
                "log_name",
                Schema::string().describe("The name by which the server knows this log."),
            )
            .optional(
                "node",
                Schema::object()
                    .optional("id", Schema::string().describe("The name of this proxy."))
                    .optional("cluster", Schema::string().describe("The name of the group it belongs to."))
                    .describe("Who logs, told with the first message of each call."),
            )
            .optional(
                "buffer_size",
                Schema::new(Shape::Size)
                    .describe("How much each worker gathers before it sends. 0: every record goes at once.")
                    .or("16KiB"),
            )
            .optional(
                "flush_interval",
                Schema::new(Shape::Duration)
                    .describe("How long a record is kept at the most before it is sent.")
                    .or("1s"),
            )
            .optional(
                "max_pending",
                Schema::new(Shape::Size)
                    .describe("How much may wait on each worker for a server that is slow or away; further records are dropped and counted.")
                    .or("1MiB"),
            )
            .optional("additional_request_headers", names("Fields of the request that a record has besides."))
            .optional("additional_response_headers", names("Fields of the response that a record has besides."))
            .optional("additional_response_trailers", names("Trailers of the response that a record has besides."))
            .describe("Sends records to a server, by Envoy's access log service. In a listener's own access_logs they are of connections.")
    }

    pub(super) fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let grpc = TargetConfig::parse(fields.required("grpc")?)?;
        let log_name = fields.required("log_name")?.as_str()?.to_owned();
        let who = fields.optional("node");
        let buffer_size = fields.optional("buffer_size");
        let flush_interval = fields.optional("flush_interval");
        let max_pending = fields.optional("max_pending");
        let request_headers = parse_strings(fields.optional("additional_request_headers"))?;
        let response_headers = parse_strings(fields.optional("additional_response_headers"))?;
        let response_trailers = parse_strings(fields.optional("additional_response_trailers"))?;
        fields.finish()?;
        let (node_id, node_cluster) = match who {
            Some(who) => {
                let mut fields = who.as_fields()?;
                let mut text = |key| {
                    let node: Option<&Node> = fields.optional(key);
                    node.map_or(Ok(""), Node::as_str).map(str::to_owned)
                };
                let names = (text("id")?, text("cluster")?);
                fields.finish()?;
                names
            }
            None => (String::new(), String::new()),
        };
        let size = |node: Option<&Node>, default: u64| {
            let size = node.map_or(Ok(default), Node::as_size)?;
            Ok::<_, ParseError>(usize::try_from(size).unwrap_or(usize::MAX))
        };
        Ok(Self {
            grpc,
            log_name,
            node_id,
            node_cluster,
            buffer_size: size(buffer_size, BUFFER_SIZE)?,
            flush_interval: flush_interval.map_or(Ok(FLUSH_INTERVAL), positive)?,
            max_pending: size(max_pending, MAX_PENDING)?,
            request_headers: request_headers.unwrap_or_default(),
            response_headers: response_headers.unwrap_or_default(),
            response_trailers: response_trailers.unwrap_or_default(),
        })
    }
}
