//! One costly step of a handshake per turn of a worker's loop.
//!
//! The step that answers a ClientHello signs with the certificate's key: a tenth of a millisecond with P-256, half a
//! millisecond and more with RSA. When a thousand clients come at once, a thousand such steps would be one turn, and the
//! streams that are there would wait for all of them. So each step waits until the one before was a whole turn ago.
//! Handshakes as such are not counted: one that waits for its client's network costs nobody anything, and a bound on them
//! could be held by clients that send nothing.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use tokio::sync::Semaphore;

/// Where handshakes of a worker wait for their turn. First come, first served.
pub(crate) struct HandshakeGate(Semaphore);

impl Default for HandshakeGate {
    fn default() -> Self {
        Self(Semaphore::new(1))
    }
}

impl HandshakeGate {
    /// Drives `handshake`, whose first poll is costly, in a turn in which no other is begun.
    pub(super) async fn pass<F: Future + Unpin>(&self, mut handshake: F) -> F::Output {
        // It is never closed; without a permit the handshake would only be less polite.
        let permit = self.0.acquire().await;
        let first = poll_fn(|cx| Poll::Ready(Pin::new(&mut handshake).poll(cx))).await;
        if let Poll::Ready(output) = first {
            drop(permit);
            return output;
        }
        // The loop goes once round all that is ready, sockets too, before this comes back.
        tokio::task::yield_now().await;
        drop(permit);
        handshake.await
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    /// What happened in which order.
    type Order = Rc<RefCell<Vec<&'static str>>>;

    fn handshake(order: &Order, polls: usize) -> impl Future<Output = ()> + Unpin + use<> {
        let order = Rc::clone(order);
        let mut left = polls;
        poll_fn(move |cx| {
            order.borrow_mut().push("step");
            left -= 1;
            if left == 0 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }

    #[tokio::test(flavor = "local")]
    async fn others_are_served_between_the_first_steps() {
        let order = Order::default();
        let gate = Rc::new(HandshakeGate::default());
        let mut tasks = Vec::new();
        for _ in 0..3 {
            let (gate, order) = (Rc::clone(&gate), Rc::clone(&order));
            tasks.push(tokio::task::spawn_local(async move {
                gate.pass(handshake(&order, usize::MAX)).await;
            }));
        }
        let stream = Rc::clone(&order);
        let stream = tokio::task::spawn_local(async move {
            for _ in 0..2 {
                stream.borrow_mut().push("stream");
                tokio::task::yield_now().await;
            }
        });
        stream.await.unwrap();
        for task in tasks {
            task.abort();
        }
        let order = order.borrow();
        let second = order.iter().skip_while(|it| **it == "step");
        assert_eq!(order.first(), Some(&"step"), "{order:?}");
        assert!(
            order.iter().take_while(|it| **it == "step").count() == 1,
            "{order:?}"
        );
        assert!(second.count() >= 2, "{order:?}");
    }
}
