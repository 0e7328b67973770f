//! `transom plugin call`.

use serde_json::{Map, Value, json};
use transom_process::Request;
use transom_process::call::proto::plugin_client::PluginClient;
use transom_process::probe::{Answers, Exchange, Outcome, Probe, ProbeError, Sent};
use transom_process::v1::{Extension, Kind};

use super::check::kind_name;
use super::start::{Started, help, start};
use super::{CallArgs, failed};
use crate::command::Output;
use crate::{BAD_INPUT, FAULT, GOOD};

/// Why there is nothing to show: exit code, what, and what to do.
type Failure = (u8, String, String);

pub(super) async fn call(arguments: &CallArgs) -> u8 {
    let output = arguments.output;
    let headers = match headers(&arguments.headers) {
        Ok(headers) => headers,
        Err((code, error, help)) => return failed(output, code, &error, &help),
    };
    let (started, _) = match start(arguments.protocol, &arguments.program).await {
        Ok(started) => started,
        Err(error) => return failed(output, FAULT, &error.to_string(), help(&error)),
    };
    let answer = match started {
        Started::Transom(mut probe) => {
            let answer = by_transom(&mut probe, arguments, headers).await;
            probe.stop().await;
            answer
        }
        Started::Call(client) => {
            let answer = by_call(PluginClient::new(client.channel()), arguments, headers).await;
            client.kill().await;
            answer
        }
    };
    match answer {
        Ok(answer) => {
            match output {
                Output::Text => print!("{}", answer.text),
                Output::Json => println!("{:#}", answer.json),
            }
            answer.code
        }
        Err((code, error, help)) => failed(output, code, &error, &help),
    }
}

/// What is shown.
struct Answer {
    code: u8,
    text: String,
    json: Value,
}

async fn by_transom(
    probe: &mut Probe,
    arguments: &CallArgs,
    headers: Vec<(String, String)>,
) -> Result<Answer, Failure> {
    let broken = |error: ProbeError| match error {
        ProbeError::Refused(_) => (
            BAD_INPUT,
            error.to_string(),
            "--config takes the extension's configuration as JSON".to_owned(),
        ),
        error => (FAULT, error.to_string(), String::new()),
    };
    let described = probe.describe().await.map_err(broken)?;
    let extension = chosen(&described.extensions, arguments)?;
    let (kind, name) = (extension.kind(), extension.name.as_str());
    let used = probe
        .prepare(kind, name, &arguments.config)
        .await
        .map_err(broken)?;
    match kind {
        Kind::CertificateProvider => {
            let name = arguments.server_name.as_deref().unwrap_or("");
            let answer = probe.certificate(&used, name).await.map_err(broken)?;
            let chain = String::from_utf8_lossy(&answer.certificate_chain).into_owned();
            Ok(Answer {
                code: GOOD,
                text: format!(
                    "certificate for {name:?}: {} bytes, key {} bytes\n{chain}",
                    answer.certificate_chain.len(),
                    answer.private_key.len()
                ),
                // The key stays where it is.
                json: json!({
                    "certificate_chain": chain,
                    "private_key_bytes": answer.private_key.len(),
                    "client_authorities_bytes": answer.client_authorities.len(),
                    "refresh_after_ms": answer.refresh_after_ms,
                }),
            })
        }
        Kind::StreamFilter => {
            let request = request(arguments, headers);
            let answers = answers(arguments);
            let mut work = probe.work().await.map_err(broken)?;
            let outcome = Exchange::run(&mut work, &used, request.clone(), answers.clone())
                .await
                .map_err(|error| broken(error.into()))?;
            Ok(shown(&request, &answers.response, &outcome))
        }
        kind => Err((
            BAD_INPUT,
            format!("a {} cannot be called from the shell", kind_name(kind)),
            "plugin call asks stream filters and certificate providers".to_owned(),
        )),
    }
}

