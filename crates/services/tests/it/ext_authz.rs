//! `ext_authz`.

use transom_e2e::tls::{Authority, Folder, Secure};
use transom_e2e::upstream::ok;
use transom_e2e::{Setup, Upstream};
use transom_services::proto::auth::check_response::HttpResponse;
use transom_services::proto::auth::{
    CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use transom_services::proto::core::QueryParameter;
use transom_services::proto::envoy::r#type::v3::HttpStatus;
use transom_services::proto::google::rpc::Status;

use crate::ext_proc::set;
use crate::server::{Server, Step};

fn service(answer: CheckResponse) -> Server {
    Server::start(move |_, _| vec![Step::send(&answer), Step::End(0)])
}

fn filter(server: &Server, more: &str) -> String {
    format!(
        "{{name: ext_authz, config: {{{}, timeout: 2s{more}}}}}",
        server.grpc()
    )
}

fn refused() -> CheckResponse {
    CheckResponse {
        status: Some(Status {
            code: 7,
            ..Status::default()
        }),
        ..CheckResponse::default()
    }
}

#[test]
fn a_request_passes_or_is_answered_by_the_service() {
    let upstream = Upstream::echo();
    let allowed = service(CheckResponse::default());
    let plane = Setup::to(&upstream).filter(&filter(&allowed, "")).start();
    assert_eq!(plane.get("/some?a=1").status(), 200);
    let [question] = &allowed.messages::<CheckRequest>(0)[..] else {
        panic!("one question")
    };
    let http = question
        .attributes
        .as_ref()
        .unwrap()
        .request
        .as_ref()
        .unwrap()
        .http
        .as_ref()
        .unwrap();
    assert_eq!(
        (http.method.as_str(), http.path.as_str()),
        ("GET", "/some?a=1")
    );

    let denied = service(CheckResponse {
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus { code: 401 }),
            headers: vec![set("www-authenticate", "Basic")],
            body: "who".to_owned(),
        })),
        ..refused()
    });
    let plane = Setup::to(&upstream).filter(&filter(&denied, "")).start();
    let answer = plane.get("/");
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.header("www-authenticate"), Some("Basic"));
    assert_eq!(answer.body, b"who");
    assert_eq!(upstream.requests().len(), 1);
    assert_eq!(plane.metric("transom_ext_authz_denied_total", &[]), 1);
}

#[test]
fn a_good_answer_changes_request_and_response() {
    let server = service(CheckResponse {
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
            headers: vec![set("x-user", "me")],
            headers_to_remove: vec!["x-secret".to_owned()],
            response_headers_to_add: vec![set("x-checked", "yes")],
            query_parameters_to_set: vec![QueryParameter {
                key: "a".to_owned(),
                value: "2".to_owned(),
            }],
            query_parameters_to_remove: vec!["b".to_owned()],
            ..OkHttpResponse::default()
        })),
        ..CheckResponse::default()
    });
    let upstream = Upstream::echo();
    let plane = Setup::to(&upstream).filter(&filter(&server, "")).start();
    let answer = plane
        .client()
        .send("GET /?a=1&b=1&c=3 HTTP/1.1\r\nHost: test\r\nX-Secret: 1\r\n\r\n")
        .answer();
    assert_eq!(answer.header("x-checked"), Some("yes"));
    let request = upstream.last();
    assert_eq!(request.header("x-user"), Some("me"));
    assert_eq!(request.header("x-secret"), None);
    assert_eq!(request.target(), "/?a=2&c=3");
}

#[test]
fn the_service_sees_as_much_of_the_body_as_it_may() {
    let upstream = Upstream::echo();
    for (partial, body, status, shown) in [
        (true, "short", 200, Some("short")),
        (true, "longer than eight", 200, Some("longer t")),
        (false, "longer than eight", 413, None),
    ] {
        let server = service(CheckResponse::default());
        let more = format!(
            ", with_request_body: {{max_request_bytes: 8, allow_partial_message: {partial}}}"
        );
        let plane = Setup::to(&upstream).filter(&filter(&server, &more)).start();
        assert_eq!(plane.client().post("/", body).status(), status, "{body}");
        let Some(shown) = shown else {
            assert_eq!(server.count(), 0);
            continue;
        };
        let question = &server.messages::<CheckRequest>(0)[0];
        let http = question
            .attributes
            .clone()
            .unwrap()
            .request
            .unwrap()
            .http
            .unwrap();
        assert_eq!(http.body, shown);
        assert_eq!(
            http.headers["x-envoy-auth-partial-body"],
            (shown.len() < body.len()).to_string()
        );
        assert_eq!(upstream.last().body, body.as_bytes());
    }
}

