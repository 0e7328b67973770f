//! Extensions in shared libraries, compiled here from C.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use transom_e2e::{Client, Upstream, eventually};

use crate::program::{Folder, Program, run};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Compiles a library; `flags` are the compiler's.
pub(crate) fn compile(folder: &Folder, source: &str, name: &str, flags: &[&str]) -> PathBuf {
    let library = folder.path().join(name);
    let mut cc = Command::new("cc");
    cc.args([
        "-std=gnu11",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-O1",
        "-shared",
        "-fPIC",
    ])
    .arg("-I")
    .arg(root().join("sdk/c"))
    .args(flags)
    .arg("-o")
    .arg(&library)
    .arg(root().join(source));
    let output = cc.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    library
}

const EVERYTHING: &str = "crates/transom/tests/libraries/everything.c";
const DEFECTS: &str = "crates/transom/tests/libraries/defects.c";
const AUTH: &str = "examples/library/auth.c";

/// A library before one host.
fn configuration(upstream: &Upstream, declared: &str, used: &str) -> String {
    // Of the two, only this one takes a configuration per route.
    let of_route = match declared.contains("everything") {
        true => ", filters: {p: {config: {of: route}}}",
        false => "",
    };
    format!(
        "workers: 2\nplugins:\n  p: {{runtime: library, {declared}}}\nlisteners:\n  - name: in\n    address: 127.0.0.1:0\n    network_filters:\n      - name: http\n        config:\n          stream_filters:\n            - {{plugin: p, {used}}}\n          virtual_hosts:\n            - domains: [\"*\"]\n              routes:\n                - {{match: {{prefix: /routed}}, cluster: up{of_route}}}\n                - {{match: {{prefix: /}}, cluster: up}}\nclusters:\n  - {{name: up, endpoints: [\"{}\"]}}\n",
        upstream.address()
    )
}

pub(crate) fn file(library: &Path) -> String {
    format!("file: {}", library.display())
}

/// What is said of a start with a library that is refused.
fn refused(folder: &Folder, declared: &str, used: &str) -> String {
    let upstream = Upstream::ok("up");
    run_to_error(folder, &configuration(&upstream, declared, used))
}

