//! Traffic with and without the plugin, and how long the latter took.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::cores::{Core, stay};
use crate::scene::{Client, Scene};

/// The pause between two requests through the plugin.
const PAUSE: Duration = Duration::from_millis(2);

/// Which window it is: 0 is none, even numbers are good ones, odd ones are bad.
#[derive(Debug, Default)]
pub(crate) struct Window(AtomicU32);

impl Window {
    pub(crate) fn set(&self, number: u32) {
        self.0.store(number, Ordering::SeqCst);
    }

    fn now(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

/// What came of requests, by window: statuses, and what is no answer.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<BTreeMap<(u32, String), u32>>);

impl Tally {
    fn add(&self, window: u32, what: String) {
        *self.0.lock().unwrap().entry((window, what)).or_default() += 1;
    }

    /// Outcomes of the windows that `which` names.
    pub(crate) fn of(&self, which: impl Fn(u32) -> bool) -> BTreeMap<String, u32> {
        let mut sum = BTreeMap::new();
        for ((window, what), count) in &*self.0.lock().unwrap() {
            if which(*window) {
                *sum.entry(what.clone()).or_default() += count;
            }
        }
        sum
    }
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) plain: Tally,
    pub(crate) closed: Tally,
    pub(crate) open: Tally,
    /// Of the traffic without plugins: the window, and how long.
    samples: Mutex<Vec<(u32, u32)>>,
}

impl Seen {
    /// The p99 of each window, those of good and those of bad ones, the quickest first.
    pub(crate) fn p99s(&self) -> [Vec<Duration>; 2] {
        let mut windows: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (window, took) in &*self.samples.lock().unwrap() {
            windows.entry(*window).or_default().push(*took);
        }
        [0, 1].map(|odd| {
            let windows = windows.iter().filter(|(number, _)| **number % 2 == odd);
            let mut each: Vec<Duration> = windows.map(|(_, took)| p99(took)).collect();
            each.sort_unstable();
            each
        })
    }
}

fn p99(took: &[u32]) -> Duration {
    let mut took = took.to_vec();
    took.sort_unstable();
    Duration::from_nanos(took[took.len() * 99 / 100].into())
}

/// Sends traffic on all three listeners as long as `drive` runs.
pub(crate) fn during(scene: &Scene, seen: &Seen, drive: impl FnOnce(&Window)) {
    let (window, end) = (Window::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (window, end) = (&window, &end);
        scope.spawn(move || {
            stay(Core::First);
            traffic(scene.plain, window, end, &seen.plain, |number, took| {
                if number != 0 {
                    let took = u32::try_from(took.as_nanos()).unwrap_or(u32::MAX);
                    seen.samples.lock().unwrap().push((number, took));
                }
            });
        });
        for (address, tally) in [(scene.closed, &seen.closed), (scene.open, &seen.open)] {
            scope.spawn(move || {
                traffic(address, window, end, tally, |_, _| {
                    std::thread::sleep(PAUSE);
                });
            });
        }
        // Ends the others even when this panics.
        let _ends = Ends(end);
        drive(window);
    });
}

struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One request after the other. Those that began in another window than they ended in are of none.
fn traffic(
    address: SocketAddr,
    window: &Window,
    end: &AtomicBool,
    tally: &Tally,
    ended: impl Fn(u32, Duration),
) {
    let mut client = None;
    while !end.load(Ordering::SeqCst) {
        let (number, begun) = (window.now(), Instant::now());
        let answer = match &mut client {
            Some(client) => Ok(client),
            None => Client::connect(address).map(|new| client.insert(new)),
        };
        let answer = answer.and_then(Client::get);
        let took = begun.elapsed();
        let number = match window.now() {
            now if now == number => now,
            _ => 0,
        };
        match answer {
            Ok((status, closes)) => {
                tally.add(number, status.to_string());
                ended(number, took);
                if closes {
                    client = None;
                }
            }
            Err(error) => {
                tally.add(number, format!("lost: {error}"));
                client = None;
                std::thread::sleep(PAUSE);
            }
        }
    }
}
