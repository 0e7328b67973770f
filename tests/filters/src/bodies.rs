//! What filters do with bodies: `buffer` keeps one by verdicts, `whole` has it kept, `rewrite` changes it piece by piece,
//! `inject` adds to it or makes one of its own, `trailers` adds trailers, `bodiless` makes the head the whole message.

use transom_api::{
    Direction, DuplicateExtension, FilterError, HeaderMap, Node, ParseError, Registry, Stream,
    StreamInstance, Wants,
};

use crate::Lab;
use crate::kit::{self, Act, Answer, At, Desk, Test, acting, flag, number, text};

pub(crate) fn register(registry: &mut Registry, lab: &Lab) -> Result<(), DuplicateExtension> {
    kit::register::<Buffer>(registry, lab, "buffer")?;
    kit::register::<Whole>(registry, lab, "whole")?;
    kit::register::<Rewrite>(registry, lab, "rewrite")?;
    kit::register::<Inject>(registry, lab, "inject")?;
    kit::register::<Trailers>(registry, lab, "trailers")?;
    kit::register::<Bodiless>(registry, lab, "bodiless")
}

/// The direction that a configuration names; the request's when it names none.
fn direction(fields: &mut transom_api::Fields<'_>) -> Result<Direction, ParseError> {
    Ok(match text(fields, "direction", "request")? {
        "response" => Direction::Response,
        _ => Direction::Request,
    })
}

fn body_of(direction: Direction) -> At {
    match direction {
        Direction::Request => At::RequestBody,
        Direction::Response => At::ResponseBody,
    }
}

fn headers_of(direction: Direction) -> (At, HeaderMap) {
    match direction {
        Direction::Request => (At::RequestHeaders, HeaderMap::RequestHeaders),
        Direction::Response => (At::ResponseHeaders, HeaderMap::ResponseHeaders),
    }
}

/// Keeps a body by its verdicts until its end, then tells its length in the head that waited for it.
#[derive(Clone)]
struct Buffer {
    direction: Direction,
    limit: u64,
}

impl Test for Buffer {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let buffer = Self {
            direction: direction(&mut fields)?,
            limit: number(&mut fields, "limit", 1 << 20)?,
        };
        fields.finish()?;
        Ok(buffer)
    }

    fn wants(&self) -> Wants {
        Wants::EVERYTHING.buffer_limit(self.limit)
    }

    fn stream(&self, _desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        acting(Buffering(self.direction))
    }
}

struct Buffering(Direction);

impl Act for Buffering {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, end: bool) -> Answer {
        let (headers, map) = headers_of(self.0);
        if at == headers {
            return if end { Answer::Continue } else { Answer::Stop };
        }
        if at != body_of(self.0) {
            return Answer::Continue;
        }
        if !end {
            return Answer::Buffer;
        }
        let len = stream.body(self.0).len().to_string();
        let told = stream.headers_mut(map).set("x-length", len);
        debug_assert!(told.is_ok(), "the head waits here");
        Answer::Continue
    }
}

/// Sees whole bodies because it said so; notes how long each was and how often it was called.
#[derive(Clone)]
struct Whole {
    direction: Direction,
    limit: u64,
}

impl Test for Whole {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let whole = Self {
            direction: direction(&mut fields)?,
            limit: number(&mut fields, "limit", 1 << 20)?,
        };
        fields.finish()?;
        Ok(whole)
    }

    fn wants(&self) -> Wants {
        match self.direction {
            Direction::Request => Wants::EVERYTHING.whole_request_body(self.limit),
            Direction::Response => Wants::EVERYTHING.whole_response_body(self.limit),
        }
    }

    fn stream(&self, desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        acting(Seeing(self.direction, desk.clone()))
    }
}

struct Seeing(Direction, Desk);

impl Act for Seeing {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        if at == body_of(self.0) {
            let body = stream.body(self.0).to_vec();
            self.1
                .note(&format!("body {}", String::from_utf8_lossy(&body)));
        }
        Answer::Continue
    }
}

/// Writes every byte of a body twice, piece by piece. Honest about it only with `declared`.
#[derive(Clone)]
struct Rewrite {
    direction: Direction,
    declared: bool,
}

