//! The configuration of `ext_authz`, of a listener and of a route.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use transom_api::{Node, ParseError, Schema, Shape, field};

use crate::grpc::{TargetConfig, positive};
use crate::headers::Shown;
use crate::names::Names;
use crate::parse::{flag, parse_flag, parse_status, parse_strings};
use crate::rules::Rules;

/// Envoy's default.
const TIMEOUT: Duration = Duration::from_millis(200);

/// The configuration of a listener.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) service: Service,
    pub(super) timeout: Duration,
    pub(super) shown: Shown,
    pub(super) body: Option<BodySettings>,
    pub(super) failure_mode_allow: bool,
    pub(super) mark_failures: bool,
    pub(super) status_on_error: u16,
    pub(super) clear_route_cache: bool,
    pub(super) rules: Option<Rules>,
    pub(super) metadata_namespaces: Vec<String>,
    pub(super) include_tls_session: bool,
    pub(super) include_peer_certificate: bool,
    pub(super) raw_headers: bool,
}

/// Whom to ask.
#[derive(Clone, Debug)]
pub(super) enum Service {
    Grpc(Box<TargetConfig>),
    Http(Arc<HttpService>),
}

/// A service that is asked by HTTP.
#[derive(Clone, Debug)]
pub(super) struct HttpService {
    pub(super) cluster: String,
    pub(super) authority: Option<String>,
    pub(super) path_prefix: String,
    pub(super) added: Vec<(String, String)>,
    pub(super) to_upstream: Names,
    pub(super) to_upstream_appended: Names,
    pub(super) to_client: Option<Names>,
    pub(super) to_client_on_success: Names,
    pub(super) to_metadata: Names,
}

/// How much of a body the service sees.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodySettings {
    pub(super) most: u64,
    pub(super) partial: bool,
    pub(super) as_bytes: bool,
}

/// The configuration of a route, as each of its streams holds it.
#[derive(Clone, Debug)]
pub(super) struct Route(pub(super) Arc<RouteSettings>);

/// The configuration of a route.
#[derive(Clone, Debug, Default)]
pub(super) struct RouteSettings {
    pub(super) disabled: bool,
    pub(super) context_extensions: HashMap<String, String>,
    pub(super) without_body: bool,
    pub(super) body: Option<BodySettings>,
}

impl Settings {
    pub(super) fn schema() -> Schema {
        Schema::object()
            .optional("grpc", TargetConfig::schema())
            .optional("http", HttpService::schema())
            .optional(
                "timeout",
                Schema::new(Shape::Duration)
                    .describe("How long the service may take.")
                    .or("200ms"),
            )
            .optional(
                "allowed_headers",
                Names::schema().describe("Header fields that the service is sent: names, or patterns {prefix: …}, {suffix: …}, {contains: …}, {regex: …}. By gRPC without it all; by HTTP these beside authorization."),
            )
            .optional(
                "disallowed_headers",
                Names::schema().describe("Header fields that the service is not sent."),
            )
            .optional("with_request_body", BodySettings::schema())
            .optional(
                "failure_mode_allow",
                flag("When the service fails, requests pass; else the use's on_failure holds."),
            )
            .optional(
                "failure_mode_allow_header_add",
                flag("Requests that pass so get the field x-envoy-auth-failure-mode-allowed: true."),
            )
            .optional(
                "status_on_error",
                Schema::new(Shape::Integer(200, 599))
                    .describe("Status of the answer when the service fails and on_failure is closed.")
                    .or(403),
            )
            .optional(
                "clear_route_cache",
                flag("The route is looked for again when the service has changed the request's headers."),
            )
            .optional("mutation_rules", Rules::schema())
            .optional(
                "metadata_context_namespaces",
                Schema::list(Schema::string())
                    .describe("Namespaces of dynamic metadata that the service is sent (gRPC)."),
            )
            .optional(
                "include_tls_session",
                flag("The service is sent the name that the client asked for in its TLS handshake (gRPC)."),
            )
            .optional(
                "include_peer_certificate",
                flag("The service is sent the certificate that the client has shown in its TLS handshake, in PEM and URL-encoded (gRPC)."),
            )
            .optional(
                "encode_raw_headers",
                flag("Header fields are sent as a list with their bytes, in place of a map of texts in which fields of one name are joined (gRPC)."),
            )
            .describe("Asks a service whether a request may pass, by Envoy's protocol ext_authz. One of `grpc` and `http` must be given.")
    }

