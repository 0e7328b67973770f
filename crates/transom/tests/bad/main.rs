//! Bad plugins in the real program, under load.
//!
//! One worker serves three listeners: one without plugins, and two whose requests pass the hostile plugin (`hostile-filter` of `crates/process/examples`) with
//! `on_failure: closed` and `open`. Each row of the table is one way to be bad. While it is, and after,
//!
//! - traffic without plugins gets its 200, each time;
//! - traffic with `open` gets its 200 as well: nothing of it is the plugin's to lose;
//! - traffic with `closed` gets what its row allows, soon, and never less than an answer; 200 again once the plugin is well;
//! - traffic without plugins stays as quick as it was: good and bad windows take turns, and the p99 of the bad ones is at most 10 % above.
//!
//! The last is about the worker and not about who gets a core: [`cores`] keeps plugins off the worker's. It is judged by the lower quartiles of each kind's windows, over up to [`ATTEMPTS`] attempts: whatever else the machine does
//! makes some windows slow, but nothing makes a window quick in which the worker is held up. What is not told from nothing is [`FLOOR`], or
//! the difference between good windows: that of their median and their quartile.
//! The rows run one at a time.

mod cores;
mod scene;
mod traffic;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use scene::Scene;
use traffic::{Seen, during};

/// How long a window is: several thousand requests without plugins.
const WINDOW: Duration = Duration::from_millis(300);

/// Pairs of windows of one attempt.
const PAIRS: u32 = 5;

/// How often it is measured before it is believed that a bad plugin slows others down.
const ATTEMPTS: u32 = 8;

/// A difference that the machine makes by itself, between two equal windows: one wake-up of a thread.
const FLOOR: Duration = Duration::from_micros(60);

/// One way to be bad.
struct Row {
    /// Further keys of its declaration.
    keys: &'static str,
    bad: Bad,
    /// What traffic with `on_failure: closed` may get beside 200.
    closed: &'static [&'static str],
    /// What shows that it was bad.
    shown: Shown,
}

impl Row {
    /// How the plugin behaves in good windows.
    fn well(&self) -> &'static str {
        match self.bad {
            // What such an answer costs the plugin itself, it costs the machine; that is not what is looked at.
            Bad::Calls("big") => "busy",
            _ => "good",
        }
    }
}

