//! Plugins that the program keeps running, by its admin API.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use transom_e2e::eventually;

use crate::program::{Folder, Program};

/// The answer to one request, head and all.
pub(crate) fn ask(socket: &Path, method: &str, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The number behind a key of the JSON.
pub(crate) fn number(json: &str, key: &str) -> Option<u32> {
    let (_, rest) = json.split_once(&format!("\"{key}\": "))?;
    rest.split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

#[test]
fn a_program_is_kept_running_in_a_sandbox_and_ordered_by_admin() {
    let folder = Folder::new();
    let file = folder.write("socket", "");
    let socket = file.with_file_name("admin.sock");
    let program = Program::start(&format!(
        r#"
admin: {{address: "unix:{}"}}
plugins:
  sleeper: {{runtime: process, protocol: none, command: [sh, -c, "echo awake; exec sleep 1000"], sandbox: strict}}
listeners:
  - {{name: l, address: "127.0.0.1:0", network_filters: [{{name: echo}}]}}
"#,
        socket.display()
    ));
    let described = || ask(&socket, "GET", "/api/v1/plugins/sleeper");
    eventually("the program has spoken", || {
        described().contains("\"awake\"").then_some(())
    });
    let json = described();
    assert!(json.contains("\"state\": \"ready\""), "{json}");
    // The program's own executable was the launcher, and has become the plugin.
    assert!(
        json.contains("\"seccomp\": true") && json.contains("\"full\": true"),
        "{json}"
    );
    let first = number(&json, "pid").unwrap();
    let line = std::fs::read_to_string(format!("/proc/{first}/cmdline")).unwrap();
    assert_eq!(line, "sleep\u{0}1000\u{0}");
    // It dies, and another one is there.
    let pid = rustix::process::Pid::from_raw(first.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    eventually("another one runs", || {
        number(&described(), "pid").filter(|pid| *pid != first)
    });
    // GET changes nothing.
    let answer = ask(&socket, "GET", "/plugin?disable=sleeper");
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    let answer = ask(&socket, "POST", "/plugin?disable=sleeper");
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\ndisable sleeper success\n"),
        "{answer}"
    );
    let answer = ask(&socket, "GET", "/plugin?status=sleeper");
    assert!(
        answer.ends_with("name:sleeper,enable:false,on:false\n"),
        "{answer}"
    );
    let answer = ask(&socket, "POST", "/api/v1/plugins/sleeper/enable");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let metrics = ask(&socket, "GET", "/metrics");
    assert!(
        metrics.contains("transom_plugin_instances{plugin=\"sleeper\"} 1"),
        "{metrics}"
    );
    // It ends with the program.
    let last = number(&described(), "pid").unwrap();
    drop(program);
    let exe = format!("/proc/{last}/exe");
    eventually("it ends", || {
        std::fs::read_link(&exe).is_err().then_some(())
    });
}