    pub(super) fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let grpc = fields.optional("grpc");
        let http = fields.optional("http");
        let timeout = fields.optional("timeout");
        let allowed = fields
            .optional("allowed_headers")
            .map(Names::parse)
            .transpose()?;
        let disallowed = fields
            .optional("disallowed_headers")
            .map(Names::parse)
            .transpose()?;
        let body = fields
            .optional("with_request_body")
            .map(BodySettings::parse)
            .transpose()?;
        let failure_mode_allow = parse_flag(fields.optional("failure_mode_allow"))?;
        let mark_failures = parse_flag(fields.optional("failure_mode_allow_header_add"))?;
        let status_on_error = fields.optional("status_on_error");
        let clear_route_cache = parse_flag(fields.optional("clear_route_cache"))?;
        let rules = fields
            .optional("mutation_rules")
            .map(Rules::parse)
            .transpose()?;
        let metadata_namespaces = parse_strings(fields.optional("metadata_context_namespaces"))?;
        let include_tls_session = parse_flag(fields.optional("include_tls_session"))?;
        let include_peer_certificate = parse_flag(fields.optional("include_peer_certificate"))?;
        let raw_headers = parse_flag(fields.optional("encode_raw_headers"))?;
        fields.finish()?;
        let service = match (grpc, http) {
            (Some(grpc), None) => Service::Grpc(Box::new(TargetConfig::parse(grpc)?)),
            (None, Some(http)) => Service::Http(Arc::new(HttpService::parse(http)?)),
            (None, None) => {
                return Err(node
                    .error("no service is given that could be asked")
                    .with_help("write grpc: {address: 127.0.0.1:9000} or http: {cluster: auth}"));
            }
            (Some(_), Some(http)) => {
                return Err(http
                    .error("`grpc` and `http` are two services, and one is asked")
                    .with_help("keep one of them"));
            }
        };
        Ok(Self {
            service,
            timeout: timeout.map_or(Ok(TIMEOUT), positive)?,
            shown: Shown {
                allowed: allowed.unwrap_or_default(),
                disallowed: disallowed.unwrap_or_default(),
            },
            body,
            failure_mode_allow,
            mark_failures,
            status_on_error: status_on_error.map_or(Ok(403), parse_status)?,
            clear_route_cache,
            rules,
            metadata_namespaces: metadata_namespaces.unwrap_or_default(),
            include_tls_session,
            include_peer_certificate,
            raw_headers,
        })
    }
}