/// The extension that is asked.
fn chosen<'e>(extensions: &'e [Extension], arguments: &CallArgs) -> Result<&'e Extension, Failure> {
    let known = || {
        let named = |e: &Extension| format!("{} {:?}", kind_name(e.kind()), e.name);
        let all: Vec<String> = extensions.iter().map(named).collect();
        format!("it has: {}", all.join(", "))
    };
    let callable = |e: &&Extension| match arguments.server_name {
        Some(_) => e.kind() == Kind::CertificateProvider,
        None => matches!(e.kind(), Kind::StreamFilter | Kind::CertificateProvider),
    };
    let mut candidates = extensions.iter().filter(callable);
    let found = match &arguments.extension {
        Some(name) => candidates.find(|extension| extension.name == *name),
        None => candidates.next(),
    };
    found.ok_or_else(|| {
        let what = match &arguments.extension {
            Some(name) => format!("the plugin has no extension {name:?} that can be called"),
            None => "the plugin has no extension that can be called".to_owned(),
        };
        (BAD_INPUT, what, known())
    })
}

fn request(arguments: &CallArgs, headers: Vec<(String, String)>) -> Sent {
    let mut all: Vec<(String, String)> = [
        (":method", arguments.method.as_str()),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", arguments.path.as_str()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    for (name, value) in headers {
        if name.eq_ignore_ascii_case("host") {
            if let Some(authority) = all.iter_mut().find(|(name, _)| name == ":authority") {
                authority.1 = value;
            }
        } else {
            all.push((name, value));
        }
    }
    Sent {
        headers: all,
        body: pieces(&arguments.body),
        trailers: Vec::new(),
    }
}

fn answers(arguments: &CallArgs) -> Answers {
    Answers {
        response: Sent {
            headers: vec![(":status".to_owned(), arguments.status.to_string())],
            body: pieces(&arguments.response_body),
            trailers: Vec::new(),
        },
        ..Answers::default()
    }
}

fn pieces(body: &str) -> Vec<Vec<u8>> {
    if body.is_empty() {
        Vec::new()
    } else {
        vec![body.as_bytes().to_vec()]
    }
}

/// What the filter made of a request, and of the response.
fn shown(request: &Sent, response: &Sent, outcome: &Outcome) -> Answer {
    let mut text = String::new();
    if let Some(failure) = &outcome.failure {
        text.push_str(&format!("the filter failed: {failure}\n"));
    } else if let Some(reply) = &outcome.reply {
        text.push_str(&format!(
            "answered by the plugin: {} ({})\n",
            reply.status, reply.details
        ));
    } else if outcome.request.is_some() {
        text.push_str("the request goes on\n");
    } else {
        text.push_str("the stream was ended without an answer\n");
    }
    if let Some(sent) = &outcome.request {
        text.push_str(&changes("request", request, sent));
    }
    if let Some(sent) = &outcome.response {
        let before = match &outcome.reply {
            Some(_) => &Sent::default(),
            None => response,
        };
        text.push_str(&changes("response", before, sent));
    }
    for (space, key, value) in &outcome.metadata {
        text.push_str(&format!(
            "metadata {space}.{key} = {}\n",
            value_json(value.as_ref())
        ));
    }
    for (_, line) in &outcome.logs {
        text.push_str(&format!("log: {line}\n"));
    }
    for call in &outcome.callouts {
        text.push_str(&format!(
            "asked cluster {}, which is not here\n",
            call.cluster
        ));
    }
    let reply = outcome.reply.as_ref().map(|reply| {
        json!({ "status": reply.status, "details": reply.details, "body": String::from_utf8_lossy(&reply.body) })
    });
    let metadata: Vec<Value> = outcome
        .metadata
        .iter()
        .map(|(space, key, value)| json!({ "namespace": space, "key": key, "value": value_json(value.as_ref()) }))
        .collect();
    Answer {
        code: if outcome.failure.is_some() {
            FAULT
        } else {
            GOOD
        },
        text,
        json: json!({
            "request": outcome.request.as_ref().map(message_json),
            "response": outcome.response.as_ref().map(message_json),
            "reply": reply,
            "failure": outcome.failure,
            "metadata": metadata,
            "logs": outcome.logs.iter().map(|(_, line)| line).collect::<Vec<_>>(),
            "callouts": outcome.callouts.iter().map(|call| &call.cluster).collect::<Vec<_>>(),
        }),
    }
}

