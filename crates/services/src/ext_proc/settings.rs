//! The configuration of `ext_proc`, of a listener and of a route.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use transom_api::{Node, ParseError, Schema, Shape};

use super::mode::{BodyMode, Mode};
use crate::grpc::{Target, TargetConfig};
use crate::headers::Shown;
use crate::names::Names;
use crate::parse::{flag, parse_flag, parse_status, parse_strings};
use crate::rules::Rules;

/// Envoy's default.
const MESSAGE_TIMEOUT: Duration = Duration::from_millis(200);
const DEFERRED_CLOSE: Duration = Duration::from_secs(5);
const BUFFER_LIMIT: u64 = 1 << 20;

/// The configuration of a listener.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) grpc: TargetConfig,
    pub(super) mode: Mode,
    pub(super) allow_mode_override: bool,
    pub(super) allowed_modes: Vec<Mode>,
    pub(super) failure_mode_allow: bool,
    pub(super) status_on_error: u16,
    pub(super) message_timeout: Duration,
    pub(super) max_message_timeout: Option<Duration>,
    pub(super) rules: Rules,
    pub(super) shown: Shown,
    pub(super) request_attributes: Vec<String>,
    pub(super) response_attributes: Vec<String>,
    pub(super) metadata: MetadataOptions,
    pub(super) disable_immediate_response: bool,
    pub(super) route_cache_action: RouteCacheAction,
    pub(super) observability_mode: bool,
    pub(super) deferred_close_timeout: Duration,
    pub(super) eager_bodies: bool,
    pub(super) buffer_limit: u64,
}

/// The configuration of a route, as each of its streams holds it.
#[derive(Clone, Debug)]
pub(super) struct Route(pub(super) Arc<RouteSettings>);

/// The configuration of a route.
#[derive(Clone, Debug)]
pub(super) struct RouteSettings {
    pub(super) disabled: bool,
    pub(super) grpc: Option<TargetConfig>,
    /// What `grpc` became.
    pub(super) target: Option<Arc<Target>>,
    pub(super) call_metadata: HeaderMap,
    pub(super) mode: Option<Mode>,
    pub(super) failure_mode_allow: Option<bool>,
    pub(super) request_attributes: Option<Vec<String>>,
    pub(super) response_attributes: Option<Vec<String>>,
    pub(super) metadata: Option<MetadataOptions>,
}

/// Namespaces of dynamic metadata that go to the server, and those that it may set.
#[derive(Clone, Debug, Default)]
pub(super) struct MetadataOptions {
    pub(super) forwarding: Vec<String>,
    pub(super) receiving: Vec<String>,
}

/// What becomes of the route when a server changed the request's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteCacheAction {
    /// What the server says.
    Default,
    /// It is looked for again.
    Clear,
    /// It stays.
    Retain,
}

const ACTIONS: [(&str, RouteCacheAction); 3] = [
    ("default", RouteCacheAction::Default),
    ("clear", RouteCacheAction::Clear),
    ("retain", RouteCacheAction::Retain),
];

fn strings(what: &str) -> Schema {
    Schema::list(Schema::string()).describe(what)
}

