//! `compressor`: compresses responses for clients that accept it, with gzip, Brotli or Zstandard.
//!
//! | key | default | what |
//! |---|---|---|
//! | `algorithms` | `[zstd, br, gzip]` | what may be used; among those that a client likes equally, the first |
//! | `content_types` | text, scripts, JSON, XML, SVG, WebAssembly | what is compressed: `text/html`, `text/*`; parameters do not matter |
//! | `min_bytes` | 256 | shorter bodies are left as they are; one of unknown length is compressed |
//! | `gzip_level` | 4 | 1 (quick) to 9 (small) |
//! | `brotli_level` | 3 | 0 to 6 |
//! | `zstd_level` | 3 | 1 to 9 |
//!
//! ```yaml
//! stream_filters:
//!   - {name: compressor, config: {algorithms: [br, gzip], content_types: ["text/*", application/json]}}
//! ```
//!
//! The client's `accept-encoding` decides, with its weights (RFC 9110 section 12.5.3); where `identity` weighs more than
//! what the proxy can do, nothing is done. A response is left as it is when it has no body (to HEAD, 204, 304), is a part
//! (206, `content-range`), has a `content-encoding` already, or says `cache-control: no-transform`.
//!
//! A compressed response gets `content-encoding`, loses its `content-length`, and its strong `etag` becomes a weak one,
//! because the bytes are others; `accept-ranges` and digests of the bytes are removed. A 304 to a client that asked with
//! such a weakened `etag` is told it weak, too. `vary: accept-encoding` is on all responses that could be compressed,
//! whether the client accepts it or not.
//!
//! The body is compressed as it comes and each piece is sent on at once, so that events reach the client when they happen.
//! A response that is being compressed holds up to about 1.2 MiB of memory.
//!
//! Where a page mixes a secret with what a stranger can put into it, the length of the compressed page tells of the secret
//! (the attack BREACH): leave the filter out of such routes.
//!
//! A route's configuration has the same keys and holds in place of the listener's.
//!
//! | metric | what |
//! |---|---|
//! | `transom_compressor_compressed_total{filter}` | responses compressed |
//! | `transom_compressor_not_compressed_total{filter}` | responses left as they were |
//! | `transom_compressor_bytes_in_total{filter}` | bytes before |
//! | `transom_compressor_bytes_out_total{filter}` | bytes after |

mod accept;
mod encoder;

use std::sync::Arc;

use transom_api::builtin::Builtin;
use transom_api::{
    Counter, DataVerdict, Direction, FilterError, HeaderError, Headers, HeadersMut, HeadersVerdict,
    Level, Node, ParseError, PrepareContext, PrepareError, Schema, Shape, Stream, StreamFilter,
    TrailersVerdict, Value, Wants,
};

use self::accept::choose;
use self::encoder::{Coding, Encoder, Levels};
use crate::tunnel;
use crate::vary;

/// Measured on text and JSON, pieces of 16 KiB, each flushed: gzip 4, Brotli 3 and Zstandard 3 take 0.05 to 0.2 ms for a piece
/// and make it a sixth to a third as large; the highest levels that can be chosen take up to 0.7 ms, and Brotli's next
/// ones would take more than the millisecond that a worker's turn may last.
const LEVELS: Levels = Levels {
    gzip: 4,
    brotli: 3,
    zstd: 3,
};

/// Below it the frame of a coding and the loss of `content-length` cost more than is gained.
const MIN_BYTES: u64 = 256;

/// What is worth it: Envoy's list, and what the web has named anew since.
const CONTENT_TYPES: [&str; 11] = [
    "application/javascript",
    "application/json",
    "application/wasm",
    "application/xhtml+xml",
    "application/xml",
    "image/svg+xml",
    "text/css",
    "text/html",
    "text/javascript",
    "text/plain",
    "text/xml",
];

/// The configuration of a listener or of a route. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Compressor {
    policy: Arc<Policy>,
    /// Of the listener's configuration only.
    metrics: Option<CompressorMetrics>,
}

#[derive(Debug)]
struct Policy {
    algorithms: Vec<Coding>,
    content_types: Vec<String>,
    min_bytes: u64,
    levels: Levels,
}

#[derive(Clone, Copy, Debug)]
struct CompressorMetrics {
    compressed: Counter,
    not_compressed: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
}

