//! A filter that keeps a program of its own running and asks it about each request: what MOSN's community wanted to see of its plugins,
//! a filter in a library (`go_plugin_config`) which itself uses the framework of processes (`plugin.Register`, `Call`).
//!
//! The proxy knows nothing of the program. The library has an event loop of its own, on a thread of its own, since nothing of the proxy's
//! is visible here; the answer comes back to the stream's worker by a [`Resumer`](transom_sdk::api::Resumer).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use transom_process::call::{CallError, Client, Config, Request, Response, register};
use transom_sdk::api::builtin::Builtin;
use transom_sdk::api::{
    Event, FilterError, HeadersVerdict, LocalReply, Node, ParseError, PrepareContext, PrepareError,
    Schema, Shape, Stream, StreamFilter, Wants,
};

/// The status by which a program refuses, as MOSN's checkers do.
const REFUSED: i32 = -1;

/// What the filter is configured with.
#[derive(Clone)]
pub struct Ask {
    /// The program's file.
    program: PathBuf,
    /// How long it may take for an answer.
    timeout: Duration,
    /// There after the preparation.
    client: Option<Arc<Client>>,
}

impl Builtin for Ask {
    type Filter = Self;

    fn schema() -> Schema {
        Schema::object()
            .required(
                "program",
                Schema::string().describe("The program that is asked, a plugin of MOSN's protocol. A relative path begins at the configuration's folder."),
            )
            .optional(
                "timeout",
                Schema::new(Shape::Duration).describe("How long it may take for an answer.").or("1s"),
            )
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let program = PathBuf::from(fields.required("program")?.as_str()?);
        let timeout = fields
            .optional("timeout")
            .map(Node::as_duration)
            .transpose()?;
        fields.finish()?;
        Ok(Self {
            program,
            timeout: timeout.unwrap_or(Duration::from_secs(1)),
            client: None,
        })
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        let path = context.path(&self.program);
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let folder = path.parent().unwrap_or(Path::new("/"));
        let config = Config::new().folder(folder);
        let events = events()
            .map_err(|error| PrepareError::new(format!("there is no event loop: {error}")))?;
        let client = events.block_on(register(name, config));
        self.client = Some(client.map_err(|error| PrepareError::new(error.to_string()))?);
        Ok(())
    }

    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS
    }

    fn filter(&self) -> Self {
        self.clone()
    }
}

/// The library's own event loop. Its thread lives as long as the process: the programs that it starts end with it.
fn events() -> Result<&'static Handle, String> {
    static EVENTS: OnceLock<Result<Handle, String>> = OnceLock::new();
    let made = EVENTS.get_or_init(|| {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let handle = runtime.handle().clone();
        std::thread::Builder::new()
            .name("so-subprocess".to_owned())
            .spawn(move || runtime.block_on(std::future::pending::<()>()))
            .map_err(|error| error.to_string())?;
        Ok(handle)
    });
    made.as_ref().map_err(Clone::clone)
}

impl StreamFilter for Ask {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        let (Some(client), Ok(events)) = (self.client.clone(), events()) else {
            stream.fail(FilterError::unavailable("it was not prepared"));
            return HeadersVerdict::Continue;
        };
        let request = Request {
            header: headers(stream),
            ..Request::default()
        };
        let (timeout, resumer) = (self.timeout, stream.resumer());
        events.spawn(async move {
            let answer = client.call(request, timeout).await;
            resumer.post_with(0, answer);
        });
        HeadersVerdict::StopAllIterationAndWatermark
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, event: Event) {
        let Event::Resumed(mut message) = event else {
            return;
        };
        match message.take::<Result<Response, CallError>>() {
            Some(Ok(answer)) if answer.status == REFUSED => {
                let reply = LocalReply::new(403)
                    .body("the program refuses\n")
                    .details("so_subprocess_denied");
                // An error would say that a response has left already.
                let _ = stream.send_local_reply(reply);
            }
            Some(Ok(answer)) => {
                let mut request = stream.request_mut();
                for (name, value) in &answer.header {
                    // What cannot be a header is passed over.
                    let _ = request.set(name, value);
                }
                stream.continue_request();
            }
            Some(Err(error)) => stream.fail(FilterError::unavailable(error.to_string())),
            None => {}
        }
    }
}

/// The request's headers as MOSN's plugins get them: lower case, one value each.
fn headers(stream: &Stream<'_>) -> HashMap<String, String> {
    let request = stream.request();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let fields = request.iter().filter(|(name, _)| !name.starts_with(b":"));
    fields
        .map(|(name, value)| (text(&name).to_lowercase(), text(&value)))
        .collect()
}
