//! The filters that `sdk/CONFORMANCE.md` describes, in Rust.

use std::fs::File;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use transom_sdk::api::builtin::{Builtin, NetworkBuiltin};
use transom_sdk::api::{
    Certificate, Certificates, Connection, Counter, DataVerdict, Direction, Event, HeaderMap,
    HeadersVerdict, HttpCall, Level, LocalReply, NetworkFilter, NetworkVerdict, Node, ParseError,
    PrepareContext, PrepareError, Schema, Shape, Stream, StreamFilter, TrailersVerdict, Wants,
};
use transom_sdk::{
    AccessLog, CertificateSource, HostShared, LogEntry, LogSink, Plugin, SharedResult,
};

fn main() -> ExitCode {
    if std::env::var("TRANSOM_CONFORMANCE").is_ok_and(|only| only == "auth") {
        return Plugin::new("conformance", "1.0.0")
            .stream_filter::<Auth>()
            .serve();
    }
    Plugin::new("conformance", "1.0.0")
        .stream_filter_named::<Auth>("auth")
        .stream_filter_named::<Rewrite>("rewrite")
        .stream_filter_named::<Callout>("callout")
        .stream_filter_named::<Pause>("pause")
        .stream_filter_named::<Thread>("thread")
        .stream_filter_named::<Notes>("notes")
        .attributes(["source.address"])
        .stream_filter_named::<Faulty>("faulty")
        .stream_filter_named::<Edit>("edit")
        .network_filter_named::<Greet>("greet")
        .certificates::<Files>()
        .access_log::<Lines>()
        .attributes([
            "request.method",
            "request.path",
            "response.code",
            "response.size",
        ])
        .request_headers(["user-agent"])
        .response_headers(["x-note"])
        .log_sink::<Lines>()
        .serve()
}

/// Refuses requests that lack a header of the configuration.
#[derive(Clone)]
struct Auth(Arc<[(String, String)]>);

impl Builtin for Auth {
    type Filter = Self;
    fn schema() -> Schema {
        Schema::map_of(Schema::string())
            .describe("Headers that a request must have, and their values.")
    }
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut pairs = Vec::new();
        for (name, value) in node.as_entries()? {
            pairs.push((name.name.clone(), value.as_str()?.to_owned()));
        }
        Ok(Self(pairs.into()))
    }
    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS
    }
    fn filter(&self) -> Self {
        self.clone()
    }
}

impl StreamFilter for Auth {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        let request = stream.request();
        let has = |(name, value): &(String, String)| {
            request.get(name).is_some_and(|found| found == **value)
        };
        if self.0.iter().all(has) {
            return HeadersVerdict::Continue;
        }
        let reply = LocalReply::new(403)
            .header("x-denied-by", "auth")
            .body("denied\n")
            .details("auth_denied");
        let _ = stream.send_local_reply(reply);
        HeadersVerdict::StopIteration
    }
}

/// Writes bodies in capitals.
#[derive(Clone)]
struct Rewrite {
    suffix: String,
}

impl Builtin for Rewrite {
    type Filter = Self;
    fn schema() -> Schema {
        Schema::object().optional(
            "suffix",
            Schema::string()
                .describe("What responses end with.")
                .or("!"),
        )
    }
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let suffix = fields
            .optional("suffix")
            .map_or(Ok("!"), Node::as_str)?
            .to_owned();
        fields.finish()?;
        Ok(Self { suffix })
    }
    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS
            .and(Wants::RESPONSE_HEADERS)
            .and(Wants::RESPONSE_BODY)
            .and(Wants::CHANGES_REQUEST_LENGTH)
            .and(Wants::CHANGES_RESPONSE_LENGTH)
            .whole_request_body(64 << 10)
    }
    fn filter(&self) -> Self {
        self.clone()
    }
}

impl StreamFilter for Rewrite {
    fn request_headers(&mut self, _stream: &mut Stream<'_>, end: bool) -> HeadersVerdict {
        if end {
            HeadersVerdict::Continue
        } else {
            HeadersVerdict::StopIteration
        }
    }

