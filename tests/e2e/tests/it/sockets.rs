//! Sockets of listeners through reloads: nobody who connects is reset.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use transom_e2e::{PATIENCE, Plane};

/// Clients that connect, ask and leave, one connection after the other, until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU32>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn on(address: SocketAddr) -> Self {
        let (stop, served) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU32::new(0)),
        );
        let clients = (0..4).map(|_| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            std::thread::spawn(move || {
                let mut failures = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    match ask(address) {
                        Ok(answer) if answer.starts_with("HTTP/1.1 200") => {
                            served.fetch_add(1, Ordering::SeqCst);
                        }
                        Ok(answer) => failures.push(answer),
                        Err(error) => failures.push(error.to_string()),
                    }
                }
                failures
            })
        });
        let clients = clients.collect();
        Self {
            stop,
            served,
            clients,
        }
    }

    /// Waits until so many more were served.
    fn more(&self, count: u32) {
        let until = self.served.load(Ordering::SeqCst) + count;
        let deadline = std::time::Instant::now() + PATIENCE;
        while self.served.load(Ordering::SeqCst) < until {
            assert!(std::time::Instant::now() < deadline, "nobody is served");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        let ends = self
            .clients
            .into_iter()
            .map(|client| client.join().unwrap());
        ends.flatten().collect()
    }
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A listener `name` on `address`, that answers `body`, and others before it.
fn yaml(name: &str, address: &str, body: &str, others: &str) -> String {
    format!(
        "listeners:\n{others}  - name: {name}\n    address: {address}\n    network_filters: [{{name: http, config: {{virtual_hosts: [{{domains: [\"*\"], routes: [{{match: {{prefix: /}}, direct_response: {{status: 200, body: {body}}}}}]}}]}}}}]\n"
    )
}

/// A listener changes, gets another name, and others come and go, with several workers.
#[test]
fn no_connection_is_reset_by_a_reload() {
    let plane = Plane::start(4, &yaml("in", "127.0.0.1:0", "first", ""));
    let address = plane.address("in");
    let here = address.to_string();
    let load = Load::on(address);
    load.more(20);
    for round in 0..10 {
        let other = yaml("other", "127.0.0.1:0", "other", "").replace("listeners:\n", "");
        // Its chain changes.
        plane
            .apply(&yaml("in", &here, &format!("a{round}"), ""))
            .unwrap();
        load.more(20);
        // Another listener beside it, and then not.
        plane.apply(&yaml("in", &here, "b", &other)).unwrap();
        load.more(20);
        // Another name on the same sockets.
        plane.apply(&yaml("renamed", &here, "c", "")).unwrap();
        load.more(20);
        plane.apply(&yaml("in", &here, "d", "")).unwrap();
        load.more(20);
    }
    assert_eq!(load.end(), Vec::<String>::new());
}

/// When a listener goes, what it serves goes on; only then is the port free.
#[test]
fn a_listener_that_goes_serves_what_it_has() {
    let other = yaml("other", "127.0.0.1:0", "other", "");
    let slow = "  - name: in\n    address: 127.0.0.1:0\n    network_filters: [{name: echo}]\n";
    let plane = Plane::start(
        2,
        &other.replace("listeners:\n", &format!("listeners:\n{slow}")),
    );
    let address = plane.address("in");
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection.write_all(b"before").unwrap();
    let mut bytes = [0; 6];
    connection.read_exact(&mut bytes).unwrap();
    plane.apply(&other).unwrap();
    connection.write_all(b"behind").unwrap();
    connection.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"behind");
    transom_e2e::eventually("the port to be free", || {
        TcpStream::connect(address).is_err().then_some(())
    });
    std::net::TcpListener::bind(address).unwrap();
}
