//! The cases of `transom.plugin.v1`.

use std::time::{Duration, Instant};

use transom_process::probe::{Answers, Exchange, ProbeError, Sent};
use transom_process::v1::{
    CheckRequest, Closed, ConnectionBegin, Data, Event, Field, Gone, Headers, Kind, StreamBegin,
    Use, Value, action, event, to_plugin, value,
};

use crate::Verdict;
use crate::scene::{Scene, callout, get, holds, post, response, same};

const FILTERS: [&str; 8] = [
    "auth", "callout", "edit", "faulty", "notes", "pause", "rewrite", "thread",
];

pub(crate) async fn it_says_what_it_is(scene: &mut Scene) -> Verdict {
    let said = scene.probe.describe().await?;
    same(&said.revision, &1, "revision")?;
    same(&said.name.as_str(), &"conformance", "name")?;
    same(&said.version.as_str(), &"1.0.0", "version")?;
    let names = |kind: Kind| {
        let of_kind = said.extensions.iter().filter(|e| e.kind() == kind);
        let mut names: Vec<String> = of_kind.map(|e| e.name.clone()).collect();
        names.sort();
        names
    };
    same(
        &names(Kind::StreamFilter),
        &FILTERS.map(str::to_owned).to_vec(),
        "stream filters",
    )?;
    same(
        &names(Kind::NetworkFilter),
        &vec!["greet".to_owned()],
        "network filters",
    )?;
    same(
        &names(Kind::CertificateProvider).len(),
        &1,
        "certificate providers",
    )?;
    same(&scene.work.revision(), &1, "revision in Hello")?;
    scene.probe.client().ping().await?;
    Ok(())
}

pub(crate) async fn an_extension_that_it_has_not_is_refused(scene: &mut Scene) -> Verdict {
    for (kind, name) in [(Kind::StreamFilter, "nobody"), (Kind::AccessLog, "nobody")] {
        match scene.probe.prepare(kind, name, "").await {
            Err(ProbeError::Call { status, .. }) => {
                let code = format!("{:?}", status.code());
                holds(
                    code == "InvalidArgument" || code == "Unimplemented",
                    format!("code {code}"),
                )?;
                if kind == Kind::StreamFilter {
                    holds(
                        status.message().contains("nobody") && status.message().contains("auth"),
                        format!("it does not say what there is: {}", status.message()),
                    )?;
                }
            }
            other => return Err(format!("{other:?}").into()),
        }
    }
    Ok(())
}

