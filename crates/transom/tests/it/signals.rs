//! SIGTERM drains, SIGHUP reloads.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use transom_e2e::upstream::ok;
use transom_e2e::{Client, Upstream, eventually};

use crate::program::{Folder, Program, configuration};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// An upstream that answers when it is told to.
fn patient() -> (Upstream, mpsc::Sender<()>) {
    let (go, gone) = mpsc::channel();
    let gone = Mutex::new(gone);
    let upstream = Upstream::answering(move |_| {
        let word = gone.lock().unwrap().recv();
        word.map(|()| ok("at last")).unwrap_or_default()
    });
    (upstream, go)
}

#[test]
fn sigterm_lets_the_request_under_way_finish() {
    for signal in ["TERM", "INT"] {
        let (upstream, go) = patient();
        let mut program = Program::start(&configuration(upstream.address(), ""));
        let mut client = Client::connect(program.address);
        client.send(GET);
        upstream.wait_for_requests(1);
        program.signal(signal);
        eventually("a closed port", || {
            TcpStream::connect(program.address).err()
        });
        assert!(program.is_running());
        go.send(()).unwrap();
        let answer = client.answer();
        assert_eq!(
            (answer.text(), answer.header("connection")),
            ("at last".to_owned(), Some("close"))
        );
        assert_eq!(program.end().code(), Some(0));
    }
}

#[test]
fn a_drain_ends_at_its_limit() {
    let (upstream, _go) = patient();
    let mut program = Program::start(&configuration(upstream.address(), "drain_timeout: 50ms"));
    let mut client = Client::connect(program.address);
    client.send(GET);
    upstream.wait_for_requests(1);
    program.signal("TERM");
    assert_eq!(program.end().code(), Some(0));
    assert!(client.is_closed());
}

#[test]
fn a_second_signal_ends_at_once() {
    let (upstream, _go) = patient();
    let mut program = Program::start(&configuration(upstream.address(), "drain_timeout: 1h"));
    let mut client = Client::connect(program.address);
    client.send(GET);
    upstream.wait_for_requests(1);
    program.signal("TERM");
    eventually("a closed port", || {
        TcpStream::connect(program.address).err()
    });
    program.signal("TERM");
    assert_eq!(program.end().code(), Some(0));
}

#[test]
fn sighup_under_load_fails_no_request() {
    let upstreams = [Upstream::ok("even"), Upstream::ok("odd")];
    let of = |round: usize| configuration(upstreams[round % 2].address(), "");
    let mut program = Program::start(&of(0));
    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let address = program.address;
    let load: Vec<_> = (0..4)
        .map(|number| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                while !stop.load(Ordering::SeqCst) {
                    // Half of the clients come anew each time.
                    if number % 2 == 0 {
                        client = Client::connect(address);
                    }
                    assert_eq!(client.get("/").status(), 200);
                    served.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for round in 1..=6 {
        let before = served.load(Ordering::SeqCst);
        eventually("load", || {
            (served.load(Ordering::SeqCst) > before + 20).then_some(())
        });
        program.reload(&of(round));
        let expected = ["even", "odd"][round % 2];
        eventually("the new configuration", || {
            (Client::connect(address).get("/").text() == expected).then_some(())
        });
    }
    stop.store(true, Ordering::SeqCst);
    for thread in load {
        thread.join().unwrap();
    }
    program.signal("TERM");
    assert_eq!(program.end().code(), Some(0));
}

#[test]
fn sighup_with_a_bad_file_leaves_what_is_active() {
    let upstream = Upstream::ok("up");
    let other = Upstream::ok("other");
    let mut program = Program::start(&configuration(upstream.address(), ""));
    let mut client = Client::connect(program.address);
    assert_eq!(client.get("/").text(), "up");
    program.reload(&configuration(other.address(), ""));
    eventually("the new configuration", || {
        (client.get("/").text() == "other").then_some(())
    });
    program.reload("listeners: [{name: in}]");
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "other");
    }
    assert!(program.is_running());
    program.signal("TERM");
    assert_eq!(program.end().code(), Some(0));
}

#[test]
fn sigusr1_opens_access_logs_again_and_the_end_writes_the_rest() {
    let upstream = Upstream::ok("ok");
    let folder = Folder::new();
    let path = folder.write("access.log", "");
    let configuration = configuration(upstream.address(), "").replace(
        "          virtual_hosts:",
        &format!(
            "          access_logs: [{{name: file, config: {{path: {}, format: '%PATH%', flush_interval: 10ms}}}}]\n          virtual_hosts:",
            path.display()
        ),
    );
    let mut program = Program::start(&configuration);
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
    Client::connect(program.address).get("/first");
    eventually("the first line", || {
        (read(&path) == "/first\n").then_some(())
    });
    let old = path.with_extension("old");
    std::fs::rename(&path, &old).unwrap();
    program.signal("USR1");
    eventually("the new file", || path.exists().then_some(()));
    Client::connect(program.address).get("/second");
    // Nobody waited for it: the end writes it.
    program.signal("TERM");
    assert_eq!(program.end().code(), Some(0));
    assert_eq!(
        (read(&old), read(&path)),
        ("/first\n".to_owned(), "/second\n".to_owned())
    );
}
