//! The access log `als`.

use transom_e2e::{Setup, Upstream, eventually};
use transom_services::proto::als::StreamAccessLogsMessage;
use transom_services::proto::als::stream_access_logs_message::LogEntries;

use crate::server::{Server, Step};

fn use_of(server: &Server, more: &str) -> String {
    format!(
        "{{name: als, config: {{{}, log_name: mine{more}}}}}",
        server.grpc()
    )
}

fn entries(server: &Server) -> usize {
    let calls = server.count();
    (0..calls)
        .flat_map(|call| server.messages::<StreamAccessLogsMessage>(call))
        .map(|message| match message.log_entries {
            Some(LogEntries::HttpLogs(logs)) => logs.log_entry.len(),
            _ => 0,
        })
        .sum()
}

#[test]
fn records_go_in_batches_on_one_call() {
    let server = Server::start(|_, _| Vec::new());
    let upstream = Upstream::ok("hello");
    let log = use_of(
        &server,
        ", flush_interval: 50ms, additional_request_headers: [x-a]",
    );
    let plane = Setup::to(&upstream).access_log(&log).start();
    let mut client = plane.client();
    for _ in 0..5 {
        let answer = client
            .send("GET /p HTTP/1.1\r\nHost: test\r\nX-A: 1\r\n\r\n")
            .answer();
        assert_eq!(answer.status(), 200);
    }
    eventually("the records", || (entries(&server) == 5).then_some(()));
    assert_eq!(server.count(), 1);
    let messages = server.messages::<StreamAccessLogsMessage>(0);
    assert_eq!(messages[0].identifier.as_ref().unwrap().log_name, "mine");
    assert!(
        messages[1..]
            .iter()
            .all(|message| message.identifier.is_none())
    );
    let Some(LogEntries::HttpLogs(logs)) = &messages[0].log_entries else {
        panic!("records of streams")
    };
    let request = logs.log_entry[0].request.as_ref().unwrap();
    assert_eq!(request.path, "/p");
    assert_eq!(request.request_headers["x-a"], "1");
    let response = logs.log_entry[0].response.as_ref().unwrap();
    assert_eq!(
        (response.response_code, response.response_body_bytes),
        (Some(200), 5)
    );
}

#[test]
fn a_server_that_is_away_costs_records_and_no_time() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let upstream = Upstream::ok("hello");
    let log = format!(
        "{{name: als, config: {{grpc: {{address: \"{gone}\"}}, log_name: mine, buffer_size: 1, max_pending: 2000}}}}"
    );
    let plane = Setup::to(&upstream).access_log(&log).start();
    let mut client = plane.client();
    for _ in 0..50 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert!(plane.metric("transom_als_records_dropped_total", &[("log", "mine")]) > 0);
}

#[test]
fn a_call_that_the_server_ends_is_begun_again() {
    let server = Server::start(|_, _| vec![Step::End(0)]);
    let upstream = Upstream::ok("hello");
    let log = use_of(&server, ", flush_interval: 20ms");
    let plane = Setup::to(&upstream).access_log(&log).start();
    assert_eq!(plane.get("/").status(), 200);
    // A record may go down with the call that ends under it, so there are more of them.
    eventually("the second call", || {
        assert_eq!(plane.get("/").status(), 200);
        (server.count() >= 2).then_some(())
    });
}
