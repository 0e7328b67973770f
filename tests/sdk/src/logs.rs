//! The cases of access logs and log sinks.

use std::path::PathBuf;

use transom_process::probe::ProbeError;
use transom_process::v1::{Kind, LogBatch, Value, ValueMap, value};

use crate::Verdict;
use crate::scene::{Scene, holds, same};

pub(crate) async fn entries_of_an_access_log_are_kept(scene: &mut Scene) -> Verdict {
    let file = file("entries");
    let used = scene
        .probe
        .prepare(Kind::AccessLog, "", &config(&file))
        .await?;
    let mut attributes = used.needs.attributes.clone();
    attributes.sort();
    let wanted = [
        "request.method",
        "request.path",
        "response.code",
        "response.size",
    ];
    same(
        &attributes,
        &wanted.map(str::to_owned).to_vec(),
        "attributes",
    )?;
    let (request, response) = (&used.needs.request_headers, &used.needs.response_headers);
    same(request, &vec!["user-agent".to_owned()], "request's headers")?;
    same(response, &vec!["x-note".to_owned()], "response's headers")?;
    let first = entry(&[
        ("request.method", text("GET")),
        ("request.path", text("/a?b")),
        ("response.code", value::Kind::Integer(200)),
        ("response.size", value::Kind::Integer(5)),
        ("request.headers", headers("user-agent", "curl/8")),
        ("response.headers", headers("x-note", "well")),
    ]);
    let second = entry(&[
        ("request.method", text("POST")),
        ("response.size", value::Kind::Integer(0)),
    ]);
    let batch = |entries, lost| LogBatch {
        use_id: used.id,
        entries,
        lost,
        ..LogBatch::default()
    };
    let batches = vec![
        batch(vec![first], 0),
        batch(vec![second.clone(), second], 3),
    ];
    let summary = scene.probe.log(batches).await?;
    same(&summary.entries, &3, "entries")?;
    let kept = std::fs::read_to_string(&file)?;
    std::fs::remove_file(&file)?;
    let wanted = "GET /a?b 200 5 curl/8 well\nlost 3\nPOST - - 0 - -\nPOST - - 0 - -\n";
    same(&kept.as_str(), &wanted, "what is kept")?;
    scene.probe.release(&used).await?;
    Ok(())
}

pub(crate) async fn lines_of_a_log_are_kept(scene: &mut Scene) -> Verdict {
    let file = file("lines");
    let used = scene
        .probe
        .prepare(Kind::LogSink, "", &config(&file))
        .await?;
    let batch = |lines: &[&str], lost| LogBatch {
        use_id: used.id,
        lines: lines.iter().map(|line| line.as_bytes().to_vec()).collect(),
        lost,
        ..LogBatch::default()
    };
    let batches = vec![batch(&["one", "two"], 0), batch(&["", "four"], 2)];
    let summary = scene.probe.log(batches).await?;
    same(&summary.entries, &4, "lines")?;
    let kept = std::fs::read_to_string(&file)?;
    std::fs::remove_file(&file)?;
    same(
        &kept.as_str(),
        &"one\ntwo\nlost 2\n\nfour\n",
        "what is kept",
    )?;
    scene.probe.release(&used).await?;
    Ok(())
}

pub(crate) async fn a_log_that_is_not_ready_takes_nothing(scene: &mut Scene) -> Verdict {
    let batch = LogBatch {
        use_id: u64::MAX,
        ..LogBatch::default()
    };
    match scene.probe.log(vec![batch]).await {
        Err(ProbeError::Call { status, .. }) => {
            let code = format!("{:?}", status.code());
            holds(
                code == "InvalidArgument" || code == "Unimplemented",
                format!("code {code}"),
            )
        }
        other => Err(format!("{other:?}").into()),
    }
}

fn file(what: &str) -> PathBuf {
    let name = format!("transom-sdk-{what}-{}.log", std::process::id());
    std::env::temp_dir().join(name)
}

fn config(file: &std::path::Path) -> String {
    format!(r#"{{"file": "{}"}}"#, file.display())
}

fn entry(values: &[(&str, value::Kind)]) -> ValueMap {
    let value = |(name, kind): &(&str, value::Kind)| {
        let kind = Some(kind.clone());
        ((*name).to_owned(), Value { kind })
    };
    ValueMap {
        values: values.iter().map(value).collect(),
    }
}

fn text(text: &str) -> value::Kind {
    value::Kind::Text(text.to_owned())
}

fn headers(name: &str, value: &str) -> value::Kind {
    value::Kind::Map(entry(&[(name, text(value))]))
}
