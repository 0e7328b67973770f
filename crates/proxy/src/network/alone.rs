//! Connections whose filters serve them by themselves: the last of the chain answers the client.

use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use crate::http::connection::Timer;
use crate::io::Io;
use crate::listener::ConnectionSlot;
use crate::worker::Worker;

/// After this time without a byte either way the connection is closed: as long as `tcp_proxy` waits by default.
const IDLE: Duration = Duration::from_secs(3600);

/// Serves a connection until a filter closes it, the client has ended, or it idles too long.
pub(crate) async fn serve(io: Io, worker: Rc<Worker>, slot: ConnectionSlot) {
    // A chain that ends in a filter has one; a socket without any has nobody who would answer.
    let Io::Filtered(mut filtered) = io else {
        return;
    };
    let mut timer = Timer::default();
    let mut active = worker.now();
    let mut moves = filtered.moves();
    let over = std::future::poll_fn(|cx| {
        let over = filtered.poll_alone(cx);
        if over.is_ready() {
            return over;
        }
        let moved = filtered.moves();
        if std::mem::replace(&mut moves, moved) != moved {
            active = worker.now();
        }
        loop {
            let Some(deadline) = active.checked_add(IDLE) else {
                return Poll::Pending;
            };
            let now = ready!(timer.poll(cx, deadline));
            if now.saturating_duration_since(active) >= IDLE {
                return Poll::Ready(Ok(()));
            }
        }
    });
    if let Err(error) = over.await {
        // That a filter closes it is a usual end of a connection, and so is a client that goes away.
        tracing::trace!(%error, "a connection that its filters serve has ended");
    }
    drop(filtered);
    drop(slot);
}
