//! Unix sockets: listeners on them, and hosts behind them.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use transom_e2e::{PATIENCE, Plane, eventually};

/// A folder of a test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("transom-unix-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A listener that answers `body`.
fn answering(name: &str, path: &Path, body: &str, more: &str) -> String {
    format!(
        "  - name: {name}\n    address: unix:{}\n    {more}\n    network_filters: [{{name: http, config: {{virtual_hosts: [{{domains: [\"*\"], routes: [{{match: {{prefix: /}}, direct_response: {{status: 200, body: {body}}}}}]}}]}}}}]\n",
        path.display()
    )
}

fn listeners(all: &[String]) -> String {
    format!("listeners:\n{}", all.concat())
}

fn ask(path: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_unix_listener_serves_and_its_file_goes_with_it() {
    let folder = Folder::new("serves");
    let path = folder.path("in.sock");
    let first = listeners(&[answering("in", &path, "one", "max_connections: 9")]);
    let plane = Plane::start(3, &first);
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    for _ in 0..6 {
        assert!(ask(&path).unwrap().ends_with("one"));
    }
    // The same socket with another mode and another chain.
    let second = answering("in", &path, "two", "unix_socket: {mode: \"0666\"}");
    plane.apply(&listeners(&[second])).unwrap();
    assert_eq!(mode(), 0o666);
    assert!(ask(&path).unwrap().ends_with("two"));
    plane.apply("listeners: []").unwrap();
    assert!(!path.exists());
    assert_eq!(
        plane.metric("transom_connections_total", &[("listener", "in")]),
        7
    );
    eventually("no connection is open", || {
        (plane.metric("transom_connections_active", &[]) == 0).then_some(())
    });
}

#[test]
fn a_drain_removes_the_file_and_serves_what_is_queued() {
    let folder = Folder::new("drain");
    let path = folder.path("in.sock");
    let plane = Plane::start(2, &listeners(&[answering("in", &path, "one", "")]));
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    assert!(plane.wait(plane.proxy.drain(PATIENCE)));
    assert!(!path.exists());
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_dead_process_s_socket_is_replaced_and_a_living_one_s_is_not() {
    let folder = Folder::new("stale");
    let (path, living) = (folder.path("stale.sock"), folder.path("living.sock"));
    drop(UnixListener::bind(&path).unwrap());
    let owner = UnixListener::bind(&living).unwrap();
    let good = answering("in", &path, "one", "");
    let plane = Plane::start(1, &listeners(std::slice::from_ref(&good)));
    assert!(ask(&path).unwrap().ends_with("one"));
    let error = plane.apply_error(&listeners(&[good, answering("other", &living, "x", "")]));
    assert!(error.message.contains("cannot listen on"), "{error}");
    let help = error.help.unwrap();
    assert!(
        help.contains("a living process listens on this socket"),
        "{help}"
    );
    // Nothing changed, and the other's socket is there.
    assert!(ask(&path).unwrap().ends_with("one"));
    drop(UnixStream::connect(&living).unwrap());
    drop(owner);
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let folder = Folder::new("file");
    let path = folder.path("precious");
    std::fs::write(&path, "precious").unwrap();
    let plane = Plane::start(1, "listeners: []");
    let error = plane.apply_error(&listeners(&[answering("in", &path, "x", "")]));
    assert!(
        error.message.contains("a file that is no socket"),
        "{error}"
    );
    let nobody = "unix_socket: {user: \"nobody of this name\"}";
    let error = plane.apply_error(&listeners(&[answering(
        "in",
        &folder.path("a"),
        "x",
        nobody,
    )]));
    assert!(
        error.message.contains("no user `nobody of this name`"),
        "{error}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

/// It changes, gets another name, and others come and go beside it.
#[test]
fn no_connection_is_lost_by_a_reload() {
    let folder = Folder::new("reload");
    let (path, beside) = (folder.path("in.sock"), folder.path("beside.sock"));
    let plane = Plane::start(3, &listeners(&[answering("in", &path, "first", "")]));
    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicU32::new(0));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, served, path) = (Arc::clone(&stop), Arc::clone(&served), path.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let answer = ask(&path).unwrap();
                    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
                    served.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let more = || {
        let until = served.load(Ordering::SeqCst) + 20;
        eventually("twenty more", || {
            (served.load(Ordering::SeqCst) >= until).then_some(())
        });
    };
    more();
    for round in 0..10 {
        let body = format!("a{round}");
        plane
            .apply(&listeners(&[answering("in", &path, &body, "")]))
            .unwrap();
        more();
        let both = [
            answering("in", &path, "b", ""),
            answering("beside", &beside, "c", ""),
        ];
        plane.apply(&listeners(&both)).unwrap();
        assert!(ask(&beside).unwrap().ends_with('c'));
        plane
            .apply(&listeners(&[answering("renamed", &path, "d", "")]))
            .unwrap();
        assert!(!beside.exists());
        more();
        plane
            .apply(&listeners(&[answering("in", &path, "e", "")]))
            .unwrap();
    }
    more();
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().unwrap();
    }
}

#[test]
fn a_name_without_a_file_is_listened_on_and_reached() {
    let name = format!("@transom-e2e-{}", std::process::id());
    let yaml = format!(
        "listeners:\n{}  - {{name: tcp, address: \"127.0.0.1:0\", network_filters: [{{name: tcp_proxy, config: {{cluster: up}}}}]}}\nclusters: [{{name: up, endpoints: [\"unix:{name}\"]}}]\n",
        answering("in", Path::new(&name), "abstract", "")
    );
    let plane = Plane::start(2, &yaml);
    assert!(!Path::new(&name).exists());
    let mut client = transom_e2e::Client::connect(plane.address("tcp"));
    assert_eq!(client.get("/").text(), "abstract");
}

/// Answers each connection's first request with `body`, and counts the connections that asked for something.
fn host(path: &Path, body: &'static str) -> Arc<AtomicU32> {
    let listener = UnixListener::bind(path).unwrap();
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    // Ends with the process: it waits for who connects.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut bytes = [0; 1024];
            if stream.read(&mut bytes).unwrap_or(0) == 0 {
                continue;
            }
            count.fetch_add(1, Ordering::SeqCst);
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    asked
}

#[test]
fn hosts_behind_unix_sockets_serve_http_and_bytes_and_are_checked() {
    let folder = Folder::new("hosts");
    let (good, gone) = (folder.path("good.sock"), folder.path("gone.sock"));
    let asked = host(&good, "from the socket");
    let hosts = format!(
        "endpoints: [\"unix:{}\", \"unix:{}\"]",
        good.display(),
        gone.display()
    );
    let yaml = format!(
        "listeners:
  - {{name: http, address: \"127.0.0.1:0\", network_filters: [{{name: http, config: {{virtual_hosts: [{{domains: [\"*\"], routes: [{{match: {{prefix: /}}, cluster: up}}]}}]}}}}]}}
  - {{name: tcp, address: \"127.0.0.1:0\", network_filters: [{{name: tcp_proxy, config: {{cluster: up}}}}]}}
clusters:
  - {{name: up, panic_threshold: 0, {hosts}, health_check: {{interval: 20ms, http: {{path: /health}}}}}}
"
    );
    let plane = Plane::start(1, &yaml);
    eventually("the one that is gone is found out", || {
        let clusters = plane.proxy.clusters();
        let healthy = clusters[0].hosts.iter().filter(|host| host.healthy).count();
        (healthy == 1 && asked.load(Ordering::SeqCst) > 0).then_some(())
    });
    for listener in ["http", "tcp"] {
        for _ in 0..4 {
            let mut client = transom_e2e::Client::connect(plane.address(listener));
            assert_eq!(client.get("/").text(), "from the socket", "{listener}");
        }
    }
}
