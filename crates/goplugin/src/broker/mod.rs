//! The broker: further connections between host and plugin, made by number, in either direction.
//!
//! One side takes a number ([`GrpcBroker::next_id`]), serves under it ([`GrpcBroker::serve`]) and tells it to the other in a call of
//! the application's own; the other side dials it ([`GrpcBroker::dial`]). Go's names are `NextId`, `AcceptAndServe` and `Dial`.
//!
//! On the wire there is one stream of `plugin.ConnInfo` messages in each direction (`/plugin.GRPCBroker/StartStream`). In the classic
//! mode the serving side opens a listener of its own and sends its address. In the multiplexed mode the dialling side sends a knock,
//! the serving side acknowledges it, and the next stream of the shared connection is theirs.

#[cfg(test)]
mod multiplexed_tests;
mod slots;
mod stream;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::handshake::PluginAddr;
use crate::http2::{Channel, Dialer, Presence, Server};
use crate::mux::Mux;
use crate::net::{Io, Listener, ListenerConfig};
use crate::owner::Owner;
use crate::proto::{ConnInfo, conn_info::Knock};
use crate::services::Services;
use crate::task::{Task, lock, raised};
use crate::tls::Tls;

use slots::Slots;
pub(crate) use stream::{BrokerService, Outbox, run_client};

/// How long the two sides may be apart: a dial waits that long for its listener, and an address that long for its dial.
const MEETING: Duration = Duration::from_secs(5);

/// How long a knock waits for its listener: less than [`MEETING`], so that the peer hears why.
const KNOCK_WAIT: Duration = Duration::from_secs(4);

/// Makes and finds connections beside the main one. Cheap to clone; ends with the plugin.
#[doc(alias = "GRPCBroker")]
#[derive(Clone)]
pub struct GrpcBroker {
    shared: Arc<Shared>,
}

struct Shared {
    next_id: AtomicU32,
    outbox: Outbox,
    slots: Slots,
    mode: Mode,
    tls: Option<Tls>,
    translate: Arc<dyn Translate>,
    /// True once the broker ended; serving and dialling end with it.
    closed: watch::Sender<bool>,
    /// Held from a knock to the stream that it is for.
    dialling: tokio::sync::Mutex<()>,
    listening: Notify,
    waiting_knocks: Mutex<usize>,
    /// Unix sockets that the peer told of; a host removes what a killed plugin left.
    addresses: Mutex<Vec<PluginAddr>>,
}

/// How brokered connections come about.
pub(crate) enum Mode {
    Classic(ListenerConfig),
    Multiplexed(Mux),
}

/// Rewrites addresses between host and plugin where they see different file systems or networks.
pub(crate) trait Translate: Send + Sync {
    fn incoming(&self, address: PluginAddr) -> io::Result<PluginAddr>;
    fn outgoing(&self, address: PluginAddr) -> io::Result<PluginAddr>;

    /// Who may listen at the other side's addresses.
    fn owner(&self) -> Owner {
        Owner::Anyone
    }
}

/// The addresses of both sides are good as they are, and whoever listens there is believed.
pub(crate) struct Identical;

impl Translate for Identical {
    fn incoming(&self, address: PluginAddr) -> io::Result<PluginAddr> {
        Ok(address)
    }

    fn outgoing(&self, address: PluginAddr) -> io::Result<PluginAddr> {
        Ok(address)
    }
}

/// Addresses that are remembered for cleaning up. A plugin that tells of more loses nothing but that.
const MAX_ADDRESSES: usize = 1024;

/// Knocks that may wait for their listener at a time.
const MAX_WAITING_KNOCKS: usize = 64;

impl GrpcBroker {
    pub(crate) fn new(mode: Mode, tls: Option<Tls>, translate: Arc<dyn Translate>) -> Self {
        Self {
            shared: Arc::new(Shared {
                next_id: AtomicU32::new(0),
                outbox: Outbox::default(),
                slots: Slots::default(),
                mode,
                tls,
                translate,
                closed: watch::Sender::new(false),
                dialling: tokio::sync::Mutex::new(()),
                listening: Notify::new(),
                waiting_knocks: Mutex::new(0),
                addresses: Mutex::new(Vec::new()),
            }),
        }
    }

