//! Connections to servers, whatever they are asked.

use transom_e2e::{Setup, Upstream};
use transom_services::proto::auth::CheckResponse;

use crate::server::{Server, Step};

fn good() -> Server {
    Server::start(|_, _| vec![Step::send(&CheckResponse::default()), Step::End(0)])
}

#[test]
fn a_worker_has_one_connection_for_all_its_calls() {
    let server = good();
    let upstream = Upstream::ok("hello");
    let plane = Setup::to(&upstream)
        .filter(&format!(
            "{{name: ext_authz, config: {{{}, timeout: 2s}}}}",
            server.grpc()
        ))
        .start();
    let mut client = plane.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").status(), 200);
    }
    let calls = server.calls.lock().unwrap();
    assert_eq!(calls.len(), 20);
    assert!(calls.iter().all(|call| call.connection == 0));
}

#[test]
fn a_connection_that_ended_is_made_again() {
    let server = Server::start({
        let count = std::sync::atomic::AtomicUsize::new(0);
        move |_, _| match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            1 => vec![Step::Hang],
            _ => vec![Step::send(&CheckResponse::default()), Step::End(0)],
        }
    });
    let upstream = Upstream::ok("hello");
    let plane = Setup::to(&upstream)
        .filter(&format!(
            "{{name: ext_authz, config: {{{}, timeout: 2s}}}}",
            server.grpc()
        ))
        .start();
    let statuses: Vec<u16> = (0..3).map(|_| plane.get("/").status()).collect();
    assert_eq!(statuses, [200, 403, 200]);
    assert_eq!(server.calls.lock().unwrap()[2].connection, 1);
}

#[test]
fn the_next_address_is_used_when_one_fails() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let server = good();
    let upstream = Upstream::ok("hello");
    let plane = Setup::to(&upstream)
        .filter(&format!(
            "{{name: ext_authz, config: {{timeout: 2s, grpc: {{addresses: [\"{gone}\", \"{}\"]}}}}}}",
            server.address()
        ))
        .start();
    assert_eq!(plane.get("/").status(), 200);
}

#[test]
fn without_a_server_requests_fail_at_once() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let upstream = Upstream::ok("hello");
    let plane = Setup::to(&upstream)
        .filter(&format!(
            "{{name: ext_proc, config: {{message_timeout: 60s, grpc: {{address: \"{gone}\"}}}}}}"
        ))
        .start();
    assert_eq!(plane.get("/").status(), 500);
    assert_eq!(plane.get("/").status(), 500);
}
