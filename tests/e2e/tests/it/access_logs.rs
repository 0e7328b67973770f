//! The built-in access logs: what is in a line, and that none is lost, forged or waited for.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use transom_e2e::{Client, Plane, Setup, Upstream, eventually};

/// A temporary folder that goes with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("transom-logs-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The lines of a file, once there are so many.
fn wait_for_lines(path: &Path, count: usize) -> Vec<String> {
    eventually("lines of the log", || {
        Some(lines(path)).filter(|lines| lines.len() >= count)
    })
}

fn file_log(path: &Path, options: &str) -> String {
    let path = path.display();
    format!("{{name: file, config: {{path: {path}, flush_interval: 10ms, {options}}}}}")
}

fn dropped(plane: &Plane) -> i64 {
    plane.metric("transom_access_log_dropped_total", &[])
}

#[test]
fn a_line_tells_of_request_response_and_route() {
    let folder = Folder::new();
    let path = folder.file("access.log");
    let upstream = Upstream::ok("hello");
    let format = "%METHOD% %PATH% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% \
        %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_HOST% %UPSTREAM_CLUSTER% %UPSTREAM_REQUEST_ATTEMPT_COUNT% \
        %ROUTE_NAME% %LISTENER_NAME% %DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %REQ(X-A?USER-AGENT):3%";
    let plane = Setup::to(&upstream)
        .route("{name: posts, match: {prefix: /posts}, cluster: up}")
        .access_log(&file_log(&path, &format!("format: \"{format}\"")))
        .start();
    let mut client = plane.client();
    let local = client.socket().local_addr().unwrap();
    client.send(
        "POST /posts?x=1 HTTP/1.1\r\nHost: a\r\nUser-Agent: probe\r\nContent-Length: 4\r\n\r\nbody",
    );
    assert_eq!(client.answer().status(), 200);
    let line = wait_for_lines(&path, 1).remove(0);
    assert_eq!(
        line,
        format!(
            "POST /posts?x=1 HTTP/1.1 200 - via_upstream 4 5 {} up 1 posts in {local} {} pro",
            upstream.address(),
            plane.address("in"),
        )
    );
    assert_eq!(
        plane.metric("transom_access_log_lines_total", &[("log", "file")]),
        1
    );
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777 & !0o640, 0, "{mode:o}");
}

#[test]
fn durations_follow_each_other() {
    let folder = Folder::new();
    let path = folder.file("access.log");
    let upstream = Upstream::answering(|_| {
        std::thread::sleep(Duration::from_millis(30));
        transom_e2e::upstream::ok("late")
    });
    let format = "%REQUEST_DURATION% %REQUEST_TX_DURATION% %RESPONSE_DURATION% %DURATION% %COMMON_DURATION(US_TX_END:US_RX_BEG:ms)%";
    let plane = Setup::to(&upstream)
        .access_log(&file_log(&path, &format!("format: \"{format}\"")))
        .start();
    assert_eq!(plane.get("/").status(), 200);
    let line = wait_for_lines(&path, 1).remove(0);
    let numbers: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
    let [received, sent, answered, all, waited] = numbers[..] else {
        panic!("{line}");
    };
    assert!(
        received <= sent && sent <= answered && answered <= all,
        "{line}"
    );
    assert!(answered >= 29 && waited >= 28, "{line}");
}

#[test]
fn what_a_client_sends_stays_in_its_line() {
    let folder = Folder::new();
    let (text, json) = (folder.file("text.log"), folder.file("json.log"));
    let upstream = Upstream::ok("ok");
    let plane = Setup::to(&upstream)
        .route("{match: {prefix: /}, direct_response: {status: 200}}")
        .access_log(&file_log(&text, "format: '\"%REQ(USER-AGENT)%\"'"))
        .access_log(&format!(
            "{{name: file, id: second, config: {{path: {}, flush_interval: 10ms, json: {{ua: '%REQ(USER-AGENT)%', code: '%RESPONSE_CODE%'}}}}}}",
            json.display()
        ))
        .start();
    let mut client = plane.client();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: \x80\" 200 \"\\\t\xff\r\n\r\n");
    assert_eq!(client.answer().status(), 200);
    let line = wait_for_lines(&text, 1).remove(0);
    assert_eq!(line, "\"\\x80\\x22 200 \\x22\\x5C\\x09\\xFF\"");
    let line = wait_for_lines(&json, 1).remove(0);
    assert_eq!(
        line,
        "{\"ua\":\"\u{fffd}\\\" 200 \\\"\\\\\\t\u{fffd}\",\"code\":200}"
    );
}