    /// A number that this side has not used yet; the first is 1. Each side counts for itself.
    #[doc(alias = "NextId")]
    pub fn next_id(&self) -> u32 {
        self.shared
            .next_id
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(1)
    }

    /// Serves `services` under `id`, until the returned server is dropped or the plugin ends. Returns as soon as the other side can
    /// dial; it must do so within 5 s in the classic mode.
    ///
    /// On the wire: a `ConnInfo` with the new listener's address; in the multiplexed mode nothing until a knock arrives.
    #[doc(alias("AcceptAndServe", "Accept"))]
    pub async fn serve(&self, id: u32, services: Services) -> io::Result<BrokeredServer> {
        if self.is_closed() {
            return Err(closed());
        }
        let listener = match &self.shared.mode {
            Mode::Classic(config) => {
                let (listener, address) = config.listen()?;
                let address = self.shared.translate.outgoing(address)?;
                self.shared.outbox.send(ConnInfo {
                    service_id: id,
                    network: address.network().to_owned(),
                    address: address.address(),
                    knock: None,
                })?;
                listener
            }
            Mode::Multiplexed(mux) => {
                let listener = Listener::Mux(mux.listen(id));
                self.shared.listening.notify_waiters();
                listener
            }
        };
        let server = Server {
            services: Arc::new(services),
            tls: self.shared.tls.clone(),
            stop: self.shared.closed.subscribe(),
            presence: Presence::default(),
        };
        Ok(BrokeredServer {
            id,
            task: Task::spawn(server.serve(listener)),
        })
    }

