//! What each endpoint answers.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use transom_api::Node;
use transom_api::control::{Control, MetricFamily, MetricSample, MetricValue, Readiness};
use transom_api::metrics::MetricKind;

use crate::client::request;
use crate::proxy::{Folder, Pretended};

#[tokio::test]
async fn ready_follows_the_proxy() {
    let admin = Pretended::default().serve();
    for (readiness, status, body) in [
        (Readiness::Starting, 503, "starting\n"),
        (Readiness::Ready, 200, "ready\n"),
        (Readiness::Draining, 503, "draining\n"),
    ] {
        *admin.proxy.readiness.lock().unwrap() = readiness;
        let answer = request(&admin.address, "GET", "/ready").await;
        assert_eq!((answer.status, answer.body.as_str()), (status, body));
    }
}

#[tokio::test]
async fn metrics_come_in_the_text_format() {
    let admin = Pretended {
        metrics: families(),
        ..Pretended::default()
    }
    .serve();
    let answer = request(&admin.address, "GET", "/metrics?x=y").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.field("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    assert!(
        answer.body.contains(
            "# TYPE transom_requests_total counter\n\
             transom_requests_total{listener=\"a\\\\b\\\"c\\nd\"} 42\n\
             transom_requests_total{listener=\"two\"} 0\n"
        ),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn promtool_accepts_the_metrics() {
    let admin = Pretended {
        metrics: families(),
        ..Pretended::default()
    }
    .serve();
    let page = request(&admin.address, "GET", "/metrics").await.body;
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        println!("skipped: promtool is not installed");
        return;
    };
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(page.as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}\n{page}");
}

#[tokio::test]
async fn certificates_are_json() {
    let admin = Pretended::default().serve();
    let answer = request(&admin.address, "GET", "/certificates").await;
    assert_eq!(answer.status, 200);
    let certificates: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(certificates, serde_json::json!([{"name": "in"}]));
}

#[tokio::test]
async fn clusters_are_json() {
    let admin = Pretended::default().serve();
    let answer = request(&admin.address, "GET", "/clusters").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("content-type"), Some("application/json"));
    let clusters: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(clusters, serde_json::json!([{"name": "backend"}]));
}

#[tokio::test]
async fn config_dump_is_json_without_secrets() {
    let admin = Pretended {
        config: Node::map([(
            "clusters",
            Node::list([Node::map([
                ("name", "backend".into()),
                ("weight", 3.into()),
                ("password", "hunter2".into()),
            ])]),
        )]),
        ..Pretended::default()
    }
    .serve();
    let answer = request(&admin.address, "GET", "/config_dump").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("content-type"), Some("application/json"));
    let json: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"clusters": [{"name": "backend", "weight": 3, "password": "[hidden]"}]})
    );
}

#[tokio::test]
async fn a_large_dump_arrives_whole() {
    let items = (0..200_000).map(Node::from);
    let admin = Pretended {
        config: Node::list(items),
        ..Pretended::default()
    }
    .serve();
    let answer = request(&admin.address, "GET", "/config_dump").await;
    let length = answer.body.len().to_string();
    assert_eq!(answer.field("content-length"), Some(length.as_str()));
    let json: Vec<u32> = serde_json::from_str(&answer.body).unwrap();
    assert!(json.into_iter().eq(0..200_000));
}

#[tokio::test]
async fn reload_tells_success_and_the_reason_of_failure() {
    let mut outcomes = vec![Err("line 3: unknown key `adress`".to_owned()), Ok(())];
    let admin = Pretended::with_reload(move || {
        let outcome = outcomes.pop().unwrap();
        async move { outcome }
    })
    .serve();
    let answer = request(&admin.address, "POST", "/reload").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = request(&admin.address, "POST", "/reload").await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.body, "line 3: unknown key `adress`\n");
}