/// The lines that differ, and the body if it does.
fn changes(what: &str, before: &Sent, after: &Sent) -> String {
    let mut text = String::new();
    for line in before
        .headers
        .iter()
        .filter(|line| !after.headers.contains(line))
    {
        text.push_str(&format!("{what} - {}: {}\n", line.0, line.1));
    }
    for line in after
        .headers
        .iter()
        .filter(|line| !before.headers.contains(line))
    {
        text.push_str(&format!("{what} + {}: {}\n", line.0, line.1));
    }
    if before.whole_body() != after.whole_body() {
        let body = after.whole_body();
        text.push_str(&format!(
            "{what} body: {}\n",
            String::from_utf8_lossy(&body).trim_end()
        ));
    }
    text
}

fn message_json(message: &Sent) -> Value {
    json!({
        "headers": message.headers,
        "body": String::from_utf8_lossy(&message.whole_body()),
        "trailers": message.trailers,
    })
}

fn value_json(value: Option<&transom_process::v1::Value>) -> Value {
    use transom_process::v1::value::Kind;
    match value.and_then(|value| value.kind.as_ref()) {
        None => Value::Null,
        Some(Kind::Boolean(value)) => json!(value),
        Some(Kind::Integer(value)) => json!(value),
        Some(Kind::Number(value)) => json!(value),
        Some(Kind::Text(text)) => json!(text),
        Some(Kind::Bytes(bytes)) => json!(String::from_utf8_lossy(bytes)),
        Some(Kind::List(list)) => list
            .values
            .iter()
            .map(|value| value_json(Some(value)))
            .collect(),
        Some(Kind::Map(map)) => map
            .values
            .iter()
            .map(|(key, value)| (key.clone(), value_json(Some(value))))
            .collect::<Map<_, _>>()
            .into(),
    }
}

async fn by_call(
    mut plugin: PluginClient<transom_goplugin::Channel>,
    arguments: &CallArgs,
    headers: Vec<(String, String)>,
) -> Result<Answer, Failure> {
    let request = Request {
        header: headers.into_iter().collect(),
        body: arguments.body.clone().into_bytes(),
        r#type: arguments.kind.clone(),
        ..Request::default()
    };
    let answer = plugin.call(request).await;
    let answer = answer.map_err(|status| {
        let error = format!("the plugin answers Call with {status}");
        (FAULT, error, String::new())
    })?;
    let answer = answer.into_inner();
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    let mut text = format!("status {}\n", answer.status);
    let mut changed: Vec<_> = answer.header.iter().collect();
    changed.sort();
    for (name, value) in changed {
        text.push_str(&format!("header {name}: {value}\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("response body: {}\n", body.trim_end()));
    }
    Ok(Answer {
        code: GOOD,
        text,
        json: json!({
            "status": answer.status,
            "header": answer.header,
            "trailer": answer.trailer,
            "body": body,
        }),
    })
}

fn headers(lines: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let read = |line: &String| match line.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err((
            BAD_INPUT,
            format!("{line:?} is no header"),
            "write -H 'NAME: VALUE'".to_owned(),
        )),
    };
    lines.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_names_and_values() {
        let read = |line: &str| headers(&[line.to_owned()]);
        let pair = ("User".to_owned(), "a: b".to_owned());
        assert_eq!(read("User: a: b").unwrap(), [pair]);
        for wrong in ["User", ": x", ""] {
            assert_eq!(read(wrong).unwrap_err().0, BAD_INPUT, "{wrong}");
        }
    }

    #[test]
    fn only_what_differs_is_shown() {
        let sent = |headers: &[(&str, &str)], body: &str| Sent {
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: pieces(body),
            trailers: Vec::new(),
        };
        let before = sent(&[(":path", "/"), ("a", "1")], "x");
        let after = sent(&[(":path", "/"), ("a", "2")], "X\n");
        assert_eq!(
            changes("request", &before, &after),
            "request - a: 1\nrequest + a: 2\nrequest body: X\n"
        );
        assert_eq!(changes("request", &before, &before), "");
    }
}