    fn request_body(&mut self, stream: &mut Stream<'_>, _end: bool) -> DataVerdict {
        let body = stream.body(Direction::Request).to_vec();
        let _ = stream
            .request_mut()
            .set("x-body-length", body.len().to_string());
        let _ = stream
            .body_mut(Direction::Request)
            .replace(body.to_ascii_uppercase());
        DataVerdict::Continue
    }

    fn response_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        let _ = stream.response_mut().set("x-rewritten", "yes");
        HeadersVerdict::Continue
    }

    fn response_body(&mut self, stream: &mut Stream<'_>, end: bool) -> DataVerdict {
        let mut body = stream
            .body(Direction::Response)
            .to_vec()
            .to_ascii_uppercase();
        if end {
            body.extend_from_slice(self.suffix.as_bytes());
        }
        let _ = stream.body_mut(Direction::Response).replace(body);
        DataVerdict::Continue
    }
}

/// Asks another service whether a request may pass.
#[derive(Clone)]
struct Callout {
    cluster: String,
}

impl Builtin for Callout {
    type Filter = Self;
    fn schema() -> Schema {
        Schema::object().required(
            "cluster",
            Schema::string().describe("The cluster that is asked."),
        )
    }
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let cluster = fields.required("cluster")?.as_str()?.to_owned();
        fields.finish()?;
        Ok(Self { cluster })
    }
    fn clusters(&self) -> Vec<String> {
        vec![self.cluster.clone()]
    }
    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS
    }
    fn filter(&self) -> Self {
        self.clone()
    }
}

impl StreamFilter for Callout {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        let token = stream
            .request()
            .get("x-token")
            .map(transom_sdk::api::Value::into_owned);
        let call = HttpCall::new(&self.cluster, "GET", "auth", "/check")
            .header("x-token", token.unwrap_or_default())
            .timeout(Duration::from_secs(1));
        match stream.http_call(call) {
            Ok(_) => HeadersVerdict::StopAllIterationAndWatermark,
            Err(_) => {
                let _ = stream.send_local_reply(LocalReply::new(500));
                HeadersVerdict::StopIteration
            }
        }
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, event: Event) {
        let Event::Callout(done) = event else { return };
        match done.result {
            Ok(answer) if answer.status() == 200 => {
                let user = answer.header("x-user").unwrap_or_default().to_vec();
                let _ = stream.request_mut().set("x-user", user);
                stream.continue_request();
            }
            Ok(_) => drop(stream.send_local_reply(LocalReply::new(403).details("callout_denied"))),
            Err(_) => drop(stream.send_local_reply(LocalReply::new(503).details("callout_failed"))),
        }
    }
}

/// Holds requests for a time.
#[derive(Clone)]
struct Pause {
    time: Duration,
}

impl Builtin for Pause {
    type Filter = Self;
    fn schema() -> Schema {
        Schema::object().required(
            "ms",
            Schema::new(Shape::Integer(0, 60_000)).describe("For how long."),
        )
    }
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let ms = fields.required("ms")?.as_integer_in(0..=60_000)?;
        fields.finish()?;
        Ok(Self {
            time: Duration::from_millis(ms.unsigned_abs()),
        })
    }
    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS
    }
    fn filter(&self) -> Self {
        self.clone()
    }
}

impl StreamFilter for Pause {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        stream.set_timer(self.time);
        HeadersVerdict::StopAllIterationAndWatermark
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, event: Event) {
        if let Event::Timer(_) = event {
            let _ = stream.request_mut().set("x-paused", "yes");
            stream.continue_request();
        }
    }
}

/// Lets another thread decide when requests go on.
#[derive(Clone)]
struct Thread;

impl Builtin for Thread {
    type Filter = Self;
    fn schema() -> Schema {
        Schema::object()
    }
    fn parse(node: &Node) -> Result<Self, ParseError> {
        node.as_fields()?.finish()?;
        Ok(Self)
    }
    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS
    }
    fn filter(&self) -> Self {
        Self
    }
}

impl StreamFilter for Thread {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        let resumer = stream.resumer();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            resumer.post(1);
        });
        HeadersVerdict::StopAllIterationAndWatermark
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, event: Event) {
        if let Event::Resumed(_) = event {
            let _ = stream.request_mut().set("x-thread", "yes");
            stream.continue_request();
        }
    }
}