#[test]
fn files_that_are_moved_away_under_load_lose_no_line() {
    let folder = Folder::new();
    let path = folder.file("access.log");
    let upstream = Upstream::ok("ok");
    let plane = Setup::to(&upstream)
        .workers(2)
        .access_log(&file_log(&path, "format: '%PATH%'"))
        .start();
    let address = plane.address("in");
    let going = AtomicBool::new(true);
    let (sent, moved) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let going = &going;
                scope.spawn(move || {
                    let mut connection = Client::connect(address);
                    let mut count = 0;
                    while going.load(Ordering::Relaxed) {
                        let answer = connection.get(&format!("/{client}/{count}"));
                        assert_eq!(answer.status(), 200);
                        count += 1;
                    }
                    (client, count)
                })
            })
            .collect();
        let mut moved = Vec::new();
        for turn in 0..5 {
            wait_for_lines(&path, 20);
            let old = folder.file(&format!("access.log.{turn}"));
            fs::rename(&path, &old).unwrap();
            moved.push(old);
            plane.logs.reopen();
            eventually("the new file", || path.exists().then_some(()));
        }
        going.store(false, Ordering::Relaxed);
        let sent: Vec<(usize, usize)> = clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect();
        (sent, moved)
    });
    let total: usize = sent.iter().map(|(_, count)| count).sum();
    let all = || {
        let files = moved.iter().chain([&path]);
        files.flat_map(|path| lines(path)).collect::<Vec<_>>()
    };
    let mut all = eventually("all lines", || Some(all()).filter(|all| all.len() >= total));
    all.sort();
    let mut expected: Vec<String> = sent
        .iter()
        .flat_map(|(client, count)| (0..*count).map(move |request| format!("/{client}/{request}")))
        .collect();
    expected.sort();
    assert_eq!(all, expected);
    assert_eq!(dropped(&plane), 0);
}

#[test]
fn the_end_of_the_process_writes_what_is_left() {
    let folder = Folder::new();
    let path = folder.file("access.log");
    let upstream = Upstream::ok("ok");
    let plane = Setup::to(&upstream)
        .access_log(&format!(
            "{{name: file, config: {{path: {}, flush_interval: 1m, format: 'x'}}}}",
            path.display()
        ))
        .start();
    for _ in 0..3 {
        assert_eq!(plane.get("/").status(), 200);
    }
    assert_eq!(lines(&path), Vec::<String>::new());
    plane.proxy.stop();
    assert!(plane.logs.finish(Duration::from_secs(5)));
    assert_eq!(lines(&path), ["x", "x", "x"]);
}

#[test]
fn a_reload_keeps_the_lines_of_a_log_that_goes() {
    let folder = Folder::new();
    let path = folder.file("access.log");
    let upstream = Upstream::ok("ok");
    let setup = Setup::to(&upstream);
    let logged = |format: &str| {
        setup.clone().access_log(&format!(
            "{{name: file, config: {{path: {}, flush_interval: 1m, format: '{format}'}}}}",
            path.display()
        ))
    };
    let plane = logged("first").start();
    assert_eq!(plane.get("/").status(), 200);
    plane.apply(&logged("second").yaml()).unwrap();
    assert_eq!(plane.get("/").status(), 200);
    assert_eq!(wait_for_lines(&path, 1), ["first"]);
    plane.apply(&setup.yaml()).unwrap();
    assert_eq!(plane.get("/").status(), 200);
    assert_eq!(wait_for_lines(&path, 2), ["first", "second"]);
}

#[test]
fn conditions_choose_what_is_logged() {
    let folder = Folder::new();
    let path = folder.file("access.log");
    let upstream = Upstream::ok("ok");
    let plane = Setup::to(&upstream)
        .route("{match: {prefix: /teapot}, direct_response: {status: 418}}")
        .filter("{name: fault, config: {abort: {status: 503}, headers: {x-fault: \"yes\"}}}")
        .access_log(&file_log(
            &path,
            "format: '%RESPONSE_CODE% %RESPONSE_FLAGS%', when: [{status: [418]}, {response_flags: [FI]}]",
        ))
        .start();
    assert_eq!(plane.get("/").status(), 200);
    assert_eq!(plane.get("/teapot").status(), 418);
    let mut client = plane.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nx-fault: yes\r\n\r\n");
    assert_eq!(client.answer().status(), 503);
    assert_eq!(plane.get("/").status(), 200);
    assert_eq!(wait_for_lines(&path, 2), ["418 -", "503 FI"]);
}

