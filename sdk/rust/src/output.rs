//! What a worker's stream says to the host, within the credit that the host has granted; and the credit that the host gets.

use std::collections::VecDeque;

use tokio::sync::mpsc::UnboundedSender;
use tonic::Status;

use crate::later::cost;
use crate::proto::REVISION;
use crate::proto::v1::{Action, Actions, Answer, Credit, Hello, ToHost, to_host::Message};

/// Callbacks that the host may have under way: a few thousand streams that wait at once.
const MESSAGES: u64 = 8192;

/// Bytes of bodies that the host may have under way.
const BYTES: u64 = 16 << 20;

pub(crate) struct Output {
    sender: UnboundedSender<Result<ToHost, Status>>,
    /// What the host lets us send. Bytes may be overdrawn by one message.
    messages: u64,
    bytes: i64,
    waiting: VecDeque<(ToHost, u64)>,
    /// What the host has used of its credit since it last got some.
    used: Credit,
}

impl Output {
    pub(crate) fn new(sender: UnboundedSender<Result<ToHost, Status>>) -> Self {
        let output = Self {
            sender,
            messages: 0,
            bytes: 0,
            waiting: VecDeque::new(),
            used: Credit::default(),
        };
        output.send(ToHost {
            message: Some(Message::Hello(Hello {
                revision: REVISION,
                credit: Some(Credit {
                    messages: MESSAGES,
                    bytes: BYTES,
                }),
                worker: 0,
            })),
            ..ToHost::default()
        });
        output
    }

    pub(crate) fn answer(
        &mut self,
        stream: u64,
        callback: u64,
        verdict: i32,
        actions: Vec<Action>,
        done: bool,
    ) {
        self.counted(
            cost(&actions),
            ToHost {
                stream,
                callback,
                message: Some(Message::Answer(Answer {
                    actions,
                    verdict,
                    done,
                })),
            },
        );
    }

    /// What a stream asks for by itself.
    pub(crate) fn actions(&mut self, stream: u64, actions: Vec<Action>) {
        if actions.is_empty() {
            return;
        }
        self.counted(
            cost(&actions),
            ToHost {
                stream,
                callback: 0,
                message: Some(Message::Actions(Actions { actions })),
            },
        );
    }

    /// The host grants more.
    pub(crate) fn granted(&mut self, credit: Credit) {
        self.messages = self.messages.saturating_add(credit.messages);
        let bytes = i64::try_from(credit.bytes).unwrap_or(i64::MAX);
        self.bytes = self.bytes.saturating_add(bytes);
        while self.may_send()
            && let Some((message, cost)) = self.waiting.pop_front()
        {
            self.pay(cost);
            self.send(message);
        }
        self.grant();
    }

    /// The host has used this much of its credit.
    pub(crate) fn used(&mut self, bytes: usize) {
        self.used.messages += 1;
        self.used.bytes += bytes as u64;
        self.grant();
    }

    /// Gives back what the host has used, a half at a time. Not while answers wait: so what waits here has a bound.
    fn grant(&mut self) {
        let much = self.used.messages >= MESSAGES / 2 || self.used.bytes >= BYTES / 2;
        if much && self.waiting.is_empty() {
            let credit = std::mem::take(&mut self.used);
            self.send(ToHost {
                message: Some(Message::Credit(credit)),
                ..ToHost::default()
            });
        }
    }

    fn counted(&mut self, cost: u64, message: ToHost) {
        if self.waiting.is_empty() && self.may_send() {
            self.pay(cost);
            self.send(message);
        } else {
            self.waiting.push_back((message, cost));
        }
    }

    fn may_send(&self) -> bool {
        self.messages > 0 && self.bytes > 0
    }

    fn pay(&mut self, cost: u64) {
        self.messages -= 1;
        let cost = i64::try_from(cost).unwrap_or(i64::MAX);
        self.bytes = self.bytes.saturating_sub(cost);
    }

    fn send(&self, message: ToHost) {
        // A host that is gone is seen by the end of its messages.
        let _ = self.sender.send(Ok(message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{ReplaceBody, action};
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    fn output() -> (Output, UnboundedReceiver<Result<ToHost, Status>>) {
        let (sender, mut receiver) = unbounded_channel();
        let output = Output::new(sender);
        assert!(matches!(next(&mut receiver), Some(Message::Hello(_))));
        (output, receiver)
    }

    fn next(receiver: &mut UnboundedReceiver<Result<ToHost, Status>>) -> Option<Message> {
        receiver.try_recv().ok()?.unwrap().message
    }

    fn credit(messages: u64, bytes: u64) -> Credit {
        Credit { messages, bytes }
    }

    fn body(size: usize) -> Vec<Action> {
        vec![Action {
            action: Some(action::Action::Body(ReplaceBody {
                direction: 0,
                data: vec![0; size].into(),
            })),
        }]
    }

    #[test]
    fn answers_wait_for_messages() {
        let (mut output, mut sent) = output();
        output.answer(1, 1, 0, Vec::new(), false);
        assert_eq!(next(&mut sent), None);
        output.granted(credit(2, 1));
        assert!(matches!(next(&mut sent), Some(Message::Answer(_))));
        output.answer(1, 2, 0, Vec::new(), false);
        output.answer(1, 3, 0, Vec::new(), false);
        assert!(next(&mut sent).is_some());
        assert_eq!(next(&mut sent), None);
        output.granted(credit(1, 0));
        assert!(next(&mut sent).is_some());
    }

    #[test]
    fn bytes_may_be_overdrawn_once() {
        let (mut output, mut sent) = output();
        output.granted(credit(10, 1));
        output.answer(1, 1, 0, body(100), false);
        assert!(next(&mut sent).is_some());
        output.answer(1, 2, 0, body(1), false);
        output.granted(credit(0, 99));
        assert_eq!(next(&mut sent), None);
        output.granted(credit(0, 1));
        assert!(next(&mut sent).is_some());
    }

    #[test]
    fn the_host_gets_back_what_it_used_but_not_while_answers_wait() {
        let (mut output, mut sent) = output();
        output.answer(1, 1, 0, Vec::new(), false);
        for _ in 0..MESSAGES / 2 {
            output.used(1);
        }
        assert_eq!(next(&mut sent), None);
        output.granted(credit(1, 1));
        assert!(matches!(next(&mut sent), Some(Message::Answer(_))));
        let back = credit(MESSAGES / 2, MESSAGES / 2);
        assert_eq!(next(&mut sent), Some(Message::Credit(back)));
    }
}