impl Builtin for Compressor {
    type Filter = CompressorFilter;

    fn schema() -> Schema {
        let level = |least, most, default: u8| {
            Schema::new(Shape::Integer(least, most))
                .describe("Low is quick, high makes small.")
                .or(i64::from(default))
        };
        let texts = |items: &[&str]| Node::list(items.iter().map(|item| Node::from(*item)));
        Schema::object()
            .optional(
                "algorithms",
                Schema::list(Schema::new(Shape::OneOf(vec!["zstd", "br", "gzip"])))
                    .describe("What may be used; among those that a client likes equally, the first.")
                    .or(texts(&["zstd", "br", "gzip"])),
            )
            .optional(
                "content_types",
                Schema::list(Schema::string())
                    .describe("What is compressed: text/html, text/*; parameters do not matter.")
                    .or(texts(&CONTENT_TYPES)),
            )
            .optional(
                "min_bytes",
                Schema::new(Shape::Size)
                    .describe("Shorter bodies are left as they are; one of unknown length is compressed.")
                    .or(MIN_BYTES as i64),
            )
            .optional("gzip_level", level(1, 9, LEVELS.gzip))
            .optional("brotli_level", level(0, 6, LEVELS.brotli))
            .optional("zstd_level", level(1, 9, LEVELS.zstd))
            .describe("Compresses responses for clients that accept it. A route's configuration holds in place of the listener's.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let algorithms = fields.optional("algorithms");
        let content_types = fields.optional("content_types");
        let min_bytes = fields.optional("min_bytes");
        let gzip = fields.optional("gzip_level");
        let brotli = fields.optional("brotli_level");
        let zstd = fields.optional("zstd_level");
        fields.finish()?;
        let level = |node: Option<&Node>, range: std::ops::RangeInclusive<i64>, default| {
            let Some(node) = node else { return Ok(default) };
            node.as_integer_in(range)?;
            node.as_integer::<u8>()
        };
        let policy = Policy {
            algorithms: algorithms.map_or_else(|| Ok(Coding::ALL.to_vec()), parse_algorithms)?,
            content_types: content_types.map_or_else(
                || Ok(CONTENT_TYPES.map(str::to_owned).to_vec()),
                parse_content_types,
            )?,
            min_bytes: min_bytes.map_or(Ok(MIN_BYTES), Node::as_size)?,
            levels: Levels {
                gzip: level(gzip, 1..=9, LEVELS.gzip)?,
                brotli: level(brotli, 0..=6, LEVELS.brotli)?,
                zstd: level(zstd, 1..=9, LEVELS.zstd)?,
            },
        };
        Ok(Self {
            policy: Arc::new(policy),
            metrics: None,
        })
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        let counter = |name, help| {
            let labels = [("filter", &*context.instance)];
            context.metrics.counter(name, help, &labels)
        };
        self.metrics = Some(CompressorMetrics {
            compressed: counter(
                "compressor_compressed_total",
                "Responses that compressor compressed.",
            )?,
            not_compressed: counter(
                "compressor_not_compressed_total",
                "Responses that compressor left as they were.",
            )?,
            bytes_in: counter(
                "compressor_bytes_in_total",
                "Bytes of compressed responses before.",
            )?,
            bytes_out: counter(
                "compressor_bytes_out_total",
                "Bytes of compressed responses after.",
            )?,
        });
        Ok(())
    }

    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS
            .and(Wants::RESPONSE_HEADERS)
            .and(RESPONSE_BODY)
    }

    fn filter(&self) -> CompressorFilter {
        CompressorFilter {
            config: self.clone(),
            coding: None,
            encoder: None,
        }
    }
}

/// What a stream does without whose response is not compressed.
const RESPONSE_BODY: Wants = Wants::RESPONSE_BODY
    .and(Wants::RESPONSE_TRAILERS)
    .and(Wants::CHANGES_RESPONSE_LENGTH);

/// The filter of a stream.
#[derive(Debug)]
pub struct CompressorFilter {
    config: Compressor,
    /// What the client likes best. Kept, because a later filter may change the request.
    coding: Option<Coding>,
    encoder: Option<Encoder>,
}