#[test]
fn syslog_gets_a_message_for_each_line_and_one_that_stands_still_holds_nobody_up() {
    let folder = Folder::new();
    let path = folder.file("syslog");
    let syslog = UnixDatagram::bind(&path).unwrap();
    let upstream = Upstream::ok("ok");
    let padding = "x".repeat(1_000);
    let plane = Setup::to(&upstream)
        .access_log(&format!(
            "{{name: syslog, config: {{address: 'unix:{}', facility: daemon, severity: notice, app_name: web, \
             format: '%PATH% {padding}', buffer_size: 16KiB, flush_interval: 1ms}}}}",
            path.display()
        ))
        .start();
    let mut client = plane.client();
    // Nobody reads: the socket takes a few, then the sink waits, and lines are dropped and not waited for.
    let mut sent = 0;
    while dropped(&plane) == 0 {
        assert_eq!(client.get(&format!("/{sent}")).status(), 200);
        sent += 1;
        assert!(sent < 10_000);
    }
    syslog
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let mut buffer = [0; 4096];
    let mut messages = Vec::new();
    while let Ok(count) = syslog.recv(&mut buffer) {
        messages.push(String::from_utf8(buffer[..count].to_vec()).unwrap());
    }
    assert_eq!(messages.len() as i64 + dropped(&plane), sent);
    // Facility 3 (daemon) and severity 5 (notice): 29.
    let words: Vec<&str> = messages[0].split(' ').collect();
    assert_eq!(
        (words[0], words[3], words[5], words[6]),
        ("<29>1", "web", "-", "-")
    );
    assert!(words[1].ends_with('Z') && words[1].len() == "2026-01-01T00:00:00.000000Z".len());
    assert_eq!(words[4], std::process::id().to_string());
    assert_eq!((words[7], words[8]), ("/0", padding.as_str()));
}

#[test]
fn a_connection_of_tcp_proxy_is_logged_when_it_ends() {
    let folder = Folder::new();
    let path = folder.file("tcp.log");
    let upstream = Upstream::serving(|mut connection| {
        let mut bytes = [0; 4];
        connection.client.reader().read_exact(&mut bytes).unwrap();
        connection.send("answer");
    });
    let gone = {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        closed.local_addr().unwrap()
    };
    let format = "%ACCESS_LOG_TYPE% %BYTES_RECEIVED% %BYTES_SENT% %RESPONSE_FLAGS% %UPSTREAM_CLUSTER% %UPSTREAM_HOST% %PROTOCOL% %DOWNSTREAM_REMOTE_ADDRESS%";
    let listener = |name: &str, cluster: &str| {
        format!(
            "  - name: {name}\n    address: 127.0.0.1:0\n    access_logs: [{}]\n    network_filters: [{{name: tcp_proxy, config: {{cluster: {cluster}}}}}]\n",
            file_log(&path, &format!("format: '{format}'"))
        )
    };
    let plane = Plane::start(
        1,
        &format!(
            "listeners:\n{}{}clusters:\n  - {{name: up, endpoints: [\"{}\"]}}\n  - {{name: gone, endpoints: [\"{gone}\"]}}\n",
            listener("in", "up"),
            listener("nowhere", "gone"),
            upstream.address()
        ),
    );
    let mut client = plane.client();
    let local = client.socket().local_addr().unwrap();
    client.send("ping");
    assert_eq!(client.rest(), b"answer");
    drop(client);
    let line = wait_for_lines(&path, 1).remove(0);
    let up = upstream.address();
    assert_eq!(line, format!("TcpConnectionEnd 4 6 - up {up} - {local}"));
    let mut socket = TcpStream::connect(plane.address("nowhere")).unwrap();
    let local = socket.local_addr().unwrap();
    let _ = socket.write_all(b"x");
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest);
    let line = wait_for_lines(&path, 2).remove(1);
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(
        words[3..],
        ["UF", "gone", &gone.to_string(), "-", &local.to_string()]
    );
}

#[test]
fn a_log_that_cannot_be_opened_leaves_the_old_configuration() {
    let folder = Folder::new();
    let upstream = Upstream::ok("ok");
    let setup = Setup::to(&upstream);
    let plane = setup.start();
    for (path, words) in [
        (
            folder.file("none/access.log"),
            "its folder does not exist: make it",
        ),
        (folder.file(""), "this is a folder: name a file in it"),
    ] {
        let yaml = setup.clone().access_log(&file_log(&path, "")).yaml();
        let error = plane.apply(&yaml).unwrap_err();
        assert!(error.contains("cannot be opened"), "{error}");
        assert_eq!(plane.apply_error(&yaml).help.as_deref(), Some(words));
    }
    assert_eq!(plane.get("/").status(), 200);
}