impl Settings {
    pub(super) fn schema() -> Schema {
        Schema::object()
            .required("grpc", TargetConfig::schema())
            .optional("processing_mode", Mode::schema())
            .optional(
                "allow_mode_override",
                flag("The server may ask for another mode in its answers to headers."),
            )
            .optional(
                "allowed_override_modes",
                Schema::list(Mode::schema()).describe("The modes that it may ask for; without them any."),
            )
            .optional(
                "failure_mode_allow",
                flag("When the server fails, the stream goes on without it; else the use's on_failure holds."),
            )
            .optional(
                "status_on_error",
                Schema::new(Shape::Integer(200, 599))
                    .describe("Status of the answer when the server fails and on_failure is closed. When it is late, the status is 504.")
                    .or(500),
            )
            .optional(
                "message_timeout",
                Schema::new(Shape::Duration)
                    .describe("How long the server may take to answer a message.")
                    .or("200ms"),
            )
            .optional(
                "max_message_timeout",
                Schema::new(Shape::Duration)
                    .describe("How long it may ask for in place of that, once for each message. Without it that is ignored."),
            )
            .optional("mutation_rules", Rules::schema())
            .optional(
                "forward_rules",
                Schema::object()
                    .optional("allowed_headers", Names::schema().describe("Only these header fields are sent."))
                    .optional("disallowed_headers", Names::schema().describe("These header fields are not sent."))
                    .describe("Which header fields the server is sent: names, or patterns {prefix: …}, {suffix: …}, {contains: …}, {regex: …}."),
            )
            .optional("request_attributes", strings("Attributes that go along with the request's first message."))
            .optional("response_attributes", strings("Attributes that go along with the response's first message."))
            .optional("metadata_options", MetadataOptions::schema())
            .optional(
                "disable_immediate_response",
                flag("The server may not answer in place of the host: an attempt is a failure."),
            )
            .optional(
                "route_cache_action",
                Schema::new(Shape::OneOf(vec!["default", "clear", "retain"]))
                    .describe("Whether the route is looked for again after the server has changed the request's headers: when it says so, always, never.")
                    .or("default"),
            )
            .optional(
                "observability_mode",
                flag("The server only watches: nothing waits for it, and its answers are ignored."),
            )
            .optional(
                "deferred_close_timeout",
                Schema::new(Shape::Duration)
                    .describe("In that mode, how long a call stays open after its stream has ended, for what is on its way.")
                    .or("5s"),
            )
            .optional(
                "send_body_without_waiting_for_header_response",
                flag("In the mode streamed, pieces of a body are sent before the answer to the headers has come."),
            )
            .optional(
                "buffer_limit",
                Schema::new(Shape::Size)
                    .describe("How much of a body is kept in the modes that buffer.")
                    .or("1MiB"),
            )
            .describe("Has a server see and change requests and responses, by Envoy's protocol ext_proc.")
    }

    pub(super) fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let grpc = TargetConfig::parse(fields.required("grpc")?)?;
        let mode = fields.optional("processing_mode");
        let allow_mode_override = parse_flag(fields.optional("allow_mode_override"))?;
        let allowed_modes = fields.optional("allowed_override_modes");
        let failure_mode_allow = parse_flag(fields.optional("failure_mode_allow"))?;
        let status_on_error = fields.optional("status_on_error");
        let message_timeout = fields.optional("message_timeout");
        let max_message_timeout = fields.optional("max_message_timeout");
        let rules = fields.optional("mutation_rules");
        let forward_rules = fields.optional("forward_rules");
        let request_attributes = fields.optional("request_attributes");
        let response_attributes = fields.optional("response_attributes");
        let metadata = fields.optional("metadata_options");
        let disable_immediate_response = parse_flag(fields.optional("disable_immediate_response"))?;
        let route_cache_action = fields.optional("route_cache_action");
        let observability = fields.optional("observability_mode");
        let deferred_close_timeout = fields.optional("deferred_close_timeout");
        let eager = fields.optional("send_body_without_waiting_for_header_response");
        let buffer_limit = fields.optional("buffer_limit");
        fields.finish()?;
        let positive = crate::grpc::positive;
        let mode = mode.map_or_else(|| Ok(Mode::default()), Mode::parse)?;
        let observability_mode = parse_flag(observability)?;
        let buffers = |body| matches!(body, BodyMode::Buffered | BodyMode::BufferedPartial);
        if observability_mode && (buffers(mode.request.body) || buffers(mode.response.body)) {
            return Err(observability
                .unwrap_or(node)
                .error("a server that only watches can have bodies only as they pass")
                .with_help("use the mode streamed for bodies, or none"));
        }
        let max_message_timeout = max_message_timeout.map(positive).transpose()?;
        Ok(Self {
            grpc,
            mode,
            allow_mode_override,
            allowed_modes: match allowed_modes {
                Some(list) => list
                    .as_list()?
                    .iter()
                    .map(Mode::parse)
                    .collect::<Result<_, _>>()?,
                None => Vec::new(),
            },
            failure_mode_allow,
            status_on_error: status_on_error.map_or(Ok(500), parse_status)?,
            message_timeout: message_timeout.map_or(Ok(MESSAGE_TIMEOUT), positive)?,
            max_message_timeout,
            rules: rules.map_or_else(|| Ok(Rules::default()), Rules::parse)?,
            shown: forward_rules.map_or_else(|| Ok(Shown::default()), parse_shown)?,
            request_attributes: parse_strings(request_attributes)?.unwrap_or_default(),
            response_attributes: parse_strings(response_attributes)?.unwrap_or_default(),
            metadata: metadata
                .map_or_else(|| Ok(MetadataOptions::default()), MetadataOptions::parse)?,
            disable_immediate_response,
            route_cache_action: route_cache_action
                .map_or(Ok(RouteCacheAction::Default), RouteCacheAction::parse)?,
            observability_mode,
            deferred_close_timeout: deferred_close_timeout.map_or(Ok(DEFERRED_CLOSE), positive)?,
            eager_bodies: parse_flag(eager)?,
            buffer_limit: buffer_limit.map_or(Ok(BUFFER_LIMIT), Node::as_size)?,
        })
    }
}

