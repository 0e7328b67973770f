//! `peek`: a listener filter that does what it should better not do.

use transom_api::builtin::ListenerBuiltin;
use transom_api::listener::HandOver;
use transom_api::{
    DuplicateExtension, ListenerFilter, ListenerVerdict, Node, ParseError, Registry, Schema, Socket,
};

pub(crate) fn register(registry: &mut Registry) -> Result<(), DuplicateExtension> {
    registry.register_listener_builtin::<Peek>("peek")
}

/// `do`: `panic` panics at the first byte; `panic_at_accept` before it; `close` closes at the first byte; `eat` reads the
/// first byte away; `wait` wants more, for ever; `to ADDRESS` hands over to the listener there.
#[derive(Clone)]
struct Peek(String);

impl ListenerBuiltin for Peek {
    type Filter = Self;

    fn schema() -> Schema {
        Schema::object().required("do", Schema::string())
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let what = fields.required("do")?.as_str()?.to_owned();
        fields.finish()?;
        Ok(Self(what))
    }

    fn peek(&self) -> usize {
        16
    }

    fn filter(&self) -> Self {
        self.clone()
    }
}

impl ListenerFilter for Peek {
    fn on_accept(&mut self, socket: &mut Socket<'_>) -> ListenerVerdict {
        assert_ne!(self.0, "panic_at_accept", "as it was told");
        if let Some(to) = self.0.strip_prefix("to ").and_then(|to| to.parse().ok()) {
            let info = socket.info();
            info.destination = Some(to);
            info.hand_over = HandOver::ToDestination;
        }
        ListenerVerdict::StopIteration
    }

    fn on_peek(&mut self, socket: &mut Socket<'_>, bytes: &[u8], _end: bool) -> ListenerVerdict {
        match self.0.as_str() {
            "panic" => panic!("as it was told"),
            "close" => ListenerVerdict::Close,
            "wait" => ListenerVerdict::StopIteration,
            "eat" => {
                socket.info().consumed = bytes.len().min(1);
                ListenerVerdict::Continue
            }
            _ => ListenerVerdict::Continue,
        }
    }
}