pub(crate) async fn a_wrong_configuration_is_refused_at_its_place(scene: &mut Scene) -> Verdict {
    for (filter, config, path) in [
        ("auth", r#"{"User": 5}"#, &["User"][..]),
        ("auth", "[]", &[]),
        ("rewrite", r#"{"sufix": "?"}"#, &["sufix"]),
        ("rewrite", r#"{"suffix": {}}"#, &["suffix"]),
        ("callout", "", &[]),
        ("pause", r#"{"ms": "long"}"#, &["ms"]),
        ("pause", r#"{"ms": 60001}"#, &["ms"]),
        ("thread", r#"{"x": 1}"#, &["x"]),
        ("edit", "{", &[]),
    ] {
        let subject = Use {
            id: 0,
            kind: Kind::StreamFilter.into(),
            extension: filter.to_owned(),
            name: "checked".to_owned(),
            config: config.as_bytes().to_vec(),
        };
        let faults = scene.probe.check(subject, false).await?;
        let Some(fault) = faults.first() else {
            return Err(format!("{filter} takes {config}").into());
        };
        same(
            &fault.path,
            &path.iter().map(|&s| s.to_owned()).collect(),
            &format!("{filter} {config}"),
        )?;
        holds(!fault.message.is_empty(), "no message")?;
        match scene.ready(filter, config).await {
            Err(ProbeError::Refused(again)) => {
                same(&again, &faults, "what Prepare and Check find")?;
            }
            other => return Err(format!("Prepare of {filter} {config}: {other:?}").into()),
        }
    }
    Ok(())
}

pub(crate) async fn a_routes_configuration_is_checked_too(scene: &mut Scene) -> Verdict {
    for (config, faults) in [(r#"{"team": "red"}"#, 0), (r#"{"team": 1}"#, 1)] {
        let subject = Use {
            kind: Kind::StreamFilter.into(),
            extension: "edit".to_owned(),
            config: config.as_bytes().to_vec(),
            ..Use::default()
        };
        // As a message, so that the field itself is there.
        let request = CheckRequest {
            subject: Some(subject),
            route: true,
        };
        let found = scene
            .probe
            .check(request.subject.unwrap_or_default(), request.route)
            .await?;
        same(&found.len(), &faults, config)?;
    }
    Ok(())
}

pub(crate) async fn needs_are_what_the_filters_say(scene: &mut Scene) -> Verdict {
    let auth = scene.ready("auth", "{}").await?;
    same(&auth.needs.callbacks, &1, "callbacks of auth")?;
    let rewrite = scene.ready("rewrite", "{}").await?;
    same(&rewrite.needs.whole_request_body, &(64 << 10), "whole body")?;
    same(
        &(rewrite.needs.callbacks & (2 | 8 | 16 | 128 | 256)),
        &(2 | 8 | 16 | 128 | 256),
        "callbacks of rewrite",
    )?;
    let callout = scene.ready("callout", r#"{"cluster": "auth"}"#).await?;
    same(
        &callout.needs.clusters,
        &vec!["auth".to_owned()],
        "clusters",
    )?;
    let notes = scene.ready("notes", "").await?;
    same(
        &notes.needs.attributes,
        &vec!["source.address".to_owned()],
        "attributes",
    )?;
    let metrics: Vec<&str> = notes
        .needs
        .metrics
        .iter()
        .map(|m| m.name.as_str())
        .collect();
    same(&metrics, &vec!["notes_total"], "metrics")?;
    holds(notes.needs.callbacks & 64 != 0, "notes sees no end")?;
    for used in [auth, rewrite, callout, notes] {
        scene.probe.release(&used).await?;
    }
    Ok(())
}

const ADMIN: &str = r#"{"User": "admin", "x-team": "blue"}"#;

pub(crate) async fn who_may_pass_passes(scene: &mut Scene) -> Verdict {
    let request = get("/", &[("user", "admin"), ("X-Team", "blue")]);
    let outcome = scene
        .pass("auth", ADMIN, request.clone(), response("200", &["hello"]))
        .await?;
    same(
        &outcome.request,
        &Some(request),
        "what reached the upstream",
    )?;
    same(&outcome.verdicts, &vec![0], "verdicts")?;
    let response = outcome.response.unwrap_or_default();
    same(&response.whole_body(), &b"hello".to_vec(), "the response")?;
    Ok(())
}

pub(crate) async fn who_may_not_is_denied(scene: &mut Scene) -> Verdict {
    for headers in [
        &[][..],
        &[("User", "admin")],
        &[("user", "guest"), ("x-team", "blue")],
    ] {
        let outcome = scene
            .pass("auth", ADMIN, get("/", headers), response("200", &[]))
            .await?;
        same(&outcome.request, &None, "what reached the upstream")?;
        let reply = outcome.reply.unwrap_or_default();
        same(&reply.status, &403, "status")?;
        same(&reply.body, &b"denied\n".to_vec(), "body")?;
        same(&reply.details.as_str(), &"auth_denied", "details")?;
        let seen = outcome.response.unwrap_or_default();
        same(&seen.header("x-denied-by"), &Some("auth"), "x-denied-by")?;
    }
    Ok(())
}

pub(crate) async fn two_uses_have_two_configurations(scene: &mut Scene) -> Verdict {
    let blue = scene.ready("auth", r#"{"x-team": "blue"}"#).await?;
    let red = scene.ready("auth", r#"{"x-team": "red"}"#).await?;
    for (used, team, passes) in [
        (&blue, "blue", true),
        (&red, "blue", false),
        (&red, "red", true),
        (&blue, "red", false),
    ] {
        let request = get("/", &[("x-team", team)]);
        let outcome = Exchange::run(&mut scene.work, used, request, response("200", &[])).await?;
        same(&outcome.reply.is_none(), &passes, team)?;
    }
    scene.probe.release(&blue).await?;
    scene.probe.release(&red).await?;
    Ok(())
}

pub(crate) async fn whole_bodies_are_rewritten(scene: &mut Scene) -> Verdict {
    let request = post(&[("content-length", "8")], &["one ", "two\n"]);
    let outcome = scene
        .pass("rewrite", "", request, response("200", &[]))
        .await?;
    let sent = outcome.request.unwrap_or_default();
    same(&sent.whole_body(), &b"ONE TWO\n".to_vec(), "the body")?;
    same(&sent.header("x-body-length"), &Some("8"), "x-body-length")?;
    Ok(())
}

pub(crate) async fn bodies_are_rewritten_piece_by_piece(scene: &mut Scene) -> Verdict {
    for (config, end) in [("", "!"), (r#"{"suffix": "?!"}"#, "?!")] {
        let answers = response("200", &["one ", "two"]);
        let outcome = scene
            .pass("rewrite", config, get("/", &[]), answers)
            .await?;
        let seen = outcome.response.unwrap_or_default();
        same(
            &seen.whole_body(),
            &format!("ONE TWO{end}").into_bytes(),
            "the body",
        )?;
        same(&seen.header("x-rewritten"), &Some("yes"), "x-rewritten")?;
    }
    Ok(())
}

pub(crate) async fn a_request_without_a_body_passes_the_rewriter(scene: &mut Scene) -> Verdict {
    let outcome = scene
        .pass("rewrite", "", get("/", &[]), response("204", &[]))
        .await?;
    let sent = outcome.request.unwrap_or_default();
    same(&sent.header("x-body-length"), &None, "x-body-length")?;
    Ok(())
}

const AUTH: &str = r#"{"cluster": "auth"}"#;

fn asked(status: &str) -> Answers {
    Answers {
        callouts: callout(status, &[("x-user", "alice")]),
        ..response("200", &[])
    }
}

pub(crate) async fn a_callout_lets_pass(scene: &mut Scene) -> Verdict {
    let request = get("/", &[("x-token", "secret")]);
    let outcome = scene.pass("callout", AUTH, request, asked("200")).await?;
    let sent = outcome.request.unwrap_or_default();
    same(&sent.header("x-user"), &Some("alice"), "x-user")?;
    let call = outcome.callouts.first().cloned().unwrap_or_default();
    let value = |name: &str| {
        let field = call
            .headers
            .iter()
            .find(|field| field.name == name.as_bytes());
        field.map(|field| String::from_utf8_lossy(&field.value).into_owned())
    };
    same(&value(":method").as_deref(), &Some("GET"), ":method")?;
    same(&value(":path").as_deref(), &Some("/check"), ":path")?;
    same(&value(":authority").as_deref(), &Some("auth"), ":authority")?;
    same(&value("x-token").as_deref(), &Some("secret"), "x-token")?;
    Ok(())
}

pub(crate) async fn a_callout_denies(scene: &mut Scene) -> Verdict {
    let outcome = scene
        .pass("callout", AUTH, get("/", &[]), asked("401"))
        .await?;
    let reply = outcome.reply.unwrap_or_default();
    same(&reply.status, &403, "status")?;
    same(&reply.details.as_str(), &"callout_denied", "details")?;
    same(&outcome.request, &None, "what reached the upstream")?;
    Ok(())
}

pub(crate) async fn a_callout_that_fails_is_an_answer_too(scene: &mut Scene) -> Verdict {
    let outcome = scene
        .pass("callout", AUTH, get("/", &[]), response("200", &[]))
        .await?;
    let reply = outcome.reply.unwrap_or_default();
    same(&reply.status, &503, "status")?;
    same(&reply.details.as_str(), &"callout_failed", "details")?;
    Ok(())
}

pub(crate) async fn a_pause_ends(scene: &mut Scene) -> Verdict {
    let begin = Instant::now();
    let request = post(&[], &["a", "b"]);
    let outcome = scene
        .pass("pause", r#"{"ms": 30}"#, request, response("200", &[]))
        .await?;
    holds(begin.elapsed() >= Duration::from_millis(30), "too early")?;
    let sent = outcome.request.unwrap_or_default();
    same(&sent.header("x-paused"), &Some("yes"), "x-paused")?;
    same(&sent.whole_body(), &b"ab".to_vec(), "the body")?;
    holds(
        outcome
            .verdicts
            .first()
            .is_some_and(|verdict| *verdict >= 3),
        "it does not stop all of the request",
    )?;
    Ok(())
}

pub(crate) async fn another_thread_lets_a_request_go(scene: &mut Scene) -> Verdict {
    let outcome = scene
        .pass("thread", "", get("/", &[]), response("200", &[]))
        .await?;
    let sent = outcome.request.unwrap_or_default();
    same(&sent.header("x-thread"), &Some("yes"), "x-thread")?;
    Ok(())
}

pub(crate) async fn notes_are_left_everywhere(scene: &mut Scene) -> Verdict {
    let from = Value {
        kind: Some(value::Kind::Text("10.0.0.1:5000".to_owned())),
    };
    let answers = Answers {
        attributes: [("source.address".to_owned(), from)].into(),
        shared: [("visits".to_owned(), (b"6".to_vec(), 9))].into(),
        ..response("204", &[])
    };
    let outcome = scene.pass("notes", "", get("/some", &[]), answers).await?;
    let sent = outcome.request.unwrap_or_default();
    same(&sent.header("x-from"), &Some("10.0.0.1:5000"), "x-from")?;
    same(&sent.header("x-visits"), &Some("7"), "x-visits")?;
    same(&outcome.metrics, &vec![(0, 1)], "metrics")?;
    same(&outcome.logs, &vec![(2, "noted /some".to_owned())], "logs")?;
    let value = |key: &str| {
        let mut set = outcome.metadata.iter();
        let found = set.find(|(space, name, _)| space == "notes" && name == key);
        found.and_then(|(_, _, value)| value.clone()?.kind)
    };
    let text = |text: &str| Some(value::Kind::Text(text.to_owned()));
    same(&value("path"), &text("/some"), "path")?;
    holds(
        matches!(
            value("length"),
            Some(value::Kind::Number(5.0) | value::Kind::Integer(5))
        ),
        format!("length: {:?}", value("length")),
    )?;
    same(&value("seen"), &Some(value::Kind::Boolean(true)), "seen")?;
    same(&value("status"), &text("204"), "status")?;
    Ok(())
}

pub(crate) async fn shared_data_that_changed_is_tried_again(scene: &mut Scene) -> Verdict {
    use transom_process::v1::{SharedResult, shared};
    let used = scene.ready("notes", "").await?;
    let stream = begin(scene, used.id);
    headers(scene, stream, "/");
    // What it reads, and whether its write is done: another has written in between.
    let mut answers = [
        (None, 0, true),
        (None, 0, false),
        (Some("4"), 8, true),
        (None, 0, true),
    ]
    .into_iter();
    let mut seen = Vec::new();
    loop {
        let (_, _, answer) = scene.work.next().await?;
        for action in answer
            .actions
            .into_iter()
            .filter_map(|action| action.action)
        {
            match action {
                action::Action::Resume(0) => {
                    same(
                        &seen,
                        &vec![(1, Some(0)), (5, Some(8))],
                        "writes: value, version",
                    )?;
                    gone(scene, stream);
                    scene.probe.release(&used).await?;
                    return Ok(());
                }
                action::Action::Shared(asked) => {
                    if let Some(shared::Operation::Set(set)) = asked.operation {
                        let text =
                            String::from_utf8_lossy(set.value.as_deref().unwrap_or_default())
                                .into_owned();
                        seen.push((text.parse().unwrap_or(0), set.version));
                    }
                    let Some((value, version, done)) = answers.next() else {
                        return Err("it asks too often".into());
                    };
                    let result = event::Event::Shared(SharedResult {
                        key: "visits".to_owned(),
                        value: value.map(|value: &str| value.as_bytes().to_vec()),
                        version,
                        done,
                    });
                    tell(scene, stream, result);
                }
                _ => {}
            }
        }
    }
}

pub(crate) async fn headers_and_trailers_are_edited(scene: &mut Scene) -> Verdict {
    let mut request = post(
        &[
            ("x-set", "1"),
            ("X-Remove", "1"),
            ("x-set", "2"),
            ("x-remove", "2"),
        ],
        &["a"],
    );
    request.trailers = vec![("x-sum".to_owned(), "1".to_owned())];
    let outcome = scene
        .pass("edit", "", request, response("200", &[]))
        .await?;
    let sent = outcome.request.unwrap_or_default();
    let all = |name: &str| {
        let headers = sent.headers.iter();
        let found = headers.filter(|(other, _)| other.eq_ignore_ascii_case(name));
        found
            .map(|(_, value)| value.as_str())
            .collect::<Vec<_>>()
            .join(",")
    };
    same(&all("x-remove").as_str(), &"", "x-remove")?;
    same(&all("x-set").as_str(), &"a", "x-set")?;
    same(&all("x-add").as_str(), &"1,2", "x-add")?;
    same(&all("x-team").as_str(), &"none", "x-team")?;
    let trailer = |name: &str| sent.trailers.iter().any(|(other, _)| other == name);
    holds(
        trailer("x-sum") && trailer("x-trailer"),
        format!("trailers: {:?}", sent.trailers),
    )?;
    let seen = outcome.response.unwrap_or_default();
    same(&seen.header("x-edited"), &Some("yes"), "x-edited")?;
    Ok(())
}

pub(crate) async fn a_route_has_a_configuration_of_its_own(scene: &mut Scene) -> Verdict {
    let used = scene.ready("edit", r#"{"team": "blue"}"#).await?;
    for (route, team) in [("", "blue"), (r#"{"team": "red"}"#, "red"), ("", "blue")] {
        let answers = Answers {
            route_config: route.to_owned(),
            ..response("200", &[])
        };
        let outcome = Exchange::run(&mut scene.work, &used, get("/", &[]), answers).await?;
        let sent = outcome.request.unwrap_or_default();
        same(&sent.header("x-team"), &Some(team), "x-team")?;
    }
    scene.probe.release(&used).await?;
    Ok(())
}

pub(crate) async fn a_panic_is_a_failure_of_its_stream_only(scene: &mut Scene) -> Verdict {
    let outcome = scene
        .pass("faulty", "", get("/panic", &[]), response("200", &[]))
        .await?;
    let failure = outcome.failure.unwrap_or_default();
    holds(
        failure.contains("told to panic"),
        format!("failure: {failure}"),
    )?;
    let outcome = scene
        .pass("faulty", "", get("/", &[]), response("200", &[]))
        .await?;
    same(&outcome.failure, &None, "failure of the next stream")?;
    Ok(())
}

pub(crate) async fn a_failure_is_told(scene: &mut Scene) -> Verdict {
    let outcome = scene
        .pass("faulty", "", get("/fail", &[]), response("200", &[]))
        .await?;
    same(
        &outcome.failure.as_deref(),
        &Some("told to fail"),
        "failure",
    )?;
    Ok(())
}

pub(crate) async fn a_stream_that_goes_while_it_waits_is_forgotten(scene: &mut Scene) -> Verdict {
    let used = scene.ready("pause", r#"{"ms": 1000}"#).await?;
    let stream = begin(scene, used.id);
    let timer = paused(scene, stream).await?;
    gone(scene, stream);
    // Its timer ran out just then.
    tell(scene, stream, event::Event::Timer(timer));
    let silence = scene.work.next_within(Duration::from_millis(50)).await?;
    if let Some((_, _, answer)) = &silence {
        holds(answer.actions.is_empty(), format!("it answers {silence:?}"))?;
    }
    let outcome = scene
        .pass("auth", "{}", get("/", &[]), response("200", &[]))
        .await?;
    same(&outcome.reply, &None, "reply")?;
    scene.probe.release(&used).await?;
    Ok(())
}

pub(crate) async fn a_callout_of_a_stream_that_went_is_forgotten(scene: &mut Scene) -> Verdict {
    let used = scene.ready("callout", AUTH).await?;
    let stream = begin(scene, used.id);
    let callback = headers(scene, stream, "/");
    scene.work.answer(callback).await?;
    gone(scene, stream);
    let outcome = scene
        .pass("callout", AUTH, get("/", &[]), asked("200"))
        .await?;
    same(&outcome.reply, &None, "reply")?;
    scene.probe.release(&used).await?;
    Ok(())
}

pub(crate) async fn a_deadline_of_one_stream_leaves_the_others(scene: &mut Scene) -> Verdict {
    let slow = scene.ready("pause", r#"{"ms": 60000}"#).await?;
    let stream = begin(scene, slow.id);
    paused(scene, stream).await?;
    // The host does not wait any longer, and other streams never did.
    let begin = Instant::now();
    let outcome = scene
        .pass("auth", "{}", get("/", &[]), response("200", &[]))
        .await?;
    same(&outcome.reply, &None, "reply")?;
    holds(
        begin.elapsed() < Duration::from_secs(5),
        "another stream waited",
    )?;
    let reset = Gone {
        reason: Some(transom_process::v1::ResetReason::Timeout.into()),
    };
    scene.work.tell(stream, to_plugin::Message::Gone(reset));
    scene.probe.release(&slow).await?;
    Ok(())
}

pub(crate) async fn a_thousand_streams_wait_at_once(scene: &mut Scene) -> Verdict {
    let used = scene.ready("pause", r#"{"ms": 1000}"#).await?;
    let streams: Vec<u64> = (0..1000).map(|_| begin(scene, used.id)).collect();
    for stream in &streams {
        headers(scene, *stream, "/");
    }
    let mut timers = Vec::new();
    while timers.len() < streams.len() {
        let (stream, _, answer) = scene.work.next().await?;
        timers.extend(timer(&answer.actions).map(|timer| (stream, timer)));
    }
    // Backwards, so that no order helps.
    for (stream, timer) in timers.iter().rev() {
        tell(scene, *stream, event::Event::Timer(*timer));
    }
    let mut resumed = 0;
    while resumed < streams.len() {
        let (_, _, answer) = scene.work.next().await?;
        let resumes = |action: &action::Action| matches!(action, action::Action::Resume(0));
        let actions = answer.actions.iter().filter_map(|a| a.action.as_ref());
        resumed += actions.filter(|action| resumes(action)).count();
    }
    for stream in streams {
        gone(scene, stream);
    }
    scene.probe.release(&used).await?;
    Ok(())
}

pub(crate) async fn answers_wait_for_credit(scene: &mut Scene) -> Verdict {
    let mut work = scene.probe.work_with_credit(1, 1000).await?;
    std::mem::swap(&mut scene.work, &mut work);
    let used = scene.ready("auth", "{}").await?;
    for _ in 0..10 {
        let stream = begin(scene, used.id);
        headers(scene, stream, "/");
    }
    scene.work.next().await?;
    let early = scene.work.next_within(Duration::from_millis(50)).await?;
    same(&early.is_none(), &true, "nothing more without credit")?;
    scene.work.grant(9, 0);
    for _ in 0..9 {
        scene.work.next().await?;
    }
    scene.probe.release(&used).await?;
    std::mem::swap(&mut scene.work, &mut work);
    Ok(())
}

pub(crate) async fn bodies_wait_for_credit(scene: &mut Scene) -> Verdict {
    let mut work = scene.probe.work_with_credit(100, 3).await?;
    std::mem::swap(&mut scene.work, &mut work);
    let used = scene.ready("auth", r#"{"x": "y"}"#).await?;
    // Each answer has a body of 7 bytes.
    for _ in 0..3 {
        let stream = begin(scene, used.id);
        headers(scene, stream, "/");
    }
    scene.work.next().await?;
    for bytes in [4, 7] {
        let early = scene.work.next_within(Duration::from_millis(50)).await?;
        same(&early.is_none(), &true, "nothing more without bytes")?;
        scene.work.grant(0, bytes);
        let early = scene.work.next_within(Duration::from_millis(30)).await?;
        // Overdrawn by 4: with 4 more there is nothing left, with 1 more there would be.
        same(&early.is_some(), &(bytes == 7), "an answer")?;
    }
    std::mem::swap(&mut scene.work, &mut work);
    scene.probe.release(&used).await?;
    Ok(())
}

pub(crate) async fn credit_comes_back(scene: &mut Scene) -> Verdict {
    let mut work = scene.probe.work().await?;
    std::mem::swap(&mut scene.work, &mut work);
    let first = scene.work.credit().messages;
    holds(first >= 1024, format!("only {first} callbacks at once"))?;
    let used = scene.ready("auth", "{}").await?;
    let mut sent = 0;
    while sent < first.min(20_000) + 100 {
        let batch = scene.work.credit().messages.min(256);
        holds(batch > 0, "no credit is left")?;
        let mut streams = Vec::new();
        for _ in 0..batch {
            let stream = begin(scene, used.id);
            headers(scene, stream, "/");
            streams.push(stream);
        }
        for _ in 0..batch {
            scene.work.next().await?;
        }
        for stream in streams {
            gone(scene, stream);
        }
        sent += batch;
    }
    scene.probe.release(&used).await?;
    std::mem::swap(&mut scene.work, &mut work);
    Ok(())
}

pub(crate) async fn two_workers_do_not_mix(scene: &mut Scene) -> Verdict {
    let used = scene.ready("auth", r#"{"x-team": "blue"}"#).await?;
    let mut other = scene.probe.work().await?;
    for team in ["blue", "red"] {
        let request = get("/", &[("x-team", team)]);
        let a = Exchange::run(
            &mut scene.work,
            &used,
            request.clone(),
            response("200", &[]),
        )
        .await?;
        let b = Exchange::run(&mut other, &used, request, response("200", &[])).await?;
        same(&a.reply.is_none(), &(team == "blue"), team)?;
        same(&b.reply.is_none(), &(team == "blue"), team)?;
    }
    drop(other);
    let outcome = Exchange::run(
        &mut scene.work,
        &used,
        get("/", &[("x-team", "blue")]),
        response("200", &[]),
    )
    .await?;
    same(&outcome.reply, &None, "after the other worker went")?;
    scene.probe.release(&used).await?;
    Ok(())
}

pub(crate) async fn connections_are_served(scene: &mut Scene) -> Verdict {
    let used = scene
        .probe
        .prepare(Kind::NetworkFilter, "greet", "")
        .await?;
    holds(
        used.needs.callbacks & 2 != 0,
        "it needs no bytes of clients",
    )?;
    let connection = scene.work.next_stream();
    let begin = ConnectionBegin {
        use_id: used.id,
        ..ConnectionBegin::default()
    };
    let callback = scene
        .work
        .call(connection, to_plugin::Message::ConnectionBegin(begin));
    let answer = scene.work.answer(callback).await?;
    same(&answer.verdict, &0, "verdict at the beginning")?;
    let injected = answer
        .actions
        .iter()
        .find_map(|action| match &action.action {
            Some(action::Action::Inject(inject)) if inject.direction == 1 => {
                Some(inject.data.clone())
            }
            _ => None,
        });
    same(&injected, &Some(b"hello\n".to_vec()), "the greeting")?;
    let answer = said(scene, connection, "shout").await?;
    let replaced = answer
        .actions
        .iter()
        .find_map(|action| match &action.action {
            Some(action::Action::Body(body)) if body.direction == 0 => Some(body.data.clone()),
            _ => None,
        });
    same(&replaced, &Some(b"SHOUT".to_vec()), "what goes on")?;
    let answer = said(scene, connection, "bye now").await?;
    let closes = |action: &action::Action| matches!(action, action::Action::Terminate(_));
    holds(
        answer
            .actions
            .iter()
            .filter_map(|a| a.action.as_ref())
            .any(closes),
        "it does not close",
    )?;
    let closed = Closed::default();
    scene
        .work
        .tell(connection, to_plugin::Message::Closed(closed));
    scene.probe.release(&used).await?;
    Ok(())
}

async fn said(
    scene: &mut Scene,
    connection: u64,
    text: &str,
) -> Result<transom_process::v1::Answer, transom_process::probe::WorkError> {
    let bytes = Data {
        direction: 0,
        data: text.as_bytes().to_vec(),
        end: false,
    };
    let callback = scene
        .work
        .call(connection, to_plugin::Message::Bytes(bytes));
    scene.work.answer(callback).await
}

pub(crate) async fn certificates_are_given(scene: &mut Scene) -> Verdict {
    let folder = std::env::temp_dir();
    let of = |what: &str| folder.join(format!("transom-sdk-{what}-{}.pem", std::process::id()));
    let (chain, key) = (of("chain"), of("key"));
    std::fs::write(&chain, "the chain")?;
    std::fs::write(&key, "the key")?;
    let config = format!(
        r#"{{"chain": "{}", "key": "{}"}}"#,
        chain.display(),
        key.display()
    );
    let kind = Kind::CertificateProvider;
    let used = scene.probe.prepare(kind, "", &config).await?;
    for name in ["", "a.test"] {
        let answer = scene.probe.certificate(&used, name).await?;
        same(&answer.certificate_chain, &b"the chain".to_vec(), "chain")?;
        same(&answer.private_key, &b"the key".to_vec(), "key")?;
        same(&answer.refresh_after_ms, &3_600_000, "refresh")?;
    }
    std::fs::remove_file(chain)?;
    std::fs::remove_file(key)?;
    scene.probe.release(&used).await?;
    Ok(())
}

pub(crate) async fn a_certificate_that_is_not_there_is_an_error(scene: &mut Scene) -> Verdict {
    let kind = Kind::CertificateProvider;
    let config = r#"{"chain": "/nowhere/chain.pem", "key": "/nowhere/key.pem"}"#;
    match scene.probe.prepare(kind, "", config).await {
        Err(ProbeError::Refused(faults)) => {
            let text = faults.iter().map(|fault| fault.message.as_str());
            let text: String = text.collect();
            holds(text.contains("/nowhere/chain.pem"), text)
        }
        other => Err(format!("{other:?}").into()),
    }
}

pub(crate) async fn a_use_that_was_released_is_gone(scene: &mut Scene) -> Verdict {
    let used = scene.ready("auth", "{}").await?;
    let outcome =
        Exchange::run(&mut scene.work, &used, get("/", &[]), response("200", &[])).await?;
    same(&outcome.failure, &None, "failure")?;
    scene.probe.release(&used).await?;
    let outcome =
        Exchange::run(&mut scene.work, &used, get("/", &[]), response("200", &[])).await?;
    holds(outcome.failure.is_some(), "its streams still pass")
}

/// An old plugin and a newer host: a message, an event and a field that it does not know.
pub(crate) async fn what_a_newer_host_sends_is_passed_over(scene: &mut Scene) -> Verdict {
    let used = scene.ready("pause", r#"{"ms": 1000}"#).await?;
    let stream = begin(scene, used.id);
    let timer = paused(scene, stream).await?;
    let callback = scene
        .work
        .call(stream, to_plugin::Message::Event(Event { event: None }));
    let answer = scene.work.answer(callback).await?;
    same(
        &answer.actions.len(),
        &0,
        "actions for an event without a kind",
    )?;
    tell(scene, stream, event::Event::Timer(timer));
    loop {
        let (_, _, answer) = scene.work.next().await?;
        let mut actions = answer.actions.into_iter().filter_map(|a| a.action);
        if actions.any(|action| action == action::Action::Resume(0)) {
            break;
        }
    }
    gone(scene, stream);
    scene.probe.release(&used).await?;
    Ok(())
}

fn begin(scene: &mut Scene, use_id: u64) -> u64 {
    scene.work.begin(StreamBegin {
        use_id,
        ..StreamBegin::default()
    })
}

fn headers(scene: &mut Scene, stream: u64, path: &str) -> u64 {
    let fields = |sent: Sent| {
        let field = |(name, value): (String, String)| Field {
            name: name.into_bytes(),
            value: value.into_bytes(),
        };
        sent.headers.into_iter().map(field).collect()
    };
    let headers = Headers {
        direction: 0,
        fields: fields(get(path, &[])),
        end: true,
        begin: None,
    };
    scene
        .work
        .call(stream, to_plugin::Message::Headers(headers))
}

fn tell(scene: &mut Scene, stream: u64, event: event::Event) {
    let event = Event { event: Some(event) };
    scene.work.call(stream, to_plugin::Message::Event(event));
}

fn gone(scene: &mut Scene, stream: u64) {
    let gone = Gone { reason: None };
    scene.work.tell(stream, to_plugin::Message::Gone(gone));
}

fn timer(actions: &[transom_process::v1::Action]) -> Option<u64> {
    actions.iter().find_map(|action| match &action.action {
        Some(action::Action::Timer(timer)) => Some(timer.timer),
        _ => None,
    })
}

/// Sends a request to `pause`; the timer that it sets.
async fn paused(
    scene: &mut Scene,
    stream: u64,
) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    headers(scene, stream, "/");
    loop {
        let (from, _, answer) = scene.work.next().await?;
        if from == stream
            && let Some(timer) = timer(&answer.actions)
        {
            return Ok(timer);
        }
    }
}