/// What is done in a bad window.
enum Bad {
    /// It behaves so when it is called, or beside that.
    Calls(&'static str),
    /// It takes more and more memory, until it is another process.
    Leaks,
    /// It is killed, and behaves so when it is started again.
    Starts(&'static str),
    /// All of its processes are sent this signal, and so is what comes after them.
    Signal(Signal),
    /// One of its processes after the other is killed.
    OneKilled,
    /// Its file is changed, and it is killed.
    Changed,
    /// It neither hears SIGTERM nor its host, and is started anew again and again.
    Deaf,
    /// Fifty of this kind are declared, which never say a word.
    Fifty,
}

/// What shows in `/api/v1/plugins/p`, or in what its traffic got, that it was bad.
enum Shown {
    /// `closed` got something else than 200.
    Failures,
    /// It was started again.
    Restarts,
    /// Nothing does: it harms nobody.
    Nothing,
}

macro_rules! rows {
    ($($name:ident: $row:expr,)*) => {$(
        #[test]
        fn $name() {
            run(&$row);
        }
    )*};
}

const UNAVAILABLE: &[&str] = &["503"];
/// MOSN's agents answer 500 when the plugin is late, too.
const FAILED: &[&str] = &["500", "503"];
const QUICK_START: &str = "start_timeout: 250ms";

rows! {
    fifty_that_never_print_a_handshake: Row { keys: "", bad: Bad::Fifty, closed: &[], shown: Shown::Nothing },
    never_prints_a_handshake_again: Row { keys: QUICK_START, bad: Bad::Starts("silent"), closed: UNAVAILABLE, shown: Shown::Failures },
    prints_garbage: Row { keys: QUICK_START, bad: Bad::Starts("garbage"), closed: UNAVAILABLE, shown: Shown::Failures },
    prints_a_line_without_an_end: Row { keys: QUICK_START, bad: Bad::Starts("long-line"), closed: UNAVAILABLE, shown: Shown::Failures },
    prints_json_of_wrong_types: Row { keys: QUICK_START, bad: Bad::Starts("wrong-types"), closed: UNAVAILABLE, shown: Shown::Failures },
    exits_at_once_again_and_again: Row { keys: "", bad: Bad::Starts("exit"), closed: UNAVAILABLE, shown: Shown::Failures },
    killed: Row { keys: "", bad: Bad::Signal(Signal::KILL), closed: UNAVAILABLE, shown: Shown::Restarts },
    killed_beside_another: Row { keys: "instances: 2", bad: Bad::OneKilled, closed: &[], shown: Shown::Restarts },
    stopped: Row { keys: "health: {timeouts: 5}", bad: Bad::Signal(Signal::STOP), closed: UNAVAILABLE, shown: Shown::Failures },
    hangs_in_a_call: Row { keys: "health: {timeouts: 5}", bad: Bad::Calls("hang"), closed: UNAVAILABLE, shown: Shown::Failures },
    dies_in_a_call: Row { keys: "", bad: Bad::Calls("die"), closed: UNAVAILABLE, shown: Shown::Failures },
    leaks_memory_to_its_limit: Row { keys: "memory: 256MiB", bad: Bad::Leaks, closed: UNAVAILABLE, shown: Shown::Restarts },
    leaves_a_grandchild_and_dies: Row { keys: "", bad: Bad::Calls("grandchild"), closed: UNAVAILABLE, shown: Shown::Restarts },
    answers_with_64_mib: Row { keys: "bounds: {time: 2s, queue_time: 2s}", bad: Bad::Calls("big"), closed: &["500", "503"], shown: Shown::Failures },
    answers_after_its_deadline: Row { keys: "health: {timeouts: 0}", bad: Bad::Calls("late"), closed: UNAVAILABLE, shown: Shown::Failures },
    sends_headers_that_http_forbids: Row { keys: "", bad: Bad::Calls("headers"), closed: &["500"], shown: Shown::Failures },
    fills_its_stderr: Row { keys: "", bad: Bad::Calls("flood"), closed: UNAVAILABLE, shown: Shown::Nothing },
    ignores_sigterm: Row { keys: "", bad: Bad::Deaf, closed: &[], shown: Shown::Restarts },
    changed_on_disk_after_it_was_verified: Row { keys: "sha256: SHA256", bad: Bad::Changed, closed: UNAVAILABLE, shown: Shown::Failures },
    by_mosns_protocol_killed: Row { keys: "protocol: call", bad: Bad::Signal(Signal::KILL), closed: UNAVAILABLE, shown: Shown::Restarts },
    by_mosns_protocol_killed_beside_another: Row { keys: "protocol: call, instances: 2", bad: Bad::OneKilled, closed: &[], shown: Shown::Restarts },
    by_mosns_protocol_hangs_in_a_call: Row { keys: "protocol: call, health: {timeouts: 5}", bad: Bad::Calls("hang"), closed: FAILED, shown: Shown::Failures },
    by_mosns_protocol_dies_in_a_call: Row { keys: "protocol: call", bad: Bad::Calls("die"), closed: UNAVAILABLE, shown: Shown::Failures },
    by_mosns_protocol_answers_after_its_deadline: Row { keys: "protocol: call, health: {timeouts: 0}", bad: Bad::Calls("late"), closed: FAILED, shown: Shown::Failures },
    by_mosns_protocol_sends_headers_that_http_forbids: Row { keys: "protocol: call", bad: Bad::Calls("headers"), closed: FAILED, shown: Shown::Failures },
}

/// One row at a time: two at once would measure each other.
static ALONE: Mutex<()> = Mutex::new(());

fn run(row: &Row) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scene = Scene::start(row.keys);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| measure(row, &scene)));
    let log = scene.end();
    if let Err(panic) = outcome {
        eprintln!("the program wrote at last:\n{log}");
        std::panic::resume_unwind(panic);
    }
}