/// What a start with a configuration that is refused says, in one line.
pub(crate) fn run_to_error(folder: &Folder, configuration: &str) -> String {
    let file = folder.write("transom.yaml", configuration);
    let (code, _, said) = run(&["run", "-c"], Some(&file));
    assert_eq!(code, 2, "{said}");
    // As it was before it was broken into lines.
    said.replace('│', " ")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_filter_in_c_lets_pass_what_has_the_header() {
    let folder = Folder::new();
    let upstream = Upstream::ok("up");
    let library = compile(&folder, AUTH, "auth.so", &[]);
    let program = Program::start(&configuration(
        &upstream,
        &file(&library),
        "config: \"User: admin\"",
    ));
    let mut client = Client::connect(program.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nuser: nobody\r\nUSER: admin\r\n\r\n");
    assert_eq!(client.answer().text(), "up");
    let answer = client.get("/");
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (403, "a required header is missing\n")
    );
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_library_is_named_as_in_mosns_files() {
    let folder = Folder::new();
    let upstream = Upstream::ok("up");
    let library = compile(&folder, AUTH, "auth.so", &[]);
    let library = library.display();
    // A built-in filter has the name of the first; it is not asked for here.
    let uses = [
        format!(
            "{{name: header_match, go_plugin_config: {{so_path: {library}}}, config: \"User: admin\"}}"
        ),
        format!(
            "{{name: demo, go_plugin_config: {{so_path: {library}, factory_method: CreateFilterFactory}}, config: \"Team: blue\"}}"
        ),
    ];
    let program = Program::start(&format!(
        "listeners:\n  - name: in\n    address: 127.0.0.1:0\n    network_filters:\n      - name: http\n        config:\n          stream_filters: [{}]\n          virtual_hosts:\n            - domains: [\"*\"]\n              routes:\n                - {{match: {{prefix: /free}}, cluster: up, filters: {{demo: {{disabled: true}}}}}}\n                - {{match: {{prefix: /}}, cluster: up}}\nclusters:\n  - {{name: up, endpoints: [\"{}\"]}}\n",
        uses.join(", "),
        upstream.address()
    ));
    let mut client = Client::connect(program.address);
    for (head, status) in [
        (
            "GET / HTTP/1.1\r\nHost: a\r\nUser: admin\r\nTeam: blue\r\n\r\n",
            200,
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nUser: admin\r\n\r\n", 403),
        ("GET / HTTP/1.1\r\nHost: a\r\nTeam: blue\r\n\r\n", 403),
        ("GET /free HTTP/1.1\r\nHost: a\r\nUser: admin\r\n\r\n", 200),
    ] {
        client.send(head);
        assert_eq!(client.answer().status(), status, "{head}");
    }
}

#[test]
fn a_factory_that_the_library_does_not_have_is_refused_at_its_path() {
    let folder = Folder::new();
    let upstream = Upstream::ok("up");
    let library = compile(&folder, AUTH, "auth.so", &[]);
    let configuration = configuration(&upstream, "file: none", "")
        .replace("plugins:\n  p: {runtime: library, file: none}\n", "")
        .replace(
            "{plugin: p, }",
            &format!(
                "{{name: demo, go_plugin_config: {{so_path: {}, factory_method: CreateOther}}}}",
                library.display()
            ),
        );
    let file = folder.write("transom.yaml", &configuration);
    let (code, _, said) = run(&["run", "-c"], Some(&file));
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("has no stream filter `CreateOther`"),
        "{said}"
    );
}

/// What the library has told in a header of the request: `status=0`.
fn told(upstream: &Upstream, name: &str) -> String {
    upstream.last().header(name).unwrap_or("nothing").to_owned()
}

#[test]
fn every_function_of_the_host_does_what_its_name_says() {
    let folder = Folder::new();
    let upstream = Upstream::ok("up");
    let library = compile(&folder, EVERYTHING, "everything.so", &["-pthread"]);
    let program = Program::start(&configuration(&upstream, &file(&library), "config: {}"));
    let mut client = Client::connect(program.address);
    client.send("GET /plain HTTP/1.1\r\nHost: a\r\nX-Remove: 1\r\nx-remove: 2\r\n\r\n");
    let answer = client.answer();
    assert_eq!(
        (answer.text().as_str(), answer.header("x-lib")),
        ("[up]", Some("seen"))
    );
    for (name, what) in [
        ("x-old-handle", "status=2"),
        ("x-log", "enabled=1"),
        ("x-gauge", "is-multiple-of-3=1"),
        ("x-shared", "status=0"),
        ("x-shared-len", "len=6"),
        ("x-shared-changed", "status=7"),
        ("x-small", "status=4"),
        ("x-of-connection", "status=8"),
        ("x-connection-state", "status=0"),
        ("x-at", "status=0"),
        ("x-at-len", "len=7"),
        ("x-set", "set"),
        ("x-bad-name", "status=4"),
        ("x-reserved", "status=5"),
        ("x-removed", "count=2"),
        ("x-remove", "nothing"),
        ("x-attribute", "status=0"),
        ("x-attribute-kind", "kind=0"),
        ("x-no-attribute", "status=1"),
        ("x-metadata", "status=0"),
        ("x-metadata-len", "len=21"),
        ("x-bad-json", "status=4"),
        ("x-state", "status=0"),
        ("x-route", "none"),
        ("x-index", "status=8"),
        ("x-define", "status=8"),
        ("x-clear-route", "status=0"),
    ] {
        assert_eq!(told(&upstream, name), what, "{name}");
    }
    eventually("the part's timer", || {
        client.get("/plain");
        (told(&upstream, "x-part") == "status=0").then_some(())
    });
    // The second request finds the handle of the first, which is gone.
    client.get("/routed");
    assert_eq!(told(&upstream, "x-old-handle"), "status=2");
    assert_eq!(told(&upstream, "x-route"), "{\"of\":\"route\"}");
    for path in ["/skip", "/forgo"] {
        assert_eq!(client.get(path).status(), 200, "{path}");
    }
    // A timer, a callout that is not allowed, one that is dropped, one that is answered.
    assert_eq!(client.get("/pause").text(), "[up]");
    assert_eq!(told(&upstream, "x-not-allowed"), "status=5");
    assert_eq!(told(&upstream, "x-callout"), "right=1");
    assert_eq!(told(&upstream, "x-callout-body"), "len=2");
    // A thread of the library's own, whose use of a handle is refused, wakes the filter.
    assert_eq!(client.get("/thread").text(), "[up]");
    assert_eq!(told(&upstream, "x-token"), "token=4711");
    let answer = client.get("/reply");
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (418, "[short and stout]")
    );
    assert_eq!(client.get("/fail").status(), 503);
    assert!(
        client
            .send("GET /terminate HTTP/1.1\r\nHost: a\r\n\r\n")
            .is_closed()
    );
}

#[test]
fn a_library_with_a_defect_is_refused_with_its_reason() {
    let folder = Folder::new();
    for (defect, reason) in [
        (
            "WRONG_MAGIC",
            "describes itself with the magic 0x0000000000000007",
        ),
        ("WRONG_MAJOR", "was made for transom-abi 2.0"),
        ("NEEDS", "needs the features 0x20"),
        (
            "NO_ENTRY",
            "does not export the symbol `transom_library_entry`",
        ),
        ("NO_SYMBOL", "undefined symbol: nobody_has_this"),
        ("REFUSES_HOST", "refuses this host, transom-abi 1.0"),
        ("NO_TABLE", "an extension without a table of functions"),
        ("NO_FUNCTION", "without the function `release`"),
        ("CRASHES", "ends the process that loads it by the signal 11"),
        ("EXITS", "ends the process that loads it with the status 3"),
        ("UNKNOWN_WANTS", "asks for callbacks with the bits 0x100000"),
        (
            "REFUSES_CONFIG",
            "refuses this configuration: it does not say why",
        ),
    ] {
        let flag = format!("-D{defect}");
        let library = compile(&folder, DEFECTS, &format!("{defect}.so"), &[&flag]);
        let said = refused(&folder, &file(&library), "config: {}");
        assert!(said.contains(reason), "{defect}: {said}");
    }
}

#[test]
fn a_file_that_is_no_library_is_refused_with_its_reason() {
    let folder = Folder::new();
    let library = compile(&folder, AUTH, "auth.so", &[]);
    let bytes = fs::read(&library).unwrap();
    let write = |name: &str, bytes: &[u8], mode: u32| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let mut other = bytes.clone();
    other[18] = 243;
    for (path, more, reason) in [
        (
            folder.path().join("none.so"),
            "",
            "cannot be read: No such file",
        ),
        (folder.path().to_owned(), "", "is no regular file"),
        (
            write("text.so", b"#!/bin/sh\n", 0o644),
            "",
            "is no ELF file",
        ),
        (
            write("cut.so", &bytes[..bytes.len() / 2], 0o644),
            "",
            "is cut off",
        ),
        (write("other.so", &other, 0o644), "", "is for RISC"),
        (write("group.so", &bytes, 0o664), "", "has the mode 0664"),
        (
            library,
            ", sha256: \"0000000000000000000000000000000000000000000000000000000000000000\"",
            "not 0000000000000000000000000000000000000000000000000000000000000000 as declared",
        ),
    ] {
        let said = refused(
            &folder,
            &format!("{}{more}", file(&path)),
            "config: \"User: admin\"",
        );
        assert!(said.contains(reason), "{}: {said}", path.display());
    }
}

#[test]
fn what_a_library_finds_wrong_is_shown_at_its_line() {
    let folder = Folder::new();
    let library = compile(&folder, EVERYTHING, "everything.so", &["-pthread"]);
    let said = refused(&folder, &file(&library), "config: {value: bad}");
    assert!(said.contains("bad is not good"), "{said}");
    assert!(said.contains("transom.yaml:11:43"), "{said}");
}

#[test]
fn a_library_that_cannot_be_loaded_leaves_what_serves() {
    let folder = Folder::new();
    let upstream = Upstream::ok("up");
    let good = compile(&folder, AUTH, "auth.so", &[]);
    let bad = compile(&folder, DEFECTS, "crashes.so", &["-DCRASHES"]);
    let with = |library: &Path| configuration(&upstream, &file(library), "config: \"User: admin\"");
    let program = Program::start(&with(&good));
    program.reload(&with(&bad));
    let mut client = Client::connect(program.address);
    for _ in 0..50 {
        let answer = client
            .send("GET / HTTP/1.1\r\nHost: a\r\nUser: admin\r\n\r\n")
            .answer();
        assert_eq!(answer.text(), "up");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn a_swap_under_load_fails_no_request_and_changes_all() {
    let folder = Folder::new();
    let upstream = Upstream::ok("up");
    // The same source twice makes the same library: a version of its own tells them apart.
    let old = compile(&folder, AUTH, "old.so", &[]);
    let new = compile(&folder, EVERYTHING, "everything.so", &["-pthread"]);
    let of_old = configuration(&upstream, &file(&old), "config: \"User: admin\"");
    let of_new = configuration(&upstream, &file(&new), "config: {}");
    let program = Program::start(&of_old);
    let stop = Mutex::new(false);
    std::thread::scope(|scope| {
        let load = || {
            let mut client = Client::connect(program.address);
            let mut seen = (0, 0);
            while !*stop.lock().unwrap() {
                let answer = client
                    .send("GET / HTTP/1.1\r\nHost: a\r\nUser: admin\r\n\r\n")
                    .answer();
                match answer.text().as_str() {
                    "up" => seen.0 += 1,
                    "[up]" => seen.1 += 1,
                    other => panic!("{other}"),
                }
            }
            seen
        };
        let clients: Vec<_> = (0..2).map(|_| scope.spawn(load)).collect();
        let mut probe = Client::connect(program.address);
        for round in 0..10 {
            let (next, expected) = match round % 2 {
                0 => (&of_new, "[up]"),
                _ => (&of_old, "up"),
            };
            program.reload(next);
            eventually("the other library", || {
                let answer = probe
                    .send("GET / HTTP/1.1\r\nHost: a\r\nUser: admin\r\n\r\n")
                    .answer();
                (answer.text() == expected).then_some(())
            });
        }
        *stop.lock().unwrap() = true;
        for client in clients {
            let (old, new) = client.join().unwrap();
            assert!(old > 0 && new > 0, "{old} {new}");
        }
    });
}

#[test]
fn an_answer_that_is_no_verdict_is_a_failure_of_the_filter() {
    let folder = Folder::new();
    let upstream = Upstream::ok("up");
    let library = compile(&folder, DEFECTS, "nonsense.so", &[]);
    for (policy, status) in [("closed", 500), ("open", 200)] {
        let used = format!("config: {{}}, on_failure: {policy}");
        let program = Program::start(&configuration(&upstream, &file(&library), &used));
        assert_eq!(Client::connect(program.address).get("/").status(), status);
    }
}