impl RouteSettings {
    pub(super) fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let disabled = parse_flag(fields.optional("disabled"))?;
        let grpc = fields
            .optional("grpc")
            .map(TargetConfig::parse)
            .transpose()?;
        let call_metadata = fields.optional("grpc_initial_metadata");
        let mode = fields
            .optional("processing_mode")
            .map(Mode::parse)
            .transpose()?;
        let failure_mode_allow = fields
            .optional("failure_mode_allow")
            .map(Node::as_bool)
            .transpose()?;
        let request_attributes = parse_strings(fields.optional("request_attributes"))?;
        let response_attributes = parse_strings(fields.optional("response_attributes"))?;
        let metadata = fields
            .optional("metadata_options")
            .map(MetadataOptions::parse)
            .transpose()?;
        fields.finish()?;
        Ok(Self {
            disabled,
            grpc,
            target: None,
            call_metadata: call_metadata
                .map_or_else(|| Ok(HeaderMap::new()), crate::grpc::parse_metadata)?,
            mode,
            failure_mode_allow,
            request_attributes,
            response_attributes,
            metadata,
        })
    }
}

impl MetadataOptions {
    fn schema() -> Schema {
        Schema::object()
            .optional(
                "forwarding_namespaces",
                strings("Namespaces of dynamic metadata that the server is sent."),
            )
            .optional(
                "receiving_namespaces",
                strings("Namespaces of dynamic metadata that the server may set."),
            )
            .describe("Dynamic metadata that goes to the server and comes from it.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let forwarding = parse_strings(fields.optional("forwarding_namespaces"))?;
        let receiving = parse_strings(fields.optional("receiving_namespaces"))?;
        fields.finish()?;
        Ok(Self {
            forwarding: forwarding.unwrap_or_default(),
            receiving: receiving.unwrap_or_default(),
        })
    }
}

impl RouteCacheAction {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let word = node.as_str()?;
        let found = ACTIONS.iter().find(|(known, _)| *known == word);
        found.map(|(_, action)| *action).ok_or_else(|| {
            node.error(format!("{word:?} is no route_cache_action"))
                .with_help("write default, clear or retain")
        })
    }
}

fn parse_shown(node: &Node) -> Result<Shown, ParseError> {
    let mut fields = node.as_fields()?;
    let allowed = fields
        .optional("allowed_headers")
        .map(Names::parse)
        .transpose()?;
    let disallowed = fields
        .optional("disallowed_headers")
        .map(Names::parse)
        .transpose()?;
    fields.finish()?;
    Ok(Shown {
        allowed: allowed.unwrap_or_default(),
        disallowed: disallowed.unwrap_or_default(),
    })
}
