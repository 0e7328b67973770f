//! A connection of the host's, as its network filter here sees it.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use transom_api::headers::BodyHost;
use transom_api::host::{ConnectionFlowHost, ConnectionHost};
use transom_api::network::CHOSEN_CLUSTER;
use transom_api::{Attribute, BodyError, Direction, FilterError};

use crate::later::{Later, later_hosts};
use crate::proto::v1::{self, Action as Asked, action::Action};
use crate::stream::splice;

/// What is known of a connection, and what its filter asked for.
pub(crate) struct RemoteConnection {
    pub(crate) later: Later,
    shown: Option<(Direction, Bytes, bool)>,
    /// The filter failed: it is not called any more.
    pub(crate) failed: bool,
}

impl RemoteConnection {
    pub(crate) fn new(later: Later) -> Self {
        Self {
            later,
            shown: None,
            failed: false,
        }
    }

    pub(crate) fn bytes_arrive(&mut self, direction: Direction, bytes: Bytes) {
        self.shown = Some((direction, bytes, false));
    }

    /// All that was asked for, with the bytes that the callback changed.
    pub(crate) fn take_actions(&mut self) -> Vec<Asked> {
        if let Some((direction, data, true)) = self.shown.take() {
            self.later.ask(Action::Body(v1::ReplaceBody {
                direction: direction as i32,
                data,
            }));
        }
        // `Connection::choose_cluster` leaves its choice in the connection's state.
        let state = self.later.connection_state();
        if let Some(cluster) = state.get_mut::<String>(CHOSEN_CLUSTER)
            && !cluster.is_empty()
        {
            let cluster = std::mem::take(cluster);
            self.later.ask(Action::ChooseCluster(cluster));
        }
        self.later.take_actions()
    }

    /// Nothing follows from a connection's bytes.
    fn own_attribute(&self, _name: &str) -> Option<Attribute<'_>> {
        None
    }
}

impl BodyHost for RemoteConnection {
    fn body_chunk(&self, direction: Direction, index: usize) -> Option<Cow<'_, [u8]>> {
        match &self.shown {
            Some((shown, bytes, _)) if *shown == direction && index == 0 && !bytes.is_empty() => {
                Some(Cow::Borrowed(bytes))
            }
            _ => None,
        }
    }

    fn body_len(&self, direction: Direction) -> usize {
        match &self.shown {
            Some((shown, bytes, _)) if *shown == direction => bytes.len(),
            _ => 0,
        }
    }

    fn splice_body(
        &mut self,
        direction: Direction,
        range: Range<usize>,
        insert: &[u8],
    ) -> Result<(), BodyError> {
        let shown = self.shown.as_mut();
        let shown = shown.filter(|(shown, ..)| *shown == direction);
        splice(
            shown.map(|(_, bytes, changed)| (bytes, changed)),
            range,
            insert,
        )
    }
}

impl ConnectionFlowHost for RemoteConnection {
    fn continue_bytes(&mut self, direction: Direction) {
        self.later.ask(Action::Resume(direction as i32));
    }

    fn inject_bytes(&mut self, direction: Direction, bytes: &[u8], end: bool) {
        self.later.ask(Action::Inject(v1::Inject {
            direction: direction as i32,
            data: Bytes::copy_from_slice(bytes),
            end,
        }));
    }

    fn close(&mut self) {
        self.later.ask(Action::Terminate(v1::Unit {}));
    }

    fn reset(&mut self) {
        self.later.ask(Action::Reset(v1::Unit {}));
    }

    fn fail(&mut self, error: FilterError) {
        self.failed = true;
        self.later.ask(Action::Fail(error.message.into_owned()));
    }
}

later_hosts!(RemoteConnection);

impl ConnectionHost for RemoteConnection {}