fn measure(row: &Row, scene: &Scene) {
    if let Bad::Deaf = row.bad {
        // Its file is read when it starts.
        scene.mode("deaf");
        let answer = scene.admin("POST", "/api/v1/plugins/p/restart");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    if row.well() != "good" {
        scene.mode(row.well());
    }
    let seen = Seen::default();
    let mut slower = Duration::MAX;
    for attempt in 0..ATTEMPTS {
        during(scene, &seen, |window| {
            for pair in attempt * PAIRS + 1..=(attempt + 1) * PAIRS {
                window.set(2 * pair);
                std::thread::sleep(WINDOW);
                window.set(2 * pair + 1);
                be_bad(row, scene, Instant::now() + WINDOW);
                window.set(0);
                be_good(row, scene);
            }
        });
        judge(row, scene, &seen);
        let [well, ill] = seen.p99s();
        let (good, bad) = (well[well.len() / 4], ill[ill.len() / 4]);
        let noise = FLOOR.max(well[well.len() / 2] - good);
        slower = bad.saturating_sub(good.mul_f64(1.1) + noise);
        println!(
            "attempt {attempt}: p99 {good:?} (± {noise:?}) without, {bad:?} with; closed {:?}, open {:?}",
            seen.closed.of(|_| true),
            seen.open.of(|_| true)
        );
        if slower.is_zero() {
            return;
        }
    }
    panic!("traffic without plugins is slower by {slower:?} at its p99, after {ATTEMPTS} attempts");
}

fn be_bad(row: &Row, scene: &Scene, until: Instant) {
    let rest = || until.saturating_duration_since(Instant::now());
    match &row.bad {
        Bad::Calls(mode) => {
            scene.mode(mode);
            std::thread::sleep(rest());
        }
        Bad::Leaks => {
            let before = scene.pids();
            scene.mode("leak");
            eventually("it is started again", || {
                scene.pids().iter().all(|pid| !before.contains(pid))
            });
        }
        Bad::Starts(mode) => {
            scene.mode(mode);
            scene.signal(Signal::KILL);
            std::thread::sleep(rest());
        }
        Bad::Signal(signal) => {
            while !rest().is_zero() {
                scene.signal(*signal);
                std::thread::sleep(rest().min(WINDOW / 2));
            }
        }
        Bad::OneKilled => {
            while !rest().is_zero() {
                scene.kill_one();
                std::thread::sleep(rest().min(WINDOW / 2));
            }
        }
        Bad::Changed => {
            scene.tamper(true);
            // What runs is what was verified.
            std::thread::sleep(rest() / 2);
            scene.signal(Signal::KILL);
            std::thread::sleep(rest());
        }
        Bad::Deaf => {
            let before = scene.pids();
            let answer = scene.admin("POST", "/api/v1/plugins/p/restart");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert_ne!(scene.pids(), before);
            std::thread::sleep(rest());
        }
        Bad::Fifty => {
            let answer = scene.add_fifty_silent();
            assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
            assert!(answer.contains("could not be started"), "{answer}");
        }
    }
}

fn be_good(row: &Row, scene: &Scene) {
    match &row.bad {
        Bad::Calls(_) | Bad::Starts(_) | Bad::Leaks => scene.mode(row.well()),
        Bad::Signal(Signal::STOP) => scene.signal(Signal::CONT),
        Bad::Changed => scene.tamper(false),
        Bad::Fifty => {
            let answer = scene.reload("");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        Bad::Signal(_) | Bad::OneKilled | Bad::Deaf => {}
    }
    let took = scene.recovered();
    println!("well again after {took:?}");
}

/// Nothing was lost that the row does not allow, and the plugin was bad.
fn judge(row: &Row, scene: &Scene, seen: &Seen) {
    let only = |tally: &traffic::Tally, which: fn(u32) -> bool, allowed: &[&str], what: &str| {
        let all = tally.of(which);
        let wrong: Vec<_> = all
            .iter()
            .filter(|(status, _)| *status != "200" && !allowed.contains(&status.as_str()))
            .collect();
        assert!(wrong.is_empty(), "{what}: {wrong:?} of {all:?}");
    };
    only(&seen.plain, |_| true, &[], "without plugins");
    only(&seen.open, |_| true, &[], "open");
    only(&seen.closed, |_| true, row.closed, "closed");
    only(
        &seen.closed,
        |window| window != 0 && window % 2 == 0,
        &[],
        "closed, while the plugin was well",
    );
    let split = scene
        .upstream
        .split
        .load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(split, 0, "heads that no proxy may have sent");
    match row.shown {
        Shown::Failures => {
            let all = seen.closed.of(|_| true);
            assert!(all.keys().any(|status| status != "200"), "{all:?}");
        }
        Shown::Restarts => {
            let restarts = restarts(scene);
            assert!(restarts >= u64::from(PAIRS), "{restarts} restarts");
        }
        Shown::Nothing => {}
    }
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < scene::PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn restarts(scene: &Scene) -> u64 {
    let described = scene.described();
    let versions = described["versions"].as_array().into_iter().flatten();
    versions
        .flat_map(|version| version["instances"].as_array().into_iter().flatten())
        .filter_map(|instance| instance["restarts"].as_u64())
        .sum()
}
