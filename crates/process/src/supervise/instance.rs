//! One running process of a plugin, as the data path sees it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering, fence};
use std::time::{Duration, Instant};

use transom_goplugin::Channel;
use transom_goplugin::host::Connector;

use super::load::{Load, Outcome, Refused};
use super::state::State;

/// A running process of a plugin. It is shared by all workers; what they do with it are atomics.
#[derive(Debug)]
pub struct Instance {
    number: u64,
    group: u64,
    pid: u32,
    version: i32,
    channel: Option<Channel>,
    connector: Option<Connector>,
    load: Arc<Load>,
    in_flight: AtomicU32,
    /// Streams and connections that it has something of, whether it is asked at this moment or not.
    held: AtomicU32,
    /// Calls in a row that were not answered in time.
    timeouts: AtomicU32,
    started: Instant,
    /// Counts its answers until it is warm.
    answers: AtomicU32,
    state: AtomicU8,
    /// The process has ended: nothing can be sent to it any more.
    gone: AtomicBool,
}

/// What an instance is made of.
pub(super) struct Parts {
    pub(super) number: u64,
    pub(super) group: u64,
    pub(super) pid: u32,
    pub(super) version: i32,
    pub(super) channel: Option<Channel>,
    pub(super) connector: Option<Connector>,
    pub(super) load: Arc<Load>,
}

/// A process is warm when it has given so many answers: its code is loaded, and what it makes at first use is made.
const WARM: u32 = 32;
/// Or when it has been there for so long.
const WARM_AFTER: Duration = Duration::from_secs(60);

impl Instance {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            number: parts.number,
            group: parts.group,
            pid: parts.pid,
            version: parts.version,
            channel: parts.channel,
            connector: parts.connector,
            load: parts.load,
            in_flight: AtomicU32::new(0),
            held: AtomicU32::new(0),
            timeouts: AtomicU32::new(0),
            started: Instant::now(),
            answers: AtomicU32::new(0),
            state: AtomicU8::new(State::Ready as u8),
            gone: AtomicBool::new(false),
        }
    }

    /// Counts the starts of this plugin: no two instances have the same.
    pub fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn group(&self) -> u64 {
        self.group
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The version of the protocol that it chose in the handshake; 0 for servers without one.
    pub fn version(&self) -> i32 {
        self.version
    }

    /// What opens connections to it, each on the runtime that asks. An error for a program that speaks no protocol.
    pub fn connector(&self) -> io::Result<Connector> {
        self.connector.clone().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "a plugin with `protocol: none` cannot be called",
            )
        })
    }

    /// The control side's own connection to it, which health checks use. None for a program that speaks no protocol.
    pub fn channel(&self) -> Option<Channel> {
        self.channel.clone()
    }

    /// Takes one more call, or says why not. Never waits.
    pub fn admit(self: &Arc<Self>) -> Result<Permit, Refused> {
        if !self.is_open() {
            return Err(self.load.refused(Refused::Draining));
        }
        self.enter()
    }

    fn enter(self: &Arc<Self>) -> Result<Permit, Refused> {
        self.load.enter()?;
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Ok(Permit {
            instance: Arc::clone(self),
            begun: Instant::now(),
            ended: false,
        })
    }

    /// Whether it has yet to warm up: so its answers may take longer.
    pub fn is_cold(&self) -> bool {
        self.answers.load(Ordering::Relaxed) < WARM && self.started.elapsed() < WARM_AFTER
    }

    /// Keeps the process for a stream that it will know something of: one that drains is not told to end before it is let go, or the
    /// time for draining is over. `None` when the instance takes nothing new.
    pub fn hold(self: &Arc<Self>) -> Option<Hold> {
        // Counted first, and the state looked at then; who lets it drain does both the other way round. So one of the two sees the other.
        self.held.fetch_add(1, Ordering::SeqCst);
        let hold = Hold(Arc::clone(self));
        fence(Ordering::SeqCst);
        self.is_open().then_some(hold)
    }

    /// Whether calls or streams would be lost with the process.
    pub(super) fn is_needed(&self) -> bool {
        fence(Ordering::SeqCst);
        self.in_flight() > 0 || self.held.load(Ordering::SeqCst) > 0
    }

    /// Calls that it has not answered yet.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Ready, degraded or draining.
    pub fn state(&self) -> State {
        State::from_number(self.state.load(Ordering::Relaxed))
    }

    /// Whether the process has ended.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Whether it takes calls.
    pub fn is_open(&self) -> bool {
        !self.is_gone() && self.state() != State::Draining
    }

    /// Calls should rather go elsewhere until it is seen to be well.
    pub fn doubt(&self) {
        let (ready, degraded) = (State::Ready as u8, State::Degraded as u8);
        // In every other state it is at least as bad.
        let _ = self
            .state
            .compare_exchange(ready, degraded, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn timeouts_in_a_row(&self) -> u32 {
        self.timeouts.load(Ordering::Relaxed)
    }

    pub(super) fn forgive_timeouts(&self) {
        self.timeouts.store(0, Ordering::Relaxed);
    }

    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    pub(super) fn set_gone(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

/// A stream or connection that a process has something of. It may go on calling it while that drains.
#[derive(Debug)]
pub struct Hold(Arc<Instance>);

impl Hold {
    /// Takes one more call of this stream, or says why not. Never waits.
    pub fn admit(&self) -> Result<Permit, Refused> {
        match self.0.is_gone() {
            true => Err(self.0.load.refused(Refused::Draining)),
            false => self.0.enter(),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A call that is under way. Dropping it without a word counts it as given up by the client, which says nothing of the plugin.
#[derive(Debug)]
pub struct Permit {
    instance: Arc<Instance>,
    begun: Instant,
    ended: bool,
}

impl Permit {
    /// The instance that has the call.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// When the call began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Ends the call and counts how it went.
    pub fn end(mut self, outcome: Outcome) {
        self.ended = true;
        let instance = &self.instance;
        match outcome {
            Outcome::Ok | Outcome::Error => {
                // Only until it is warm: the line of memory stays shared afterwards.
                if instance.answers.load(Ordering::Relaxed) < WARM {
                    instance.answers.fetch_add(1, Ordering::Relaxed);
                }
                // Most often it is zero already, and then the line of memory stays shared.
                if instance.timeouts.load(Ordering::Relaxed) != 0 {
                    instance.timeouts.store(0, Ordering::Relaxed);
                }
            }
            Outcome::Timeout => {
                instance.timeouts.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Lost => instance.doubt(),
        }
        instance.load.end(outcome, self.begun.elapsed());
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.instance.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.instance.load.leave();
        if !self.ended {
            self.instance.load.given_up();
        }
    }
}
