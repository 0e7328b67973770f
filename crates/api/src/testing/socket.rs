//! An accepted socket that meets one listener filter.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::later::{Later, later_hosts};
use super::{FakeProcess, FakeWorker, SetupError};
use crate::builtin::{ListenerBuiltin, ListenerBuiltinFactory};
use crate::factory::{Factory, FilterError};
use crate::kind::ListenerFilters;
use crate::listener::{
    ListenerFilter, ListenerFilterConfig, ListenerFilterWorker, Socket, SocketHost, SocketInfo,
};
use crate::node::Node;
use crate::verdict::ListenerVerdict;

/// A listener filter that was prepared and built on a worker.
pub struct FakeListenerUse {
    config: Arc<dyn ListenerFilterConfig>,
    part: Rc<dyn ListenerFilterWorker>,
    process: FakeProcess,
}

/// An accepted socket: from 192.0.2.1:1000 to 192.0.2.2:2000 unless the test says otherwise.
pub struct FakeSocket {
    filter: Option<Box<dyn ListenerFilter>>,
    part: Rc<dyn ListenerFilterWorker>,
    host: Host,
}

struct Host {
    later: Later,
    info: SocketInfo,
    original: Option<SocketAddr>,
    failure: Option<FilterError>,
}

impl FakeWorker {
    /// Parses, prepares and builds a built-in listener filter.
    pub fn listener_builtin<B: ListenerBuiltin>(
        &mut self,
        config: &Node,
    ) -> Result<FakeListenerUse, SetupError> {
        self.listener_filter(&ListenerBuiltinFactory::<B>(PhantomData), config)
    }

    /// Parses, prepares and builds a listener filter.
    pub fn listener_filter(
        &mut self,
        factory: &dyn Factory<ListenerFilters>,
        config: &Node,
    ) -> Result<FakeListenerUse, SetupError> {
        let (config, _) = self.prepare(factory, config)?;
        let part = config.on_worker(&mut self.view())?;
        Ok(FakeListenerUse {
            config,
            part,
            process: self.process().clone(),
        })
    }
}

impl FakeListenerUse {
    /// How many bytes the filter may need to see.
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.config.peek()
    }

    /// A socket that meets this use.
    #[must_use]
    pub fn socket(&self) -> FakeSocket {
        let source = SocketAddr::from(([192, 0, 2, 1], 1000));
        FakeSocket {
            filter: None,
            part: Rc::clone(&self.part),
            host: Host {
                later: Later::new(self.process.clone()),
                info: SocketInfo {
                    source: Some(source),
                    direct_source: Some(source),
                    destination: Some(SocketAddr::from(([192, 0, 2, 2], 2000))),
                    ..SocketInfo::default()
                },
                original: None,
                failure: None,
            },
        }
    }
}

impl FakeSocket {
    /// The same, whose peer has another address.
    #[must_use]
    pub fn from(mut self, source: Option<SocketAddr>) -> Self {
        self.host.info.source = source;
        self.host.info.direct_source = source;
        self
    }

    /// The same, whose client wanted to go elsewhere before it was redirected.
    #[must_use]
    pub fn redirected_from(mut self, original: SocketAddr) -> Self {
        self.host.original = Some(original);
        self
    }

    /// What is known of the socket by now.
    #[must_use]
    pub fn info(&self) -> &SocketInfo {
        &self.host.info
    }

    /// The socket was accepted.
    ///
    /// # Panics
    /// When the filter cannot be made.
    pub fn accept(&mut self) -> ListenerVerdict {
        let Self { filter, part, host } = self;
        let mut socket = Socket::new(host);
        let filter = filter.get_or_insert_with(|| match part.socket(&mut socket) {
            Ok(filter) => filter,
            Err(error) => panic!("{error}"),
        });
        let verdict = filter.on_accept(&mut Socket::new(host));
        self.unless_failed(verdict)
    }

    /// All bytes that have come so far; with `end`, no more will. Accepts the socket first, if the test has not: its answer
    /// is the one of `on_accept`, when that does not wait for bytes.
    pub fn peek(&mut self, bytes: impl AsRef<[u8]>, end: bool) -> ListenerVerdict {
        if self.filter.is_none() {
            match self.accept() {
                ListenerVerdict::StopIteration => {}
                passed => return passed,
            }
        }
        let Self { filter, host, .. } = self;
        host.info.consumed = 0;
        let verdict = match filter {
            Some(filter) => filter.on_peek(&mut Socket::new(host), bytes.as_ref(), end),
            None => ListenerVerdict::Close,
        };
        self.unless_failed(verdict)
    }

    /// What the filter reported as its failure, for which the socket was closed.
    #[must_use]
    pub fn failure(&self) -> Option<&FilterError> {
        self.host.failure.as_ref()
    }

    fn unless_failed(&self, verdict: ListenerVerdict) -> ListenerVerdict {
        match self.host.failure {
            Some(_) => ListenerVerdict::Close,
            None => verdict,
        }
    }
}

impl SocketHost for Host {
    fn info(&mut self) -> &mut SocketInfo {
        &mut self.info
    }

    fn original_destination(&self) -> Option<SocketAddr> {
        // As the kernel does, a test may tell it of a connection that was not redirected.
        self.original
            .filter(|original| Some(*original) != self.info.destination)
    }

    fn fail(&mut self, error: FilterError) {
        self.failure.get_or_insert(error);
    }
}

later_hosts!(Host);

impl fmt::Debug for FakeListenerUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeListenerUse").finish_non_exhaustive()
    }
}

impl fmt::Debug for FakeSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeSocket")
            .field("info", &self.host.info)
            .finish_non_exhaustive()
    }
}
