//! Filters that say which host (`ask_host`), with what words the answer goes out (`reason`), and what the configuration
//! gives to the route (`route_metadata`).

use transom_api::host::OverrideError;
use transom_api::{
    DuplicateExtension, FilterError, Node, ParseError, Phase, Registry, Stream, StreamInstance,
    Wants,
};

use crate::Lab;
use crate::kit::{self, Act, Answer, At, Desk, Test, acting};

pub(crate) fn register(registry: &mut Registry, lab: &Lab) -> Result<(), DuplicateExtension> {
    kit::register::<AskHost>(registry, lab, "ask_host")?;
    kit::register::<Reason>(registry, lab, "reason")?;
    kit::register::<RouteMetadata>(registry, lab, "route_metadata")
}

/// Asks for the host that the request's `x-host` names; with `x-strict`, for no other. Notes what it was told, and what it
/// is told when it asks too late.
#[derive(Clone)]
struct AskHost;

impl Test for AskHost {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        node.as_fields()?.finish()?;
        Ok(Self)
    }

    fn phase(&self) -> Phase {
        Phase::AfterRoute
    }

    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS.and(Wants::RESPONSE_HEADERS)
    }

    fn stream(&self, desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        acting(Asking(desk.clone()))
    }
}

struct Asking(Desk);

impl Act for Asking {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        let host = stream.request().get("x-host").map(|host| host.to_string());
        let strict = stream.request().contains("x-strict");
        if let Some(host) = host {
            match stream.override_host(&host, strict) {
                Ok(()) => {}
                Err(OverrideError::Released) if at == At::ResponseHeaders => {}
                Err(error) => self.0.note(&format!("{at:?}: {error}")),
            }
        }
        Answer::Continue
    }
}

/// Notes the reason phrase as it came, and sets another.
#[derive(Clone)]
struct Reason {
    set: String,
}

impl Test for Reason {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let set = fields.required("set")?.as_str()?.to_owned();
        fields.finish()?;
        Ok(Self { set })
    }

    fn stream(&self, desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        acting(Reasoning(self.set.clone(), desk.clone()))
    }
}

struct Reasoning(String, Desk);

impl Act for Reasoning {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        let reason = stream.reason_phrase();
        let reason = reason.map(|reason| String::from_utf8_lossy(&reason).into_owned());
        self.1.note(&format!("{at:?} {reason:?}"));
        if let Err(error) = stream.set_reason_phrase(self.0.as_bytes()) {
            self.1.note(&format!("{at:?} {error:?}"));
        }
        Answer::Continue
    }
}

/// Notes the key `tier` of its own namespace, of route and virtual host, in each callback.
#[derive(Clone)]
struct RouteMetadata;

impl Test for RouteMetadata {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        node.as_fields()?.finish()?;
        Ok(Self)
    }

    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS.and(Wants::RESPONSE_HEADERS)
    }

    fn stream(&self, desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        acting(Telling(desk.clone()))
    }
}

struct Telling(Desk);

impl Act for Telling {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        let name = &*self.0.name;
        let [route, virtual_host] = [
            stream.route_metadata(name),
            stream.virtual_host_metadata(name),
        ]
        .map(|space| match space.and_then(|space| space.get("tier")) {
            Some(tier) => tier.to_string(),
            None => "-".to_owned(),
        });
        self.0.note(&format!("{at:?} {route} {virtual_host}"));
        Answer::Continue
    }
}
