//! The actions of a plugin on a stream.

use transom_api::{Direction, FilterError, Stream, Wants};

use super::{Flow, RemoteFilter, Side, Step, tell};
use crate::needs::UnknownCallbacks;
use crate::remote::actions::{self, Fault, Told};
use crate::remote::wire::{self, field};
use crate::v1::{Action, action};

impl RemoteFilter {
    pub(super) fn carry_out(
        &mut self,
        stream: &mut Stream<'_>,
        actions: Vec<Action>,
    ) -> Result<Flow, Fault> {
        if actions.is_empty() {
            return Ok(Flow::On);
        }
        let mut told = Vec::new();
        let mut flow = Flow::On;
        for action in actions {
            let Some(action) = action.action else {
                return Err("an action that this host does not know".to_owned());
            };
            let shared = &self.pool.shared;
            let rest = self
                .under_way
                .carry_out(stream, shared, action, &mut told)?;
            let Some(action) = rest else { continue };
            if let Flow::Over = self.act(stream, action)? {
                flow = Flow::Over;
                break;
            }
        }
        for told in told {
            self.event(|it| match &told {
                Told::Callout(number, error) => it.callout(2, *number, &Err(error.clone())),
                Told::Shared(key, result) => it.shared(4, key, result),
            });
        }
        Ok(flow)
    }

    /// An action that only streams have.
    fn act(&mut self, stream: &mut Stream<'_>, action: action::Action) -> Result<Flow, Fault> {
        match action {
            action::Action::Fields(change) => actions::change_fields(stream, &change)?,
            action::Action::Body(body) => {
                let direction = direction(body.direction)?;
                let waits = stream.body(direction).len();
                let side = self.side(direction);
                let range = side.approved.min(waits)..side.shown.min(waits);
                side.shown = range.start + body.data.len();
                stream
                    .body_mut(direction)
                    .splice(range, &body.data)
                    .map_err(|error| format!("it replaced the body: {error}"))?;
            }
            action::Action::Resume(number) => {
                let direction = direction(number)?;
                self.resume(stream, direction);
            }
            action::Action::LocalReply(reply) => {
                let reply = actions::local_reply(reply)?;
                let done = stream.send_local_reply(reply);
                tell(stream, done, "a local reply");
                if done.is_ok() {
                    // What waited of the request is no more.
                    *self.side(Direction::Request) = Side {
                        cut: true,
                        ..Side::default()
                    };
                    if self.side(Direction::Response).head != Step::Idle {
                        *self.side(Direction::Response) = Side::default();
                    }
                    return Ok(Flow::Over);
                }
            }
            action::Action::SkipPhase(_) => stream.skip_phase(),
            action::Action::ClearRoute(_) => {
                let done = stream.clear_route();
                tell(stream, done, "clear_route");
            }
            action::Action::RematchRoute(_) => {
                let done = stream.rematch_route();
                tell(stream, done, "rematch_route");
            }
            action::Action::RechooseHost(_) => {
                let done = stream.rechoose_host();
                tell(stream, done, "rechoose_host");
            }
            action::Action::Terminate(_) => {
                stream.terminate();
                self.finish(None);
                return Ok(Flow::Over);
            }
            action::Action::Inject(inject) => {
                let direction = direction(inject.direction)?;
                let done = stream.inject(direction, &inject.data, inject.end);
                tell(stream, done, "inject");
            }
            action::Action::HoldBack(it) => stream.hold_back(direction(it.direction)?, it.hold),
            action::Action::Forgo(bits) => {
                let unknown = UnknownCallbacks(bits & !Wants::KNOWN_BITS);
                let forgone = Wants::from_bits(bits).ok_or_else(|| unknown.to_string());
                stream.forgo(forgone?);
            }
            action::Action::Fail(why) => {
                let name = self.pool.shared.used.plugin.name();
                let message = format!("the plugin `{name}` failed: {why}");
                self.give_up(stream, FilterError::broken(message));
                return Ok(Flow::Over);
            }
            action::Action::Reset(_) | action::Action::ChooseCluster(_) => {
                return Err("an action of connections on a stream".to_owned());
            }
            // The others were carried out before.
            _ => {}
        }
        Ok(Flow::On)
    }

    /// Tells the plugin of something that happened between callbacks.
    pub(super) fn event(&mut self, write: impl FnOnce(&mut wire::Message<'_>)) {
        let Some(bound) = self.bound.as_ref().filter(|bound| bound.begun) else {
            return;
        };
        self.callbacks += 1;
        bound.link.tell(bound.stream, self.callbacks, |it| {
            it.nested(field::EVENT, write);
        });
    }
}

fn direction(number: i32) -> Result<Direction, Fault> {
    match number {
        0 => Ok(Direction::Request),
        1 => Ok(Direction::Response),
        _ => Err(format!("there is no direction {number}")),
    }
}
