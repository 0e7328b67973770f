//! Filters that meddle with where a request goes: `rematch` and `rechoose` (once or for ever), `reroute` (clears the
//! route), `skip` (the rest of its phase), and `tag`, which has another configuration on each route.

use std::marker::PhantomData;

use transom_api::{
    DuplicateExtension, FilterError, Node, ParseError, Phase, Registry, Stream, StreamInstance,
    Wants,
};

use crate::Lab;
use crate::kit::{self, Act, Answer, At, Desk, Test, acting, flag, text};

pub(crate) fn register(registry: &mut Registry, lab: &Lab) -> Result<(), DuplicateExtension> {
    kit::register::<Again<Rematch>>(registry, lab, "rematch")?;
    kit::register::<Again<Rechoose>>(registry, lab, "rechoose")?;
    kit::register::<Reroute>(registry, lab, "reroute")?;
    kit::register::<Skip>(registry, lab, "skip")?;
    kit::register::<Tag>(registry, lab, "tag")
}

/// What is done again.
trait Repeat: Clone + Send + Sync + 'static {
    const PHASE: Phase;
    fn again(stream: &mut Stream<'_>);
}

#[derive(Clone)]
struct Rematch;

impl Repeat for Rematch {
    const PHASE: Phase = Phase::AfterRoute;

    fn again(stream: &mut Stream<'_>) {
        let again = stream.rematch_route();
        debug_assert!(again.is_ok(), "the head has not left");
    }
}

#[derive(Clone)]
struct Rechoose;

impl Repeat for Rechoose {
    const PHASE: Phase = Phase::AfterChooseHost;

    fn again(stream: &mut Stream<'_>) {
        let again = stream.rechoose_host();
        debug_assert!(again.is_ok(), "the head has not left");
    }
}

/// Asks for another route or host: once, guarded by a field, or each time that it is called.
#[derive(Clone)]
struct Again<R> {
    forever: bool,
    /// The path that the second match shall see.
    path: String,
    what: PhantomData<R>,
}

impl<R: Repeat> Test for Again<R> {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let again = Self {
            forever: flag(&mut fields, "forever")?,
            path: text(&mut fields, "path", "")?.to_owned(),
            what: PhantomData,
        };
        fields.finish()?;
        Ok(again)
    }

    fn phase(&self) -> Phase {
        R::PHASE
    }

    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS
    }

    fn stream(&self, desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        acting(Repeating {
            again: self.clone(),
            desk: desk.clone(),
            done: false,
        })
    }
}

struct Repeating<R> {
    again: Again<R>,
    desk: Desk,
    done: bool,
}

impl<R: Repeat> Act for Repeating<R> {
    fn act(&mut self, stream: &mut Stream<'_>, _at: At, _end: bool) -> Answer {
        self.desk.note("called");
        if self.again.forever || !self.done {
            self.done = true;
            if !self.again.path.is_empty() {
                let set = stream.request_mut().set(":path", &self.again.path);
                debug_assert!(set.is_ok(), "the head has not left");
            }
            R::again(stream);
        }
        Answer::Continue
    }
}

/// Sets the path and forgets the route.
#[derive(Clone)]
struct Reroute {
    path: String,
}

impl Test for Reroute {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let path = fields.required("path")?.as_str()?.to_owned();
        fields.finish()?;
        Ok(Self { path })
    }

    fn stream(&self, desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        acting(Rerouting(self.path.clone(), desk.clone()))
    }
}

struct Rerouting(String, Desk);

impl Act for Rerouting {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        match at {
            At::RequestHeaders => {
                let set = stream.request_mut().set(":path", &self.0);
                debug_assert!(set.is_ok(), "the head has not left");
                let cleared = stream.clear_route();
                debug_assert!(cleared.is_ok(), "the head has not left");
            }
            At::ResponseHeaders if stream.clear_route().is_err() => self.1.note("released"),
            _ => {}
        }
        Answer::Continue
    }
}

/// Skips the filters behind it in its phase: what MOSN's Stop without a reply does.
#[derive(Clone)]
struct Skip;

impl Test for Skip {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        node.as_fields()?.finish()?;
        Ok(Self)
    }

    fn stream(&self, _desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        acting(Skipping)
    }
}

struct Skipping;

impl Act for Skipping {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        if at == At::RequestHeaders {
            stream.skip_phase();
        }
        Answer::Continue
    }
}

/// Adds its value to `x-tag`: that of the most specific configuration.
#[derive(Clone)]
struct Tag {
    value: String,
}

impl Test for Tag {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let value = fields.required("value")?.as_str()?.to_owned();
        fields.finish()?;
        Ok(Self { value })
    }

    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS.and(Wants::RESPONSE_HEADERS)
    }

    fn stream(&self, _desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        acting(Tagging(self.clone()))
    }
}

struct Tagging(Tag);

impl Act for Tagging {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        let value = stream
            .route_config::<Tag>()
            .map_or_else(|| self.0.value.clone(), |tag| tag.value.clone());
        let added = match at {
            At::ResponseHeaders => stream.response_mut().add("x-tag", value),
            _ => stream.request_mut().add("x-tag", value),
        };
        debug_assert!(added.is_ok(), "a good name and value");
        Answer::Continue
    }
}