#[tokio::test]
async fn a_panic_behind_an_endpoint_is_500_and_the_next_request_is_served() {
    let mut first = true;
    let admin = Pretended::with_reload(move || {
        let fails = std::mem::take(&mut first);
        async move {
            assert!(!fails, "a fault of the proxy");
            Ok(())
        }
    })
    .serve();
    assert_eq!(request(&admin.address, "POST", "/reload").await.status, 500);
    assert_eq!(request(&admin.address, "POST", "/reload").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_reload_outlives_its_request_and_the_next_waits_for_it() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let begin = Instant::now();
    let admin = Pretended::with_reload({
        let log = Arc::clone(&log);
        move || {
            let log = Arc::clone(&log);
            async move {
                log.lock()
                    .unwrap()
                    .push(("begins", begin.elapsed().as_secs()));
                tokio::time::sleep(Duration::from_secs(35)).await;
                log.lock()
                    .unwrap()
                    .push(("ends", begin.elapsed().as_secs()));
                Ok(())
            }
        }
    })
    .serve();
    for _ in 0..2 {
        // Given up after 29 seconds, at 29 and 58.
        assert_eq!(request(&admin.address, "POST", "/reload").await.status, 503);
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(
        *log.lock().unwrap(),
        [("begins", 0), ("ends", 35), ("begins", 35), ("ends", 70)]
    );
}

#[tokio::test]
async fn the_index_and_the_answer_to_an_unknown_path_list_the_paths() {
    let admin = Pretended::default().serve();
    let index = request(&admin.address, "GET", "/").await;
    let unknown = request(&admin.address, "GET", "/metric").await;
    assert_eq!((index.status, unknown.status), (200, 404));
    for path in [
        "/ready",
        "/metrics",
        "/config_dump",
        "/clusters",
        "/certificates",
        "/reload",
    ] {
        assert!(index.body.contains(path), "{path} in {}", index.body);
        assert!(unknown.body.contains(path), "{path} in {}", unknown.body);
    }
    assert!(
        unknown.body.contains("did you mean `/metrics`?"),
        "{}",
        unknown.body
    );
    let slash = request(&admin.address, "GET", "/ready/").await;
    assert_eq!(slash.status, 404);
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_one() {
    let admin = Pretended::default().serve();
    for (method, path, allow) in [
        ("POST", "/ready", "GET,HEAD"),
        ("DELETE", "/metrics", "GET,HEAD"),
        ("OPTIONS", "/config_dump", "GET,HEAD"),
        ("PUT", "/", "GET,HEAD"),
        ("GET", "/reload", "POST"),
        ("HEAD", "/reload", "POST"),
    ] {
        let answer = request(&admin.address, method, path).await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert_eq!(answer.field("allow"), Some(allow), "{method} {path}");
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let admin = Pretended::default().serve();
    let get = request(&admin.address, "GET", "/").await;
    let head = request(&admin.address, "HEAD", "/").await;
    assert_eq!(head.status, 200);
    assert_eq!(head.body, "");
    assert_eq!(head.field("content-length"), get.field("content-length"));
}

#[tokio::test]
async fn no_answer_may_be_kept_or_taken_for_a_page() {
    let admin = Pretended::with_reload(|| async { Err("no".to_owned()) }).serve();
    for (method, path, status) in [
        ("GET", "/", 200),
        ("GET", "/ready", 200),
        ("GET", "/metrics", 200),
        ("GET", "/config_dump", 200),
        ("GET", "/clusters", 200),
        ("GET", "/certificates", 200),
        ("POST", "/reload", 400),
        ("GET", "/reload", 405),
        ("GET", "/nothing", 404),
        ("GET", "http://evil.example/ready", 421),
    ] {
        let answer = request(&admin.address, method, path).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.field("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
    }
}

#[tokio::test]
async fn a_unix_socket_serves_the_same() {
    let folder = Folder::new();
    let admin = Pretended::default().serve_on(&folder.socket().1);
    for (path, status) in [
        ("/ready", 200),
        ("/metrics", 200),
        ("/config_dump", 200),
        ("/x", 404),
    ] {
        assert_eq!(request(&admin.address, "GET", path).await.status, status);
    }
    assert_eq!(request(&admin.address, "POST", "/reload").await.status, 200);
}

fn families() -> Vec<MetricFamily> {
    let labels = |value: &str| vec![("listener".to_owned(), value.to_owned())];
    let number = |labels, value| MetricSample {
        labels,
        value: MetricValue::Number(value),
    };
    vec![
        MetricFamily {
            name: "transom_connections".to_owned(),
            help: "Open connections.".to_owned(),
            kind: MetricKind::Gauge,
            samples: vec![number(Vec::new(), 7)],
        },
        MetricFamily {
            name: "transom_request_duration_seconds".to_owned(),
            help: "Time from the request's head \\ to the end\nof the response.".to_owned(),
            kind: MetricKind::Histogram,
            samples: vec![MetricSample {
                labels: labels("ingress"),
                value: MetricValue::Histogram {
                    buckets: vec![(0.0005, 10), (0.001, 12), (60.0, 13), (f64::INFINITY, 14)],
                    sum: 71.125,
                    count: 14,
                },
            }],
        },
        MetricFamily {
            name: "transom_requests_total".to_owned(),
            help: "Requests.".to_owned(),
            kind: MetricKind::Counter,
            samples: vec![number(labels("a\\b\"c\nd"), 42), number(labels("two"), 0)],
        },
    ]
}

#[tokio::test]
async fn logging_shows_and_sets_levels() {
    let admin = Pretended::default().serve();
    let shown = request(&admin.address, "GET", "/logging").await;
    assert_eq!(shown.field("content-type"), Some("application/json"));
    assert_eq!(
        shown.body,
        "{\n  \"level\": \"info\",\n  \"targets\": {}\n}\n"
    );
    for query in ["level=debug", "target=transom_proxy::tls&level=off"] {
        let set = request(&admin.address, "POST", &format!("/logging?{query}")).await;
        assert_eq!(set.status, 200);
    }
    let shown = request(&admin.address, "GET", "/logging").await.body;
    assert_eq!(
        shown,
        "{\n  \"level\": \"debug\",\n  \"targets\": {\n    \"transom_proxy::tls\": \"off\"\n  }\n}\n"
    );
    let refused = request(&admin.address, "POST", "/logging?level=loud").await;
    assert_eq!(refused.status, 400);
    assert!(
        refused
            .body
            .contains("levels: trace, debug, info, warn, error, off"),
        "{}",
        refused.body
    );
    let wrong = request(&admin.address, "PUT", "/logging?level=info").await;
    assert_eq!(
        (wrong.status, wrong.body.as_str()),
        (405, "/logging does not take PUT: use GET or POST\n")
    );
    assert_eq!(admin.proxy.log_levels().all, "debug");
}

#[tokio::test]
async fn logs_are_reopened_by_order_only() {
    let admin = Pretended::default().serve();
    assert_eq!(
        request(&admin.address, "GET", "/reopen_logs").await.status,
        405
    );
    assert_eq!(
        request(&admin.address, "POST", "/reopen_logs").await.status,
        200
    );
    assert_eq!(admin.proxy.reopened.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn plugins_are_shown_ordered_and_asked_as_mosn_does() {
    let admin = Pretended::default().serve();
    let all = request(&admin.address, "GET", "/api/v1/plugins").await;
    assert_eq!(all.status, 200);
    assert!(all.body.contains(r#""name": "auth""#), "{}", all.body);
    let one = request(&admin.address, "GET", "/api/v1/plugins/auth").await;
    assert_eq!(
        (one.status, one.body.as_str()),
        (200, "{\n  \"name\": \"auth\"\n}\n")
    );
    let none = request(&admin.address, "GET", "/api/v1/plugins/aut").await;
    assert_eq!(
        (none.status, none.body.as_str()),
        (
            404,
            "there is no plugin \"aut\": did you mean `auth`? Known plugins: auth\n"
        )
    );
    for order in ["enable", "disable", "restart", "swap"] {
        let path = format!("/api/v1/plugins/auth/{order}");
        let done = request(&admin.address, "POST", &path).await;
        assert_eq!(done.status, 200, "{}", done.body);
        assert!(
            done.body.contains(&format!(r#""order": "{order}""#)),
            "{}",
            done.body
        );
        // A link on a page orders nothing.
        let get = request(&admin.address, "GET", &path).await;
        assert_eq!(get.status, 405);
        assert!(get.body.contains("use POST"), "{}", get.body);
    }
    let unknown = request(&admin.address, "POST", "/api/v1/plugins/auth/stop").await;
    assert_eq!(unknown.status, 404);
    assert!(
        unknown
            .body
            .contains("Known orders: enable, disable, restart, swap"),
        "{}",
        unknown.body
    );
    let refused = request(&admin.address, "POST", "/api/v1/plugins/busy/swap").await;
    assert_eq!((refused.status, refused.body.as_str()), (409, "not now\n"));
    for path in ["/plugin", "/api/v1/plugin"] {
        for (method, said) in [
            ("GET", "enable=auth false\n"),
            ("POST", "enable=auth true\n"),
        ] {
            let answer = request(&admin.address, method, &format!("{path}?enable=auth")).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, said));
        }
    }
}

#[tokio::test]
async fn get_changes_plugins_only_as_mosn_does() {
    let admin = Pretended::default().serve_as(true);
    let answer = request(&admin.address, "GET", "/plugin?enable=auth").await;
    assert_eq!(answer.body, "enable=auth true\n");
}
