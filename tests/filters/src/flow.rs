//! `callout` calls a cluster while its stream waits; `reply` answers in any callback; `terminate` ends the stream in any.

use std::time::Duration;

use transom_api::{
    CalloutError, DuplicateExtension, Event, FilterError, HttpCall, LocalReply, Node, ParseError,
    Registry, Stream, StreamInstance,
};

use crate::Lab;
use crate::kit::{self, Act, Answer, At, Desk, Test, acting, flag, number, text};

pub(crate) fn register(registry: &mut Registry, lab: &Lab) -> Result<(), DuplicateExtension> {
    kit::register::<Callout>(registry, lab, "callout")?;
    kit::register::<Reply>(registry, lab, "reply")?;
    kit::register::<Terminate>(registry, lab, "terminate")
}

/// Calls `cluster`, which it names in its configuration as `allowed`; what comes of it goes on as `x-callout`. With
/// `cancel` it drops the call and goes on by a timer.
#[derive(Clone)]
struct Callout {
    cluster: String,
    allowed: String,
    body: String,
    timeout: Option<Duration>,
    cancel: bool,
}

impl Test for Callout {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let cluster = fields.required("cluster")?.as_str()?;
        let callout = Self {
            cluster: cluster.to_owned(),
            allowed: text(&mut fields, "allowed", cluster)?.to_owned(),
            body: text(&mut fields, "body", "")?.to_owned(),
            timeout: fields
                .optional("timeout")
                .map(Node::as_duration)
                .transpose()?,
            cancel: flag(&mut fields, "cancel")?,
        };
        fields.finish()?;
        Ok(callout)
    }

    fn clusters(&self) -> Vec<String> {
        vec![self.allowed.clone()]
    }

    fn stream(&self, desk: &Desk, _stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        acting(Calling {
            callout: self.clone(),
            desk: desk.clone(),
        })
    }
}

struct Calling {
    callout: Callout,
    desk: Desk,
}

impl Calling {
    fn tell(&self, stream: &mut Stream<'_>, what: &str) {
        // Refused only when the head has left, which it has not: it waits here.
        if let Err(error) = stream.request_mut().set("x-callout", what) {
            self.desk.note(&error.to_string());
        }
    }
}

impl Act for Calling {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        if at != At::RequestHeaders {
            return Answer::Continue;
        }
        let Callout { cluster, body, .. } = &self.callout;
        let mut call =
            HttpCall::new(cluster, "POST", "callout.test", "/call").body(body.as_bytes());
        call.timeout = self.callout.timeout;
        match stream.http_call(call) {
            Ok(id) if self.callout.cancel => {
                stream.cancel_callout(id);
                stream.set_timer(Duration::from_millis(20));
                Answer::All
            }
            Ok(_) => Answer::All,
            Err(error) => {
                let error: CalloutError = error;
                self.tell(stream, &format!("refused {error:?}"));
                Answer::Continue
            }
        }
    }

    fn event(&mut self, stream: &mut Stream<'_>, event: Event) {
        match event {
            Event::Callout(done) => {
                let what = match done.result {
                    Ok(answer) => format!(
                        "{} {}",
                        answer.status(),
                        String::from_utf8_lossy(&answer.body)
                    ),
                    Err(error) => format!("failed {error:?}"),
                };
                self.tell(stream, &what);
            }
            Event::Timer(_) => self.tell(stream, "cancelled"),
            Event::Reset(_) => return self.desk.note("reset"),
            _ => return,
        }
        stream.continue_request();
    }
}

/// Answers in one callback, or with `later` from another thread's word.
#[derive(Clone)]
struct Reply {
    at: At,
    status: u16,
    body: String,
    later: bool,
}

impl Test for Reply {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let reply = Self {
            at: At::parse(&mut fields)?,
            status: number(&mut fields, "status", 403)? as u16,
            body: text(&mut fields, "body", "")?.to_owned(),
            later: flag(&mut fields, "later")?,
        };
        fields.finish()?;
        Ok(reply)
    }

    fn stream(&self, desk: &Desk, stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        let mut replying = Replying {
            reply: self.clone(),
            desk: desk.clone(),
        };
        if self.at == At::Make {
            replying.answer(stream);
        }
        acting(replying)
    }
}

struct Replying {
    reply: Reply,
    desk: Desk,
}

impl Replying {
    fn answer(&mut self, stream: &mut Stream<'_>) -> Answer {
        let reply = LocalReply::new(self.reply.status)
            .body(self.reply.body.as_bytes())
            .header("x-by", self.desk.name.as_bytes())
            .details("test_reply");
        if stream.send_local_reply(reply).is_err() {
            self.desk.note("too late");
            return Answer::Continue;
        }
        self.desk.note("replied");
        Answer::Stop
    }
}

impl Act for Replying {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        if at != self.reply.at {
            return Answer::Continue;
        }
        if self.reply.later {
            self.desk.hold(stream);
            return Answer::All;
        }
        self.answer(stream)
    }

    fn event(&mut self, stream: &mut Stream<'_>, event: Event) {
        if matches!(event, Event::Resumed(_)) {
            self.answer(stream);
        }
    }

    fn complete(&mut self, stream: &mut Stream<'_>) {
        if self.reply.at == At::Complete {
            self.answer(stream);
        }
    }
}

/// Ends the stream without an answer.
#[derive(Clone)]
struct Terminate {
    at: At,
}

impl Test for Terminate {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let at = At::parse(&mut fields)?;
        fields.finish()?;
        Ok(Self { at })
    }

    fn stream(&self, desk: &Desk, _stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        acting(Terminating {
            at: self.at,
            desk: desk.clone(),
        })
    }
}

struct Terminating {
    at: At,
    desk: Desk,
}

impl Act for Terminating {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        if at == self.at {
            stream.terminate();
            // Once is once.
            stream.terminate();
            self.desk.note("terminated");
            return Answer::Stop;
        }
        Answer::Continue
    }

    fn complete(&mut self, _stream: &mut Stream<'_>) {
        self.desk.note("complete");
    }
}
