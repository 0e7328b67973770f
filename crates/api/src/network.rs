//! Network filters: they see the bytes of a connection.

use std::rc::Rc;

use crate::context::{async_methods, info_methods, record_methods};
use crate::event::{Event, ResetReason};
use crate::factory::{BuildError, FilterError};
use crate::headers::{Body, BodyMut};
use crate::host::ConnectionHost;
use crate::verdict::{Direction, NetworkVerdict};
use crate::worker::{Worker, WorkerPart};

/// A filter of one connection, between the socket and what ends the chain: `http`, `tcp_proxy`, or a filter that is
/// [terminal](crate::factory::Parsed::is_terminal). The same rules as for
/// stream filters: callbacks run on the connection's worker and answer at once.
pub trait NetworkFilter {
    /// The connection has begun. While a filter stops here nothing is read.
    fn on_new_connection(&mut self, _connection: &mut Connection<'_>) -> NetworkVerdict {
        NetworkVerdict::Continue
    }

    /// Bytes of the client have come: all that waits here is shown. `end`: the client sends no more.
    fn on_data(&mut self, _connection: &mut Connection<'_>, _end: bool) -> NetworkVerdict {
        NetworkVerdict::Continue
    }

    /// Bytes for the client have come: all that waits here is shown. `end`: no more follow.
    fn on_write(&mut self, _connection: &mut Connection<'_>, _end: bool) -> NetworkVerdict {
        NetworkVerdict::Continue
    }

    /// Something happened while the connection waited, or went on without this filter.
    fn on_event(&mut self, _connection: &mut Connection<'_>, _event: Event) {}

    /// The connection is over, and who ended it: [`Downstream`](ResetReason::Downstream) when the client had said that it
    /// sends no more. Called once.
    fn on_close(&mut self, _connection: &mut Connection<'_>, _by: ResetReason) {}
}

/// What a network filter needs to see. What no filter of a chain needs is not copied for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkWants {
    /// [`NetworkFilter::on_data`].
    pub data: bool,
    /// [`NetworkFilter::on_write`].
    pub write: bool,
}

impl NetworkWants {
    /// The bytes of both directions.
    pub const EVERYTHING: Self = Self {
        data: true,
        write: true,
    };
    /// The bytes of the client.
    pub const DATA: Self = Self {
        data: true,
        write: false,
    };
    /// Only that the connection begins and ends, and events.
    pub const CONNECTION: Self = Self {
        data: false,
        write: false,
    };
}

/// A prepared configuration of a network filter, shared by all workers.
pub trait NetworkFilterConfig: Send + Sync {
    /// Which bytes its filters need to see. The answer never changes.
    fn wants(&self) -> NetworkWants {
        NetworkWants::EVERYTHING
    }

    /// Builds the part that one worker has.
    fn on_worker(&self, worker: &mut Worker<'_>)
    -> Result<Rc<dyn NetworkFilterWorker>, BuildError>;
}

/// A worker's part of a network filter.
pub trait NetworkFilterWorker: WorkerPart {
    /// Makes the filter of a connection.
    fn connection(
        &self,
        connection: &mut Connection<'_>,
    ) -> Result<Box<dyn NetworkFilter>, FilterError>;
}

/// The key in a connection's state under which [`Connection::choose_cluster`] leaves its choice, a `String`.
pub const CHOSEN_CLUSTER: &str = "transom.tcp_proxy.cluster";

/// What a network filter can see and do during a callback.
pub struct Connection<'a> {
    host: &'a mut dyn ConnectionHost,
}

impl<'a> Connection<'a> {
    /// A context over a host.
    #[must_use]
    pub fn new(host: &'a mut dyn ConnectionHost) -> Self {
        Self { host }
    }

    /// The bytes that this callback shows ([`Direction::Request`]: from the client), to read.
    #[must_use]
    pub fn bytes(&self, direction: Direction) -> Body<'_> {
        Body::new(&*self.host, direction)
    }

    /// The bytes that this callback shows, to change.
    #[must_use]
    pub fn bytes_mut(&mut self, direction: Direction) -> BodyMut<'_> {
        BodyMut::new(&mut *self.host, direction)
    }

    /// Lets the client's bytes go on from here after a stop verdict. Twice is once.
    pub fn continue_reading(&mut self) {
        self.host.continue_bytes(Direction::Request);
    }

    /// Lets the bytes for the client go on from here after a stop verdict. Twice is once.
    pub fn continue_writing(&mut self) {
        self.host.continue_bytes(Direction::Response);
    }

    /// Sends bytes of the filter's own on from here, behind what went on before: towards the host
    /// ([`Direction::Request`]) or towards the client. With `end` they are the last of that direction.
    pub fn inject(&mut self, direction: Direction, bytes: &[u8], end: bool) {
        self.host.inject_bytes(direction, bytes, end);
    }

    /// Has the `tcp_proxy` at the end of the chain take this cluster in place of its own. Holds until it has chosen, which is
    /// when the last filter lets the connection begin; the last word counts. A cluster that the filter has not
    /// [declared](crate::factory::Parsed::clusters), or that is not there, closes the connection.
    pub fn choose_cluster(&mut self, cluster: &str) {
        self.connection_state()
            .set(CHOSEN_CLUSTER, cluster.to_owned());
    }

    /// Closes the connection after what was written has left.
    pub fn close(&mut self) {
        self.host.close();
    }

    /// Closes the connection at once, without what was not written yet. A client on TCP sees a reset in place of an end.
    pub fn reset(&mut self) {
        self.host.reset();
    }

    /// Reports that the extension failed on this connection: its failure policy holds, and it is not called again.
    pub fn fail(&mut self, error: FilterError) {
        self.host.fail(error);
    }

    info_methods!();
    async_methods!();
    record_methods!();
}
