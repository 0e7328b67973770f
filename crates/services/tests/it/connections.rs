//! Connections to servers, whatever they are asked.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use transom_e2e::tls::{Authority, Folder};
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

fn use_of(grpc: &str) -> String {
    format!("{{name: ext_authz, config: {{timeout: 2s, grpc: {{{grpc}}}}}}}")
}

fn answer(_: usize, _: bytes::Bytes) -> Vec<Step> {
    vec![Step::send(&CheckResponse::default()), Step::End(0)]
}

#[test]
fn a_server_that_leaves_gets_no_new_calls_and_no_call_fails() {
    let server = Server::start(|_, _| {
        vec![
            Step::send(&CheckResponse::default()),
            Step::Leave,
            Step::End(0),
        ]
    });
    let upstream = Upstream::ok("hello");
    let plane = Setup::to(&upstream)
        .filter(&use_of(&format!("address: \"{}\"", server.address())))
        .start();
    for _ in 0..5 {
        assert_eq!(plane.get("/").status(), 200);
        // The news that it leaves is on its way.
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let connections = server
        .calls
        .lock()
        .unwrap()
        .iter()
        .map(|call| call.connection)
        .max();
    assert!(connections > Some(0));
}

#[test]
fn a_server_may_be_at_a_unix_socket() {
    let folder = Folder::new();
    let path = folder.path().join("server.sock");
    let server = Server::at(&path, answer);
    let upstream = Upstream::ok("hello");
    let plane = Setup::to(&upstream)
        .filter(&use_of(&format!("address: \"unix:{}\"", path.display())))
        .start();
    assert_eq!(plane.get("/").status(), 200);
    assert_eq!(server.count(), 1);
}

#[test]
fn a_server_over_tls_must_have_a_good_certificate() {
    let folder = Folder::new();
    let (authority, stranger) = (Authority::new("mine"), Authority::new("theirs"));
    let ca = folder.write("ca.pem", authority.pem());
    for (signer, name, status) in [
        (&authority, "services.test", 200),
        (&authority, "other.test", 403),
        (&stranger, "services.test", 403),
    ] {
        let pair = signer.sign(&[name]);
        let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
            .map(Result::unwrap)
            .collect();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let mut config = rustls::ServerConfig::builder_with_provider(std::sync::Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let server = Server::secure(config, answer);
        let upstream = Upstream::ok("hello");
        let plane = Setup::to(&upstream)
            .filter(&use_of(&format!(
                "address: \"{}\", tls: {{ca: \"{ca}\", server_name: services.test}}",
                server.address()
            )))
            .start();
        assert_eq!(plane.get("/").status(), status, "{name}");
    }
}
