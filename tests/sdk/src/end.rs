//! The cases of a plugin's output, and of its end.

use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use transom_goplugin::{Level, LogConfig, LogLine};
use transom_process::probe::{Answers, Exchange, Probe};

use crate::Verdict;
use crate::scene::{Scene, configured, get, holds, same};

type Case = fn(Command) -> std::pin::Pin<Box<dyn Future<Output = Verdict>>>;

/// All of them. Each starts the plugin anew.
pub(crate) fn cases() -> [(&'static str, Case); 2] {
    [
        ("what_it_logs_keeps_its_level", |command| {
            Box::pin(logs(command))
        }),
        ("a_terminated_plugin_ends_what_is_under_way", |command| {
            Box::pin(terminated(command))
        }),
    ]
}

async fn logs(command: Command) -> Verdict {
    let lines: Arc<Mutex<Vec<LogLine>>> = Arc::default();
    let kept = Arc::clone(&lines);
    let log = LogConfig::new().sink(move |line| {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(line.clone());
    });
    let probe = Probe::start(|config| configured(config, command).log(log)).await?;
    let work = probe.work().await?;
    let mut scene = Scene { probe, work };
    scene
        .pass("faulty", "", get("/log", &[]), Answers::default())
        .await?;
    for _ in 0..200 {
        let lines = lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(line) = lines.iter().find(|line| line.message == "told to log") {
            same(&line.level, &Level::Warn, "its level")?;
            holds(line.timestamp.is_some(), "it has its time")?;
            return holds(scene.stop().await, "it ends when it is asked to");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let lines = lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Err(format!("the line did not come; there are {lines:?}").into())
}

/// SIGTERM: a request that waits in the plugin still gets its answer, the process ends by itself, and nothing of it is left.
async fn terminated(command: Command) -> Verdict {
    let mut probe = Probe::start(|config| configured(config, command)).await?;
    let mut work = probe.work().await?;
    let used = probe
        .prepare(
            transom_process::v1::Kind::StreamFilter,
            "pause",
            r#"{"ms": 150}"#,
        )
        .await?;
    // The first request of a cold plugin may take longer than one has to its end.
    Exchange::run(&mut work, &used, get("/", &[]), Answers::default()).await?;
    let pid = probe.client().pid().to_string();
    let request = Exchange::run(&mut work, &used, get("/", &[]), Answers::default());
    let kill = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Command::new("kill").args(["-TERM", &pid]).status()
    };
    let (outcome, killed) = tokio::join!(request, kill);
    holds(killed?.success(), "it was still there to be ended")?;
    let headers = outcome?.request.unwrap_or_default().headers;
    let paused = ("x-paused".to_owned(), "yes".to_owned());
    holds(
        headers.contains(&paused),
        format!("the request: {headers:?}"),
    )?;
    let exit = tokio::time::timeout(Duration::from_secs(5), probe.client().wait()).await;
    let exit = exit.map_err(|_| "it does not end within 5 s")?;
    same(&(exit.code, exit.signal), &(Some(0), None), "how it ends")?;
    let address = probe.client().address().to_string();
    if let Some(path) = address.strip_prefix("unix:") {
        let is_there = std::path::Path::new(path).exists();
        holds(!is_there, format!("{path} is left behind"))?;
    }
    Ok(())
}