    /// Connects to what the other side serves under `id`, waiting up to 5 s for it to begin.
    ///
    /// On the wire: in the classic mode nothing but the connection; in the multiplexed mode a knock before each connection.
    #[doc(alias = "Dial")]
    pub async fn dial(&self, id: u32) -> io::Result<Channel> {
        if self.is_closed() {
            return Err(closed());
        }
        let shared = Arc::clone(&self.shared);
        let dialer: Dialer = match &self.shared.mode {
            Mode::Classic(_) => {
                let info = self.shared.slots.take(id, MEETING).await.ok_or_else(|| {
                    io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("timeout waiting for connection info for id {id}"),
                    )
                })?;
                let address = PluginAddr::parse(&info.network, &info.address)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                let address = self.shared.translate.incoming(address)?;
                let owner = self.shared.translate.owner();
                Arc::new(move || {
                    let address = address.clone();
                    let tls = shared.tls.clone();
                    Box::pin(async move {
                        let io = Io::connect(&address, owner).await?;
                        io.secure(tls.as_ref()).await
                    })
                })
            }
            Mode::Multiplexed(_) => Arc::new(move || {
                let shared = Arc::clone(&shared);
                Box::pin(async move {
                    let io = shared.knock_and_open(id).await?;
                    io.secure(shared.tls.as_ref()).await
                })
            }),
        };
        Channel::connect(dialer, self.shared.closed.subscribe()).await
    }

    /// Opens one more stream to the plugin's main server, which must not come between a knock and its stream.
    pub(crate) async fn open_main(&self) -> io::Result<Io> {
        let Mode::Multiplexed(mux) = &self.shared.mode else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let _alone = self.shared.dialling.lock().await;
        Io::Mux(mux.open().await?)
            .secure(self.shared.tls.as_ref())
            .await
    }

    /// Ends the broker: its stream, its servers, its dialled connections.
    pub(crate) fn close(&self) {
        let _ = self.shared.closed.send(true);
        self.shared.outbox.close();
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.shared.closed.borrow()
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.shared.outbox
    }

    /// Becomes true when the broker has ended.
    pub(crate) fn closed(&self) -> watch::Receiver<bool> {
        self.shared.closed.subscribe()
    }

    /// Unix sockets that the peer listened on.
    pub(crate) fn peer_addresses(&self) -> Vec<PluginAddr> {
        lock(&self.shared.addresses).clone()
    }

    /// Takes one message of the other side. No message is an error: what means nothing is dropped.
    pub(crate) fn receive(&self, info: ConnInfo) {
        match (&info.knock, &self.shared.mode) {
            (
                Some(Knock {
                    knock: true,
                    ack: false,
                    ..
                }),
                Mode::Multiplexed(mux),
            ) => {
                self.knocked(info.service_id, mux);
            }
            (
                Some(Knock {
                    knock: true,
                    ack: false,
                    ..
                }),
                Mode::Classic(_),
            ) => {}
            _ => {
                if info.network == "unix" {
                    let mut addresses = lock(&self.shared.addresses);
                    if addresses.len() < MAX_ADDRESSES
                        && let Ok(address) = PluginAddr::parse(&info.network, &info.address)
                    {
                        addresses.push(address);
                    }
                }
                self.shared.slots.put(info, MEETING);
            }
        }
    }

    /// Answers a knock, now or when the listener comes.
    fn knocked(&self, id: u32, mux: &Mux) {
        match mux.expect(id) {
            Ok(()) => self.acknowledge(id, String::new()),
            Err(why) => {
                let waiting = &self.shared.waiting_knocks;
                if *lock(waiting) >= MAX_WAITING_KNOCKS {
                    self.acknowledge(id, why);
                    return;
                }
                *lock(waiting) += 1;
                let broker = self.clone();
                let mux = mux.clone();
                tokio::spawn(async move {
                    let answer = broker.wait_for_listener(id, &mux).await;
                    *lock(&broker.shared.waiting_knocks) -= 1;
                    broker.acknowledge(id, answer.err().unwrap_or_default());
                });
            }
        }
    }

    async fn wait_for_listener(&self, id: u32, mux: &Mux) -> Result<(), String> {
        let mut closed = self.closed();
        let deadline = tokio::time::sleep(KNOCK_WAIT);
        tokio::pin!(deadline);
        loop {
            let listening = self.shared.listening.notified();
            let answer = mux.expect(id);
            if answer.is_ok() {
                return answer;
            }
            tokio::select! {
                () = listening => {}
                () = &mut deadline => return answer,
                () = raised(&mut closed) => return answer,
            }
        }
    }

    fn acknowledge(&self, id: u32, error: String) {
        let _ = self.shared.outbox.send(ConnInfo {
            service_id: id,
            knock: Some(Knock {
                knock: true,
                ack: true,
                error,
            }),
            ..ConnInfo::default()
        });
    }
}

impl Shared {
    async fn knock_and_open(&self, id: u32) -> io::Result<Io> {
        let Mode::Multiplexed(mux) = &self.mode else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let _alone = self.dialling.lock().await;
        self.slots.forget(id);
        self.outbox.send(ConnInfo {
            service_id: id,
            knock: Some(Knock {
                knock: true,
                ack: false,
                error: String::new(),
            }),
            ..ConnInfo::default()
        })?;
        let answer = self.slots.take(id, MEETING).await.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("timeout waiting for multiplexing knock handshake on id {id}"),
            )
        })?;
        match answer.knock {
            Some(Knock {
                knock: true,
                ack: true,
                error,
            }) if error.is_empty() => Ok(Io::Mux(mux.open().await?)),
            Some(Knock { error, .. }) if !error.is_empty() => Err(io::Error::new(
                io::ErrorKind::ConnectionRefused,
                format!("failed to knock for id {id}: {error}"),
            )),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the answer to the knock for id {id} is no acknowledgement"),
            )),
        }
    }
}

impl std::fmt::Debug for GrpcBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrpcBroker").finish_non_exhaustive()
    }
}

/// A server behind a broker's number; dropping it closes its listener and its connections.
#[derive(Debug)]
pub struct BrokeredServer {
    id: u32,
    task: Task,
}

impl BrokeredServer {
    /// The number that it is served under.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Waits until the plugin, and with it the broker, ends.
    pub async fn wait(&mut self) {
        self.task.join().await;
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the broker has ended")
}
