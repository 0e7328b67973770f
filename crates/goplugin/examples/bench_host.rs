//! The host of the benchmark: `bench_host calls SECONDS COMMAND…` or `bench_host start TIMES COMMAND…`; one line of JSON.

use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};

use transom_goplugin::host::{Client, ClientConfig};
use transom_goplugin::{Channel, HandshakeConfig};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}

use proto::KvGetRequest;
use proto::kv_client::KvClient;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, number, program, rest @ ..] = &arguments[..] else {
        return Err("usage: bench_host calls SECONDS COMMAND | start TIMES COMMAND".into());
    };
    match kind.as_str() {
        "calls" => calls(Duration::from_secs_f64(number.parse()?), program, rest).await,
        "start" => start(number.parse()?, program, rest).await,
        _ => Err("unknown measurement".into()),
    }
}

async fn open(program: &str, arguments: &[String], mtls: bool) -> Outcome<Client> {
    let mut command = Command::new(program);
    command.args(arguments);
    let config = ClientConfig::new(HandshakeConfig::new(1, "BASIC_PLUGIN", "hello"))
        .command(command)
        .auto_mtls(mtls);
    Ok(Client::start(config).await?)
}

fn request() -> KvGetRequest {
    KvGetRequest {
        key: "k".repeat(256),
    }
}

async fn get(kv: &mut KvClient<Channel>) -> Outcome<()> {
    let answer = kv.get(request()).await?;
    match answer.get_ref().value.len() {
        256 => Ok(()),
        other => Err(format!("{other} bytes").into()),
    }
}

async fn calls(time: Duration, program: &str, arguments: &[String]) -> Outcome<()> {
    let client = open(program, arguments, false).await?;
    let mut rows = Vec::new();
    for in_flight in [1, 8, 64] {
        // The first part warms up and is not counted.
        worker(&client, time / 5, in_flight).await?;
        let begin = Instant::now();
        let mut taken = worker(&client, time, in_flight).await?;
        let elapsed = begin.elapsed();
        taken.sort_unstable();
        let at = |part: f64| taken[((taken.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
        rows.push(format!(
            "{{\"in_flight\":{in_flight},\"calls_per_second\":{:.0},\"p50_us\":{:.1},\"p99_us\":{:.1}}}",
            taken.len() as f64 / elapsed.as_secs_f64(),
            at(0.5),
            at(0.99)
        ));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let memory = memory(client.pid())?;
    println!(
        "{{\"rows\":[{}],\"after_load_kib\":{memory}}}",
        rows.join(",")
    );
    client.kill().await;
    Ok(())
}

async fn worker(client: &Client, time: Duration, in_flight: usize) -> Outcome<Vec<Duration>> {
    let end = Instant::now() + time;
    let workers: Vec<_> = (0..in_flight)
        .map(|_| {
            let mut kv = KvClient::new(client.channel());
            tokio::spawn(async move {
                let mut taken = Vec::new();
                let mut before = Instant::now();
                while before < end {
                    get(&mut kv).await?;
                    let now = Instant::now();
                    taken.push(now - before);
                    before = now;
                }
                Outcome::Ok(taken)
            })
        })
        .collect();
    let mut all = Vec::new();
    for worker in workers {
        all.extend(worker.await??);
    }
    Ok(all)
}

/// Resident memory of a process, in KiB.
fn memory(pid: u32) -> Outcome<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let text = line.ok_or("no VmRSS")?.trim().trim_end_matches(" kB");
    Ok(text.parse()?)
}

async fn start(times: usize, program: &str, arguments: &[String]) -> Outcome<()> {
    let mut parts = Vec::new();
    for (name, mtls) in [("plain", false), ("mtls", true)] {
        let mut taken = Vec::new();
        let mut idle = 0;
        for round in 0..times {
            let begin = Instant::now();
            let client = open(program, arguments, mtls).await?;
            get(&mut KvClient::new(client.channel())).await?;
            taken.push(begin.elapsed());
            if round == 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                idle = memory(client.pid())?;
            }
            client.kill().await;
        }
        taken.sort_unstable();
        let median = taken[taken.len() / 2].as_secs_f64() * 1e3;
        parts.push(format!(
            "\"{name}\":{{\"first_answer_ms\":{median:.2},\"idle_kib\":{idle}}}"
        ));
    }
    println!("{{{}}}", parts.join(","));
    Ok(())
}
