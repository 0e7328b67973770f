//! Many plugins, ended in every way there is; afterwards this process must be as it was.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use transom_goplugin::host::Client;

use super::scenarios::double;
use super::{Failure, Run};

/// `SOAK_CYCLES` cycles with the random numbers of `SOAK_SEED`.
pub(super) async fn soak(run: &Run) -> Result<(), Failure> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let cycles: u64 = number("SOAK_CYCLES").unwrap_or(100);
    let mut random = Random(number("SOAK_SEED").unwrap_or(1));
    // The first cycle makes what stays: the thread that starts plugins, the runtime's own descriptors.
    cycle(run, 0).await?;
    settle().await;
    let before = State::now()?;
    for _ in 0..cycles {
        cycle(run, random.next()).await?;
    }
    for _ in 0..100 {
        settle().await;
        if State::now()? == before {
            return Ok(());
        }
    }
    Err(format!("before: {before:?}, after: {:?}", State::now()?).into())
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Starts a plugin, calls it, and ends it in one of four ways, at a moment that `random` says.
async fn cycle(run: &Run, random: u64) -> Result<(), Failure> {
    let config = run
        .config()
        .auto_mtls(random & 1 == 1)
        .grpc_broker_multiplex(random & 2 == 2)
        .stop_timeout(Duration::from_millis(500));
    let client = Client::start(config).await?;
    let mut peer = client.dispense("test")?;
    let moment = Duration::from_micros(random >> 8 & 0xfff);
    match random >> 4 & 3 {
        0 => {
            double(&mut peer, 1).await?;
            client.kill().await;
        }
        1 => {
            double(&mut peer, 1).await?;
            drop(client);
        }
        2 => {
            // A call that meets the end succeeds or fails; it must not hang.
            let calls = tokio::spawn(async move { while double(&mut peer, 1).await.is_ok() {} });
            tokio::time::sleep(moment).await;
            strike(&client)?;
            client.wait().await;
            calls.await?;
        }
        _ => {
            tokio::time::sleep(moment).await;
            strike(&client)?;
            client.kill().await;
        }
    }
    Ok(())
}

fn strike(client: &Client) -> Result<(), Failure> {
    let pid = Pid::from_raw(client.pid().try_into()?).ok_or("no process id")?;
    kill_process(pid, Signal::KILL)?;
    Ok(())
}

/// What a process can leak.
#[derive(Debug, Eq, PartialEq)]
struct State {
    descriptors: usize,
    threads: usize,
    children: String,
}

impl State {
    fn now() -> Result<Self, Failure> {
        let mut children = String::new();
        let mut threads = 0;
        for task in std::fs::read_dir("/proc/self/task")? {
            threads += 1;
            children += &std::fs::read_to_string(task?.path().join("children"))?;
        }
        Ok(Self {
            descriptors: std::fs::read_dir("/proc/self/fd")?.count(),
            threads,
            children,
        })
    }
}

/// xorshift64*: a sequence that a seed repeats.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.max(1);
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}