/// Leaves notes everywhere, and counts visits in the host's shared data.
#[derive(Clone)]
struct Notes {
    counter: Option<Counter>,
}

impl Builtin for Notes {
    type Filter = Self;
    fn schema() -> Schema {
        Schema::object()
    }
    fn parse(node: &Node) -> Result<Self, ParseError> {
        node.as_fields()?.finish()?;
        Ok(Self { counter: None })
    }
    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        self.counter = Some(
            context
                .metrics
                .counter("notes_total", "Requests noted.", &[])?,
        );
        Ok(())
    }
    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS
            .and(Wants::RESPONSE_HEADERS)
            .and(Wants::COMPLETE)
    }
    fn filter(&self) -> Self {
        self.clone()
    }
}

impl StreamFilter for Notes {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        let path = stream.request().get(":path").map(|path| path.to_string());
        let path = path.unwrap_or_default();
        stream.set_metadata("notes", "path", path.as_str());
        stream.set_metadata("notes", "length", path.len() as f64);
        stream.set_metadata("notes", "seen", true);
        if let Some(counter) = self.counter {
            stream.count(counter, 1);
        }
        stream.log(Level::Info, &format!("noted {path}"));
        let from = stream
            .attribute("source.address")
            .map(|from| from.to_string());
        let _ = stream.request_mut().set("x-from", from.unwrap_or_default());
        stream.shared_get("visits");
        HeadersVerdict::StopAllIterationAndWatermark
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, mut event: Event) {
        let Some(result) = SharedResult::of(&mut event) else {
            return;
        };
        match result.value {
            // The answer to a set.
            None if result.version == 0 && stream.request().contains("x-visits") => {
                if result.done {
                    stream.continue_request();
                } else {
                    stream.shared_get("visits");
                }
            }
            value => {
                let text = String::from_utf8_lossy(value.as_deref().unwrap_or(b"0")).into_owned();
                let visits = (text.parse::<u64>().unwrap_or(0) + 1).to_string();
                let _ = stream.request_mut().set("x-visits", &visits);
                stream.shared_set("visits", Some(visits.as_bytes()), Some(result.version));
            }
        }
    }

    fn on_stream_complete(&mut self, stream: &mut Stream<'_>) {
        let status = stream
            .response()
            .get(":status")
            .map(|status| status.to_string());
        stream.set_metadata("notes", "status", status.unwrap_or_default().as_str());
    }
}

/// Breaks when it is asked to.
#[derive(Clone)]
struct Faulty;

impl Builtin for Faulty {
    type Filter = Self;
    fn schema() -> Schema {
        Schema::object()
    }
    fn parse(node: &Node) -> Result<Self, ParseError> {
        node.as_fields()?.finish()?;
        Ok(Self)
    }
    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS
    }
    fn filter(&self) -> Self {
        Self
    }
}

impl StreamFilter for Faulty {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        let path = stream.request().get(":path").map(|path| path.to_string());
        match path.as_deref() {
            Some("/panic") => panic!("told to panic"),
            Some("/fail") => stream.fail(transom_sdk::api::FilterError::broken("told to fail")),
            Some("/log") => tracing::warn!("told to log"),
            _ => {}
        }
        HeadersVerdict::Continue
    }
}

/// Changes headers and trailers.
#[derive(Clone)]
struct Edit {
    team: String,
}

impl Builtin for Edit {
    type Filter = Self;
    fn schema() -> Schema {
        Schema::object().optional("team", Schema::string().or("none"))
    }
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let team = fields
            .optional("team")
            .map_or(Ok("none"), Node::as_str)?
            .to_owned();
        fields.finish()?;
        Ok(Self { team })
    }
    fn filter(&self) -> Self {
        self.clone()
    }
}

