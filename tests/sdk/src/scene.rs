//! The plugin of a run, and what cases say shortly.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use transom_goplugin::host::{ClientConfig, Environment};
use transom_process::probe::{Answers, Exchange, Outcome, Probe, ProbeError, Ready, Sent, Work};
use transom_process::v1::{CalloutResponse, Field, Kind};

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// A plugin that runs, and one worker's stream with it.
pub(crate) struct Scene {
    pub(crate) probe: Probe,
    pub(crate) work: Work,
}

impl Scene {
    pub(crate) async fn start(command: Command) -> Result<Self, Fault> {
        let probe = Probe::start(|config| configured(config, command)).await?;
        let work = probe.work().await?;
        Ok(Self { probe, work })
    }

    pub(crate) async fn stop(self) -> bool {
        let Self { probe, work } = self;
        drop(work);
        probe.stop().await
    }

    pub(crate) async fn ready(&mut self, filter: &str, config: &str) -> Result<Ready, ProbeError> {
        let kind = Kind::StreamFilter;
        self.probe.prepare(kind, filter, config).await
    }

    /// Has a request pass a filter with a configuration.
    pub(crate) async fn pass(
        &mut self,
        filter: &str,
        config: &str,
        request: Sent,
        answers: Answers,
    ) -> Result<Outcome, Fault> {
        let used = self.ready(filter, config).await?;
        let outcome = Exchange::run(&mut self.work, &used, request, answers).await?;
        self.probe.release(&used).await?;
        Ok(outcome)
    }
}

/// How plugins are started: Java's needs its time on a busy machine.
pub(crate) fn configured(config: ClientConfig, command: Command) -> ClientConfig {
    config
        .command(command)
        .environment(Environment::default())
        .start_timeout(Duration::from_secs(30))
}

pub(crate) fn get(path: &str, headers: &[(&str, &str)]) -> Sent {
    message("GET", path, headers, &[])
}

pub(crate) fn post(headers: &[(&str, &str)], body: &[&str]) -> Sent {
    message("POST", "/", headers, body)
}

fn message(method: &str, path: &str, headers: &[(&str, &str)], body: &[&str]) -> Sent {
    let first = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "example.test"),
        (":path", path),
    ];
    Sent {
        headers: owned(first.iter().chain(headers)),
        body: pieces(body),
        trailers: Vec::new(),
    }
}

pub(crate) fn response(status: &str, body: &[&str]) -> Answers {
    Answers {
        response: Sent {
            headers: owned([(":status", status)].iter()),
            body: pieces(body),
            trailers: Vec::new(),
        },
        ..Answers::default()
    }
}

/// What the cluster `auth` answers.
pub(crate) fn callout(status: &str, headers: &[(&str, &str)]) -> BTreeMap<String, CalloutResponse> {
    let field = |(name, value): &(&str, &str)| Field {
        name: name.as_bytes().to_vec(),
        value: value.as_bytes().to_vec(),
    };
    let first = [(":status", status)];
    let headers = first.iter().chain(headers).map(field);
    let answer = CalloutResponse {
        headers: headers.collect(),
        ..CalloutResponse::default()
    };
    [("auth".to_owned(), answer)].into()
}

fn owned<'a>(pairs: impl Iterator<Item = &'a (&'a str, &'a str)>) -> Vec<(String, String)> {
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn pieces(body: &[&str]) -> Vec<Vec<u8>> {
    body.iter().map(|piece| piece.as_bytes().to_vec()).collect()
}

/// That two things are the same.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(
    seen: &T,
    wanted: &T,
    what: &str,
) -> Result<(), Fault> {
    if seen == wanted {
        return Ok(());
    }
    Err(format!("{what}: {seen:?} in place of {wanted:?}").into())
}

/// That something holds.
pub(crate) fn holds(is_so: bool, what: impl Into<String>) -> Result<(), Fault> {
    if is_so {
        Ok(())
    } else {
        Err(what.into().into())
    }
}