impl HttpService {
    fn schema() -> Schema {
        let names = |what: &str| Names::schema().describe(what);
        Schema::object()
            .required("cluster", Schema::string().describe("The cluster where the service is."))
            .optional(
                "authority",
                Schema::string().describe("The Host of the question. Default: the request's own."),
            )
            .optional(
                "path_prefix",
                Schema::string().describe("What is put before the request's path in the question."),
            )
            .optional(
                "headers_to_add",
                Schema::map_of(Schema::string()).describe("Fields that every question carries."),
            )
            .optional(
                "allowed_upstream_headers",
                names("Fields of a good answer that are set on the request."),
            )
            .optional(
                "allowed_upstream_headers_to_append",
                names("Fields of a good answer that are added to the request."),
            )
            .optional(
                "allowed_client_headers",
                names("Fields of a bad answer that the client gets; without it all of them."),
            )
            .optional(
                "allowed_client_headers_on_success",
                names("Fields of a good answer that are added to the client's response."),
            )
            .optional(
                "dynamic_metadata_from_headers",
                names("Fields of a good answer that become dynamic metadata."),
            )
            .describe("A service that is asked by HTTP: 200 lets a request pass, 5xx is a failure, any other status is the client's answer.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let cluster = fields.required("cluster")?.as_str()?.to_owned();
        let authority = fields.optional("authority");
        let path_prefix = fields.optional("path_prefix");
        let added = fields.optional("headers_to_add");
        let mut names = |key| fields.optional(key).map(Names::parse).transpose();
        let to_upstream = names("allowed_upstream_headers")?;
        let to_upstream_appended = names("allowed_upstream_headers_to_append")?;
        let to_client = names("allowed_client_headers")?;
        let to_client_on_success = names("allowed_client_headers_on_success")?;
        let to_metadata = names("dynamic_metadata_from_headers")?;
        fields.finish()?;
        let path_prefix = match path_prefix {
            Some(node) if node.as_str()?.starts_with('/') => node.as_str()?.to_owned(),
            Some(node) => return Err(node.error("a path begins with a slash")),
            None => String::new(),
        };
        let mut fixed = Vec::new();
        for (key, value) in added.map_or(Ok(&[][..]), Node::as_entries)? {
            let name = key.name.to_ascii_lowercase();
            if !field::is_name(name.as_bytes()) || field::is_reserved(name.as_bytes()) {
                return Err(ParseError {
                    span: key.span,
                    ..ParseError::new(format!("`{}` cannot be set on a question", key.name))
                });
            }
            let text = value.as_str()?;
            if !field::is_value(text.as_bytes()) {
                return Err(value.error("this is no value of a field"));
            }
            fixed.push((name, text.to_owned()));
        }
        Ok(Self {
            cluster,
            authority: authority
                .map(|node| node.as_str().map(str::to_owned))
                .transpose()?,
            path_prefix,
            added: fixed,
            to_upstream: to_upstream.unwrap_or_default(),
            to_upstream_appended: to_upstream_appended.unwrap_or_default(),
            to_client,
            to_client_on_success: to_client_on_success.unwrap_or_default(),
            to_metadata: to_metadata.unwrap_or_default(),
        })
    }
}

impl BodySettings {
    fn schema() -> Schema {
        Schema::object()
            .required(
                "max_request_bytes",
                Schema::new(Shape::Size).describe("How much of a body the service is sent."),
            )
            .optional(
                "allow_partial_message",
                flag("Of a longer body it is sent the beginning; else the request is answered with 413."),
            )
            .optional(
                "pack_as_bytes",
                flag("The body goes as bytes, in place of a text, which must be UTF-8 (gRPC)."),
            )
            .describe("The service is sent the request's body too.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let most = fields.required("max_request_bytes")?;
        let partial = parse_flag(fields.optional("allow_partial_message"))?;
        let as_bytes = parse_flag(fields.optional("pack_as_bytes"))?;
        fields.finish()?;
        if most.as_size()? == 0 {
            return Err(most
                .error("a service that is sent nothing of a body needs no body")
                .with_help("leave with_request_body out"));
        }
        Ok(Self {
            most: most.as_size()?,
            partial,
            as_bytes,
        })
    }
}

impl RouteSettings {
    pub(super) fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let disabled = parse_flag(fields.optional("disabled"))?;
        let extensions = fields.optional("context_extensions");
        let without_body = parse_flag(fields.optional("disable_request_body_buffering"))?;
        let body = fields
            .optional("with_request_body")
            .map(BodySettings::parse)
            .transpose()?;
        fields.finish()?;
        let mut context_extensions = HashMap::new();
        for (key, value) in extensions.map_or(Ok(&[][..]), Node::as_entries)? {
            context_extensions.insert(key.name.clone(), value.as_str()?.to_owned());
        }
        Ok(Self {
            disabled,
            context_extensions,
            without_body,
            body,
        })
    }
}
