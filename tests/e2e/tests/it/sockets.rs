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

/// The sockets of the kernel that listen on a port of this machine, by their inodes (proc(5)).
fn listening(port: u16) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let lines = table.lines().skip(1);
    let mut inodes: Vec<String> = lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields[3] == "0A" && fields[1].ends_with(&format!(":{port:04X}")))
        .map(|fields| fields[9].to_owned())
        .collect();
    inodes.sort();
    inodes
}

/// A socket for each worker, the same ones whatever becomes of the chain and the name, and none when the listener has gone.
#[test]
fn a_listener_keeps_a_socket_for_each_worker_as_long_as_it_is_there() {
    let plane = Plane::start(4, &yaml("in", "127.0.0.1:0", "first", ""));
    let address = plane.address("in");
    let before = listening(address.port());
    assert_eq!(before.len(), 4);
    let here = address.to_string();
    for (name, body) in [("in", "second"), ("renamed", "second"), ("in", "third")] {
        plane.apply(&yaml(name, &here, body, "")).unwrap();
        assert_eq!(listening(address.port()), before, "{name} {body}");
    }
    // What is refused changes nothing, and what it bound is let go.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let other = yaml("other", &taken, "other", "").replace("listeners:\n", "");
    plane
        .apply(&yaml("in", &here, "fourth", &other))
        .unwrap_err();
    assert_eq!(listening(address.port()), before);
    plane.apply("listeners: []").unwrap();
    transom_e2e::eventually("no socket is left", || {
        listening(address.port()).is_empty().then_some(())
    });
}

/// Whoever wants to share the port of another process's socket is refused, even if that one would share it.
#[test]
fn a_stranger_on_the_port_is_an_error() {
    let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let stranger =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    stranger.set_reuse_address(true).unwrap();
    stranger.set_reuse_port(true).unwrap();
    stranger.bind(&address.into()).unwrap();
    stranger.listen(1).unwrap();
    let taken = stranger
        .local_addr()
        .unwrap()
        .as_socket()
        .unwrap()
        .to_string();
    let plane = Plane::start(2, "listeners: []");
    let error = plane.apply_error(&yaml("in", &taken, "x", ""));
    assert!(error.message.contains("cannot listen on"), "{error}");
    assert!(error.help.unwrap().contains("another process"));
}