impl StreamFilter for Edit {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        let team = stream.route_config::<Self>().unwrap_or(self).team.clone();
        let mut headers = stream.request_mut();
        let _ = headers.remove("x-remove");
        let _ = headers.set("x-set", "a");
        let _ = headers.add("x-add", "1");
        let _ = headers.add("x-add", "2");
        let _ = headers.set("x-team", team);
        HeadersVerdict::Continue
    }

    fn request_trailers(&mut self, stream: &mut Stream<'_>) -> TrailersVerdict {
        let _ = stream
            .headers_mut(HeaderMap::RequestTrailers)
            .set("x-trailer", "yes");
        TrailersVerdict::Continue
    }

    fn response_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        let _ = stream.response_mut().set("x-edited", "yes");
        HeadersVerdict::Continue
    }
}

/// Greets connections, shouts back, and ends with `bye`.
#[derive(Clone)]
struct Greet;

impl NetworkBuiltin for Greet {
    type Filter = Self;
    fn schema() -> Schema {
        Schema::object()
    }
    fn parse(node: &Node) -> Result<Self, ParseError> {
        node.as_fields()?.finish()?;
        Ok(Self)
    }
    fn filter(&self) -> Self {
        Self
    }
}

impl NetworkFilter for Greet {
    fn on_new_connection(&mut self, connection: &mut Connection<'_>) -> NetworkVerdict {
        connection.inject(Direction::Response, b"hello\n", false);
        NetworkVerdict::Continue
    }

    fn on_data(&mut self, connection: &mut Connection<'_>, _end: bool) -> NetworkVerdict {
        let bytes = connection.bytes(Direction::Request).to_vec();
        if bytes.starts_with(b"bye") {
            connection.close();
            return NetworkVerdict::StopIteration;
        }
        let _ = connection
            .bytes_mut(Direction::Request)
            .replace(bytes.to_ascii_uppercase());
        NetworkVerdict::Continue
    }
}

/// A certificate in files.
struct Files {
    chain: String,
    key: String,
}

impl CertificateSource for Files {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let chain = fields.required("chain")?.as_str()?.to_owned();
        let key = fields.required("key")?.as_str()?.to_owned();
        fields.finish()?;
        Ok(Self { chain, key })
    }

    fn certificates(&self) -> Result<Certificates, PrepareError> {
        let read = |file: &str| {
            std::fs::read(file)
                .map_err(|error| PrepareError::new(format!("cannot read {file}: {error}")))
        };
        Ok(Certificates {
            certificates: vec![Certificate {
                chain: read(&self.chain)?,
                key: read(&self.key)?,
                ocsp_response: None,
            }],
            authorities: None,
            refresh_after: Some(Duration::from_secs(3600)),
        })
    }
}

/// Logs, in a file.
struct Lines(Mutex<File>);

impl Lines {
    fn open(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let file = fields.required("file")?;
        fields.finish()?;
        let opened = File::options()
            .create(true)
            .append(true)
            .open(file.as_str()?);
        let opened = opened.map_err(|error| file.error(format!("cannot be written: {error}")))?;
        Ok(Self(Mutex::new(opened)))
    }

    fn append(&self, lost: u64, lines: impl Iterator<Item = Vec<u8>>) {
        let mut text = Vec::new();
        if lost > 0 {
            text.extend_from_slice(format!("lost {lost}\n").as_bytes());
        }
        for line in lines {
            text.extend_from_slice(&line);
            text.push(b'\n');
        }
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(&text) {
            eprintln!("the log cannot be written: {error}");
        }
    }
}

impl AccessLog for Lines {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        Self::open(node)
    }

    fn log(&self, entries: &[LogEntry], lost: u64) {
        self.append(
            lost,
            entries.iter().map(|entry| {
                let text = |name| entry.text(name).unwrap_or_else(|| "-".to_owned());
                format!(
                    "{} {} {} {} {} {}",
                    text("request.method"),
                    text("request.path"),
                    text("response.code"),
                    text("response.size"),
                    entry.request_header("user-agent").unwrap_or("-"),
                    entry.response_header("x-note").unwrap_or("-"),
                )
                .into_bytes()
            }),
        );
    }
}

impl LogSink for Lines {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        Self::open(node)
    }

    fn write(&self, lines: &[&[u8]], lost: u64) {
        self.append(lost, lines.iter().map(|line| line.to_vec()));
    }
}