impl Test for Rewrite {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let rewrite = Self {
            direction: direction(&mut fields)?,
            declared: flag(&mut fields, "declared")?,
        };
        fields.finish()?;
        Ok(rewrite)
    }

    fn wants(&self) -> Wants {
        match self.direction {
            _ if !self.declared => Wants::EVERYTHING,
            Direction::Request => Wants::EVERYTHING.and(Wants::CHANGES_REQUEST_LENGTH),
            Direction::Response => Wants::EVERYTHING.and(Wants::CHANGES_RESPONSE_LENGTH),
        }
    }

    fn stream(&self, desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        acting(Rewriting(self.direction, desk.clone()))
    }
}

struct Rewriting(Direction, Desk);

impl Act for Rewriting {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        if at == body_of(self.0) {
            let twice: Vec<u8> = stream
                .body(self.0)
                .to_vec()
                .into_iter()
                .flat_map(|byte| [byte, byte])
                .collect();
            if let Err(error) = stream.body_mut(self.0).replace(&twice) {
                self.1.note(&format!("{error:?}"));
            }
        }
        Answer::Continue
    }
}

/// Puts a text before every piece of a body and after its end; with `own`, makes the whole body itself.
#[derive(Clone)]
struct Inject {
    direction: Direction,
    text: String,
    /// Takes the body away and sends the text alone, from a timer.
    own: bool,
    /// Gives the text to messages that have no body.
    give: bool,
}

impl Test for Inject {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let inject = Self {
            direction: direction(&mut fields)?,
            text: text(&mut fields, "text", "+")?.to_owned(),
            own: flag(&mut fields, "own")?,
            give: flag(&mut fields, "give")?,
        };
        fields.finish()?;
        Ok(inject)
    }

    fn wants(&self) -> Wants {
        Wants::EVERYTHING
            .and(Wants::CHANGES_REQUEST_LENGTH)
            .and(Wants::CHANGES_RESPONSE_LENGTH)
    }

    fn stream(&self, desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        acting(Injecting(self.clone(), desk.clone()))
    }
}

struct Injecting(Inject, Desk);

impl Injecting {
    fn send(&self, stream: &mut Stream<'_>, end: bool) {
        if let Err(error) = stream.inject(self.0.direction, self.0.text.as_bytes(), end) {
            self.1.note(&error.to_string());
        }
    }
}

impl Act for Injecting {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, end: bool) -> Answer {
        let headers = match self.0.direction {
            Direction::Request => At::RequestHeaders,
            Direction::Response => At::ResponseHeaders,
        };
        if at == headers && end && self.0.give {
            self.send(stream, true);
        }
        if at != body_of(self.0.direction) {
            return Answer::Continue;
        }
        if self.0.own {
            if end {
                stream.set_timer(std::time::Duration::from_millis(1));
            }
            return Answer::Swallow;
        }
        self.send(stream, false);
        Answer::Continue
    }

    fn event(&mut self, stream: &mut Stream<'_>, event: transom_api::Event) {
        if matches!(event, transom_api::Event::Timer(_)) {
            self.send(stream, true);
            self.1.note("injected the end");
        }
    }
}

/// Adds a trailer to what has trailers and to what has none, in both directions.
#[derive(Clone)]
struct Trailers;

impl Test for Trailers {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        node.as_fields()?.finish()?;
        Ok(Self)
    }

    fn wants(&self) -> Wants {
        Wants::EVERYTHING
            .and(Wants::CHANGES_REQUEST_LENGTH)
            .and(Wants::CHANGES_RESPONSE_LENGTH)
    }

    fn stream(&self, desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        acting(Trailing(desk.clone()))
    }
}

struct Trailing(Desk);

impl Act for Trailing {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, end: bool) -> Answer {
        let map = match at {
            At::RequestBody if end => HeaderMap::RequestTrailers,
            At::ResponseBody if end => HeaderMap::ResponseTrailers,
            At::RequestTrailers => HeaderMap::RequestTrailers,
            At::ResponseTrailers => HeaderMap::ResponseTrailers,
            _ => return Answer::Continue,
        };
        if let Err(error) = stream.headers_mut(map).add("x-added", at.name()) {
            self.0.note(&error.to_string());
        }
        Answer::Continue
    }
}

/// Makes the head of one direction the whole message.
#[derive(Clone)]
struct Bodiless(Direction);

impl Test for Bodiless {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let direction = direction(&mut fields)?;
        fields.finish()?;
        Ok(Self(direction))
    }

    fn stream(&self, desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        acting(Ending(self.0, desk.clone()))
    }
}

struct Ending(Direction, Desk);

impl Act for Ending {
    fn act(&mut self, _stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        if at == headers_of(self.0).0 {
            return Answer::EndStream;
        }
        self.1.note(at.name());
        Answer::Continue
    }
}