impl StreamFilter for CompressorFilter {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        let policy = self.policy(stream);
        // The bytes of a tunnel are the two ends' own.
        if !tunnel::is_asked(&stream.request()) {
            self.coding = choose(&policy.algorithms, &stream.request());
        }
        HeadersVerdict::Continue
    }

    fn response_headers(&mut self, stream: &mut Stream<'_>, end: bool) -> HeadersVerdict {
        let policy = self.policy(stream);
        if let Err(error) = self.begin(&policy, stream, end) {
            stream.fail(FilterError::broken(format!(
                "cannot say that the response is compressed: {error}"
            )));
        }
        if self.encoder.is_none() {
            stream.forgo(RESPONSE_BODY);
        }
        self.count(stream, |metrics| match &self.encoder {
            Some(_) => (metrics.compressed, 1),
            None => (metrics.not_compressed, 1),
        });
        HeadersVerdict::Continue
    }

    fn response_body(&mut self, stream: &mut Stream<'_>, end: bool) -> DataVerdict {
        let Some(mut encoder) = self.encoder.take() else {
            return DataVerdict::Continue;
        };
        let body = stream.body(Direction::Response);
        let before = body.len();
        let compressed = body
            .chunks()
            .try_for_each(|chunk| encoder.write(&chunk))
            .and_then(|()| {
                if end {
                    return encoder.finish();
                }
                let piece = encoder.flush();
                self.encoder = Some(encoder);
                piece
            });
        match compressed {
            Ok(bytes) => {
                self.count_bytes(stream, before, bytes.len());
                // Cannot fail: the length is free.
                let _ = stream.body_mut(Direction::Response).replace(bytes);
            }
            Err(error) => give_up(stream, &error),
        }
        DataVerdict::Continue
    }

    fn response_trailers(&mut self, stream: &mut Stream<'_>) -> TrailersVerdict {
        let Some(encoder) = self.encoder.take() else {
            return TrailersVerdict::Continue;
        };
        match encoder.finish() {
            Ok(bytes) => {
                self.count_bytes(stream, 0, bytes.len());
                // Cannot fail: the body ends behind these bytes.
                let _ = stream.inject(Direction::Response, &bytes, false);
            }
            Err(error) => give_up(stream, &error),
        }
        TrailersVerdict::Continue
    }
}

impl CompressorFilter {
    fn policy(&self, stream: &Stream<'_>) -> Arc<Policy> {
        let route = stream.route_config::<Compressor>();
        Arc::clone(&route.unwrap_or(&self.config).policy)
    }

    /// Begins to compress the response, if that is to be done.
    fn begin(
        &mut self,
        policy: &Policy,
        stream: &mut Stream<'_>,
        end: bool,
    ) -> Result<(), HeaderError> {
        self.confirm(stream)?;
        if !policy.fits(&stream.response()) {
            return Ok(());
        }
        let mut response = stream.response_mut();
        vary::add(&mut response, "accept-encoding")?;
        let Some(coding) = self.coding.filter(|_| !end) else {
            return Ok(());
        };
        let encoder = match Encoder::new(coding, policy.levels) {
            Ok(encoder) => encoder,
            Err(error) => {
                stream.log(
                    Level::Warn,
                    &format!("a response is not compressed: {error}"),
                );
                return Ok(());
            }
        };
        response.set("content-encoding", coding.name())?;
        for name in ABOUT_THE_BYTES {
            response.remove(name)?;
        }
        weaken(&mut response)?;
        self.encoder = Some(encoder);
        Ok(())
    }

    /// Answers a client that has the compressed response with the `etag` that it knows it by.
    fn confirm(&self, stream: &mut Stream<'_>) -> Result<(), HeaderError> {
        let response = stream.response();
        if response.get(":status").is_none_or(|status| status != "304") {
            return Ok(());
        }
        let Some(etag) = response.get("etag").map(Value::into_owned) else {
            return Ok(());
        };
        let weak = [b"W/", &*etag].concat();
        let request = stream.request();
        let is_known = request.get_all("if-none-match").any(|value| {
            value
                .split(|byte| *byte == b',')
                .any(|tag| tag.trim_ascii() == weak)
        });
        if is_known && self.coding.is_some() {
            weaken(&mut stream.response_mut())?;
            vary::add(&mut stream.response_mut(), "accept-encoding")?;
        }
        Ok(())
    }

