//! `timer`: waits for a timer; `slow` lets a second timer run that it cancels, which must never come. `sleep` is the same
//! as an async function.

use std::time::Duration;

use transom_api::async_filter::{AsyncFilter, Outcome};
use transom_api::{
    DuplicateExtension, Event, FilterError, HttpCall, LocalReply, Node, ParseError, Registry,
    Stream, StreamInstance, TimerId,
};

use crate::Lab;
use crate::kit::{self, Act, Answer, At, Desk, Test, acting, text};

pub(crate) fn register(registry: &mut Registry, lab: &Lab) -> Result<(), DuplicateExtension> {
    kit::register::<Timer>(registry, lab, "timer")?;
    kit::register::<Asynchronous>(registry, lab, "asynchronous")
}

#[derive(Clone)]
struct Timer {
    after: Duration,
}

impl Test for Timer {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let after = fields.required("after")?.as_duration()?;
        fields.finish()?;
        Ok(Self { after })
    }

    fn stream(&self, desk: &Desk, _stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        acting(Timing {
            after: self.after,
            desk: desk.clone(),
            timer: None,
        })
    }
}

struct Timing {
    after: Duration,
    desk: Desk,
    timer: Option<TimerId>,
}

impl Act for Timing {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        if at != At::RequestHeaders {
            return Answer::Continue;
        }
        let cancelled = stream.set_timer(Duration::ZERO);
        self.timer = Some(stream.set_timer(self.after));
        stream.cancel_timer(cancelled);
        Answer::All
    }

    fn event(&mut self, stream: &mut Stream<'_>, event: Event) {
        if let Event::Timer(timer) = event {
            let which = if Some(timer) == self.timer {
                "timer"
            } else {
                "cancelled timer"
            };
            self.desk.note(which);
            stream.continue_request();
        }
    }
}

/// Asks a cluster, as an async function: a reply with a body that says what came goes on as a header; a failure is
/// answered with 503.
#[derive(Clone)]
struct Asynchronous {
    cluster: String,
}

impl Test for Asynchronous {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let cluster = text(&mut fields, "cluster", "")?.to_owned();
        fields.finish()?;
        Ok(Self { cluster })
    }

    fn clusters(&self) -> Vec<String> {
        vec![self.cluster.clone()]
    }

    fn stream(&self, desk: &Desk, _stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        let cluster = self.cluster.clone();
        let desk = desk.clone();
        Ok(StreamInstance::own(AsyncFilter::new(
            |exchange| async move {
                exchange.sleep(Duration::from_millis(1)).await;
                desk.note("slept");
                let path = exchange
                    .with(|stream| {
                        let path = stream.request().get(":path");
                        path.map(|path| path.to_string()).unwrap_or_default()
                    })
                    .await;
                let call = HttpCall::new(&cluster, "GET", "auth.test", &format!("/auth{path}"));
                match exchange.http_call(call).await {
                    Ok(answer) if answer.status() == 200 => {
                        exchange
                            .with(move |stream| stream.request_mut().set("x-user", answer.body))
                            .await
                            .ok();
                        Outcome::Continue
                    }
                    Ok(answer) => Outcome::Reply(LocalReply::new(answer.status())),
                    Err(error) => Outcome::Reply(LocalReply::new(503).body(error.to_string())),
                }
            },
        )))
    }
}
