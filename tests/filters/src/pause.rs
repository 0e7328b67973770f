//! `pause`: stops in one callback until another thread says go on. How often and when it is resumed is the test's
//! matter; `own_callback` has it resume itself before the callback has returned.

use transom_api::{
    DuplicateExtension, Event, FilterError, Node, ParseError, Registry, Stream, StreamInstance,
};

use crate::Lab;
use crate::kit::{self, Act, Answer, At, Desk, Test, acting, flag, text};

pub(crate) fn register(registry: &mut Registry, lab: &Lab) -> Result<(), DuplicateExtension> {
    kit::register::<Pause>(registry, lab, "pause")
}

#[derive(Clone)]
struct Pause {
    at: At,
    answer: Answer,
    own_callback: bool,
}

impl Test for Pause {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let at = At::parse(&mut fields)?;
        let answer = match text(&mut fields, "stop", "iteration")? {
            "all" => Answer::All,
            "all_and_buffer" => Answer::AllAndBuffer,
            "buffer" => Answer::Buffer,
            _ => Answer::Stop,
        };
        let own_callback = flag(&mut fields, "own_callback")?;
        fields.finish()?;
        Ok(Self {
            at,
            answer,
            own_callback,
        })
    }

    fn stream(&self, desk: &Desk, _stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        acting(Pausing {
            pause: self.clone(),
            desk: desk.clone(),
            paused: false,
            waiting: false,
        })
    }
}

struct Pausing {
    pause: Pause,
    desk: Desk,
    paused: bool,
    /// Not resumed yet: what comes after the head that was stopped waits too.
    waiting: bool,
}

impl Act for Pausing {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        if self.waiting && at.is_response() == self.pause.at.is_response() {
            return self.pause.answer;
        }
        if at != self.pause.at || self.paused {
            return Answer::Continue;
        }
        self.paused = true;
        self.waiting = true;
        self.desk.note("paused");
        if self.pause.own_callback {
            // The post arrives after this callback; the continue is for it.
            stream.resumer().post(1);
        } else {
            self.desk.hold(stream);
        }
        self.pause.answer
    }

    fn event(&mut self, stream: &mut Stream<'_>, event: Event) {
        match event {
            Event::Resumed(mut message) => {
                self.waiting = false;
                let word = message.take::<String>().unwrap_or_default();
                self.desk.note(&format!("resumed {}{word}", message.token));
                if self.pause.at.is_response() {
                    stream.continue_response();
                } else {
                    stream.continue_request();
                }
            }
            Event::Reset(reason) => self.desk.note(&format!("reset {reason:?}")),
            _ => {}
        }
    }

    fn complete(&mut self, _stream: &mut Stream<'_>) {
        self.desk.note("complete");
    }
}