    fn count(&self, stream: &Stream<'_>, what: impl FnOnce(&CompressorMetrics) -> (Counter, u32)) {
        if let Some(metrics) = &self.config.metrics {
            let (counter, amount) = what(metrics);
            stream.count(counter, amount);
        }
    }

    fn count_bytes(&self, stream: &Stream<'_>, before: usize, after: usize) {
        let amount = |bytes| u32::try_from(bytes).unwrap_or(u32::MAX);
        self.count(stream, |metrics| (metrics.bytes_in, amount(before)));
        self.count(stream, |metrics| (metrics.bytes_out, amount(after)));
    }
}

impl Policy {
    /// Whether a response is one that is compressed for clients that accept it.
    fn fits(&self, response: &Headers<'_>) -> bool {
        let is_whole = response
            .get(":status")
            .is_some_and(|status| status != "206")
            && !response.contains("content-range");
        let is_plain = response
            .get_all("content-encoding")
            .all(|coding| coding.eq_ignore_ascii_case(b"identity"));
        // RFC 9111 section 5.2.2.6.
        let may_change = !response.get_all("cache-control").any(|value| {
            value
                .split(|byte| *byte == b',')
                .any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
        });
        let is_long = response
            .get("content-length")
            .and_then(|length| length.to_str()?.parse::<u64>().ok())
            .is_none_or(|length| length >= self.min_bytes);
        is_whole && is_plain && may_change && is_long && self.has_type(response)
    }

    fn has_type(&self, response: &Headers<'_>) -> bool {
        let Some(value) = response.get("content-type") else {
            return false;
        };
        let kind = value.split(|byte| *byte == b';').next();
        let kind = kind.unwrap_or_default().trim_ascii();
        self.content_types
            .iter()
            .any(|wanted| match wanted.strip_suffix('*') {
                Some(prefix) => kind
                    .split_at_checked(prefix.len())
                    .is_some_and(|(start, _)| start.eq_ignore_ascii_case(prefix.as_bytes())),
                None => kind.eq_ignore_ascii_case(wanted.as_bytes()),
            })
    }
}

/// What is not true of the compressed bytes: ranges of the upstream's, and digests (RFC 9530, and RFC 1864's old one).
const ABOUT_THE_BYTES: [&str; 4] = [
    "accept-ranges",
    "content-digest",
    "repr-digest",
    "content-md5",
];

/// A strong validator says that the bytes are the same (RFC 9110 section 8.8.1).
fn weaken(response: &mut HeadersMut<'_>) -> Result<(), HeaderError> {
    let Some(etag) = response.get("etag").map(Value::into_owned) else {
        return Ok(());
    };
    if !etag.starts_with(b"\"") {
        return Ok(());
    }
    response.set("etag", [b"W/", &*etag].concat())
}

/// Half a compressed body cannot be mended, under no failure policy.
fn give_up(stream: &mut Stream<'_>, error: &std::io::Error) {
    stream.log(
        Level::Error,
        &format!("a response could not be compressed to its end: {error}"),
    );
    stream.terminate();
}

fn parse_algorithms(node: &Node) -> Result<Vec<Coding>, ParseError> {
    let mut algorithms = Vec::new();
    for item in node.as_list()? {
        let name = item.as_str()?;
        let Some(coding) = Coding::ALL.into_iter().find(|coding| coding.name() == name) else {
            return Err(item
                .error(format!("unknown algorithm {name:?}"))
                .with_help("known are zstd, br and gzip"));
        };
        if algorithms.contains(&coding) {
            return Err(item.error(format!("{name} is named twice")));
        }
        algorithms.push(coding);
    }
    if algorithms.is_empty() {
        return Err(node.error("at least one algorithm must be named"));
    }
    Ok(algorithms)
}

fn parse_content_types(node: &Node) -> Result<Vec<String>, ParseError> {
    let types = node.as_list()?.iter().map(|item| {
        let text = item.as_str()?;
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        let is_type = text.split_once('/').is_some_and(|(kind, sub)| {
            !kind.is_empty()
                && kind.bytes().all(good)
                && (sub == "*" || !sub.is_empty() && sub.bytes().all(good))
        });
        if is_type {
            return Ok(text.to_owned());
        }
        Err(item
            .error(format!("{text:?} is no content type"))
            .with_help("write text/html or text/*, without parameters"))
    });
    types.collect()
}

#[cfg(test)]
mod tests;