#[test]
fn what_a_failing_service_does_is_configured() {
    for (more, policy, status) in [
        ("", "", 403),
        (", status_on_error: 503", "", 503),
        (
            ", failure_mode_allow: true, failure_mode_allow_header_add: true",
            "",
            200,
        ),
        ("", ", on_failure: open", 200),
    ] {
        let server = Server::start(|_, _| vec![Step::End(13)]);
        let upstream = Upstream::echo();
        let used = format!(
            "{{name: ext_authz{policy}, config: {{{}{more}}}}}",
            server.grpc()
        );
        let plane = Setup::to(&upstream).filter(&used).start();
        assert_eq!(plane.get("/").status(), status, "{more}{policy}");
        if more.contains("header_add") {
            assert_eq!(
                upstream.last().header("x-envoy-auth-failure-mode-allowed"),
                Some("true")
            );
        }
    }
}

#[test]
fn a_service_by_http_is_asked_with_the_fields_that_it_may_see() {
    let service = Upstream::answering(|request| match request.header("authorization") {
        Some("good") => {
            b"HTTP/1.1 200 OK\r\nx-user: me\r\nx-other: 1\r\ncontent-length: 0\r\n\r\n".to_vec()
        }
        Some("broken") => b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 401 No\r\nwww-authenticate: Basic\r\ncontent-length: 3\r\n\r\nwho".to_vec(),
    });
    let upstream = Upstream::answering(|_| ok("hello"));
    let plane = Setup::to(&upstream)
        .filter("{name: ext_authz, config: {allowed_headers: [x-seen], http: {cluster: auth, path_prefix: /check, allowed_upstream_headers: [x-user]}}}")
        .cluster("auth", &[service.address()])
        .start();
    let ask = |token: &str| {
        plane
            .client()
            .send(format!("GET /a HTTP/1.1\r\nHost: test\r\nAuthorization: {token}\r\nX-Seen: 1\r\nX-Hidden: 2\r\n\r\n"))
            .answer()
    };
    assert_eq!(ask("good").status(), 200);
    let question = service.last();
    assert_eq!(question.target(), "/check/a");
    assert_eq!(question.header("x-seen"), Some("1"));
    assert_eq!(question.header("x-hidden"), None);
    assert_eq!(upstream.last().header("x-user"), Some("me"));
    assert_eq!(upstream.last().header("x-other"), None);
    let answer = ask("bad");
    assert_eq!(
        (answer.status(), answer.body.as_slice()),
        (401, &b"who"[..])
    );
    assert_eq!(answer.header("www-authenticate"), Some("Basic"));
    assert_eq!(ask("broken").status(), 403);
}

/// Envoy's `include_peer_certificate`: `source.certificate` is the client's, in PEM, with what has a meaning in URLs written as its code
/// (`urlEncodedPemEncodedPeerCertificate`); the destination has none.
#[test]
fn the_service_sees_the_clients_certificate_if_it_is_to() {
    let (ca, clients, folder) = (
        Authority::new("ca"),
        Authority::new("clients"),
        Folder::new(),
    );
    let files = folder.pair("a", &ca.sign(&["a.test"]));
    let client_ca = folder.write("clients.pem", clients.pem());
    let upstream = Upstream::echo();
    let own = clients.sign(&["me.test"]);
    let protocols = [&rustls::version::TLS13];
    let with = Secure::with(&ca, Some(&own), &[], &protocols);
    let without = Secure::with(&ca, None, &[], &protocols);
    for (more, client, shown) in [
        (", include_peer_certificate: true", &with, true),
        (", include_peer_certificate: true", &without, false),
        ("", &with, false),
    ] {
        let server = service(CheckResponse::default());
        let tls = format!(
            "tls: {{certificates: [{{{files}}}], client_ca: {client_ca}, client_certificate: optional}}"
        );
        let plane = Setup::to(&upstream)
            .listener_option(&tls)
            .filter(&filter(&server, more))
            .start();
        let mut client = client.connect(plane.address("in"), "a.test").unwrap();
        assert_eq!(client.get("/").status(), 200);
        let [question] = &server.messages::<CheckRequest>(0)[..] else {
            panic!("one question")
        };
        let attributes = question.attributes.as_ref().unwrap();
        let source = attributes.source.as_ref().unwrap();
        let destination = attributes.destination.as_ref().unwrap();
        assert_eq!(destination.certificate, "");
        if !shown {
            assert_eq!(source.certificate, "", "{more}");
            continue;
        }
        assert!(!source.certificate.contains(['\n', ' ', '+', '/', '=']));
        let mut pem = source.certificate.clone();
        for (code, text) in [
            ("%0A", "\n"),
            ("%20", " "),
            ("%2B", "+"),
            ("%2F", "/"),
            ("%3D", "="),
        ] {
            pem = pem.replace(code, text);
        }
        let (first, _) = own.certificate.split_once("-----END").unwrap();
        let sent: String = pem.split_whitespace().collect();
        let shown: String = first.split_whitespace().collect();
        assert!(sent.starts_with(&shown), "{pem}");
        assert!(pem.ends_with("-----END CERTIFICATE-----\n"), "{pem}");
    }
}
