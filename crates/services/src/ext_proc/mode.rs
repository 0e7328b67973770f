//! Which parts of a message the server is sent.

use transom_api::{Node, ParseError, Schema, Shape};

use crate::proto::envoy::extensions::filters::http::ext_proc::v3::ProcessingMode;
use crate::proto::envoy::extensions::filters::http::ext_proc::v3::processing_mode as wire;

/// The modes of both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mode {
    pub(super) request: SideMode,
    pub(super) response: SideMode,
}

/// The modes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SideMode {
    pub(super) headers: bool,
    pub(super) body: BodyMode,
    pub(super) trailers: bool,
}

/// How a body is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum BodyMode {
    /// Not at all.
    #[default]
    None,
    /// Piece by piece, each of which is answered.
    Streamed,
    /// Whole; a body over the limit is refused.
    Buffered,
    /// Whole; of a body over the limit only its beginning.
    BufferedPartial,
    /// Piece by piece, and what comes back need not fit what was sent.
    FullDuplexStreamed,
}

const BODY_WORDS: [(&str, BodyMode); 5] = [
    ("none", BodyMode::None),
    ("streamed", BodyMode::Streamed),
    ("buffered", BodyMode::Buffered),
    ("buffered_partial", BodyMode::BufferedPartial),
    ("full_duplex_streamed", BodyMode::FullDuplexStreamed),
];

impl Default for Mode {
    fn default() -> Self {
        let side = SideMode {
            headers: true,
            body: BodyMode::None,
            trailers: false,
        };
        Self {
            request: side,
            response: side,
        }
    }
}

impl Mode {
    pub(super) fn schema() -> Schema {
        let send = |what: &str, default: &str| {
            Schema::new(Shape::OneOf(vec!["send", "skip"]))
                .describe(what)
                .or(default)
        };
        let body = |what: &str| {
            let words = BODY_WORDS.iter().map(|(word, _)| *word).collect();
            Schema::new(Shape::OneOf(words)).describe(what).or("none")
        };
        Schema::object()
            .optional(
                "request_header_mode",
                send("Whether the request's headers are sent.", "send"),
            )
            .optional(
                "response_header_mode",
                send("Whether the response's headers are sent.", "send"),
            )
            .optional(
                "request_body_mode",
                body("How the request's body is sent: not; piece by piece, each of which is answered; whole; whole up to buffer_limit; piece by piece with answers of the server's own choice."),
            )
            .optional(
                "response_body_mode",
                body("How the response's body is sent."),
            )
            .optional(
                "request_trailer_mode",
                send("Whether the request's trailers are sent.", "skip"),
            )
            .optional(
                "response_trailer_mode",
                send("Whether the response's trailers are sent.", "skip"),
            )
            .describe("What the server is sent of a request and its response.")
    }

    pub(super) fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let [
            request_headers,
            response_headers,
            request_body,
            response_body,
            request_trailers,
            response_trailers,
        ] = [
            "request_header_mode",
            "response_header_mode",
            "request_body_mode",
            "response_body_mode",
            "request_trailer_mode",
            "response_trailer_mode",
        ]
        .map(|key| fields.optional(key));
        fields.finish()?;
        Ok(Self {
            request: SideMode::parse(request_headers, request_body, request_trailers, "request")?,
            response: SideMode::parse(
                response_headers,
                response_body,
                response_trailers,
                "response",
            )?,
        })
    }

    /// What a server asks for. Request headers are past by then; those it does not mention are sent, trailers are not.
    pub(super) fn of_wire(wanted: &ProcessingMode) -> Self {
        let send = |mode: i32, default: bool| match wire::HeaderSendMode::try_from(mode) {
            Ok(wire::HeaderSendMode::Send) => true,
            Ok(wire::HeaderSendMode::Skip) => false,
            _ => default,
        };
        Self {
            request: SideMode {
                headers: send(wanted.request_header_mode, true),
                body: BodyMode::of_wire(wanted.request_body_mode),
                trailers: send(wanted.request_trailer_mode, false),
            },
            response: SideMode {
                headers: send(wanted.response_header_mode, true),
                body: BodyMode::of_wire(wanted.response_body_mode),
                trailers: send(wanted.response_trailer_mode, false),
            },
        }
    }

    /// The same but for the request's headers, which a server that asks for a mode has seen already.
    pub(super) fn is_like(self, other: Self) -> bool {
        let without = |mode: Self| Self {
            request: SideMode {
                headers: true,
                ..mode.request
            },
            ..mode
        };
        without(self) == without(other)
    }
}

impl SideMode {
    /// Whether anything is sent at all.
    pub(super) fn sends(self) -> bool {
        self.headers || self.body != BodyMode::None || self.trailers
    }

    fn parse(
        headers: Option<&Node>,
        body: Option<&Node>,
        trailers: Option<&Node>,
        side: &str,
    ) -> Result<Self, ParseError> {
        let mode = Self {
            headers: headers.map_or(Ok(true), parse_send)?,
            body: body.map_or(Ok(BodyMode::None), BodyMode::parse)?,
            trailers: trailers.map_or(Ok(false), parse_send)?,
        };
        if let Some(body) = body
            && mode.body == BodyMode::FullDuplexStreamed
            && !(mode.trailers && mode.headers)
        {
            return Err(body
                .error("full_duplex_streamed needs headers and trailers too, as the server says where the body ends")
                .with_help(format!("set {side}_trailer_mode: send, and leave {side}_header_mode as it is")));
        }
        Ok(mode)
    }
}

impl BodyMode {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let word = node.as_str()?;
        let found = BODY_WORDS.iter().find(|(known, _)| *known == word);
        found.map(|(_, mode)| *mode).ok_or_else(|| {
            let words = BODY_WORDS.map(|(word, _)| word);
            node.error(format!("{word:?} is no mode of a body"))
                .with_help(transom_api::node::known(word, "modes", &words))
        })
    }

    fn of_wire(mode: i32) -> Self {
        match wire::BodySendMode::try_from(mode) {
            Ok(wire::BodySendMode::Streamed) => Self::Streamed,
            Ok(wire::BodySendMode::Buffered) => Self::Buffered,
            Ok(wire::BodySendMode::BufferedPartial) => Self::BufferedPartial,
            Ok(wire::BodySendMode::FullDuplexStreamed) => Self::FullDuplexStreamed,
            _ => Self::None,
        }
    }

    pub(super) fn to_wire(self) -> i32 {
        match self {
            Self::None => wire::BodySendMode::None as i32,
            Self::Streamed => wire::BodySendMode::Streamed as i32,
            Self::Buffered => wire::BodySendMode::Buffered as i32,
            Self::BufferedPartial => wire::BodySendMode::BufferedPartial as i32,
            Self::FullDuplexStreamed => wire::BodySendMode::FullDuplexStreamed as i32,
        }
    }
}

fn parse_send(node: &Node) -> Result<bool, ParseError> {
    match node.as_str()? {
        "send" => Ok(true),
        "skip" => Ok(false),
        word => Err(node
            .error(format!("{word:?} is neither `send` nor `skip`"))
            .with_help("write send or skip")),
    }
}
