//! What libraries can be beside stream filters: network filters, listener filters, access logs, certificate providers.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::io::{BufRead as _, Read as _};
use std::path::Path;

use transom_e2e::tls::{Authority, Secure};
use transom_e2e::{Client, Upstream, eventually};

use crate::libraries::{compile, file, root, run_to_error};
use crate::program::{Folder, Program};

const KINDS: &str = "crates/transom/tests/libraries/kinds.c";
const DEFECTS: &str = "crates/transom/tests/libraries/kind_defects.c";
const EVERYTHING: &str = "crates/transom/tests/libraries/everything.c";

/// Says its name, then what comes.
fn named(name: &'static str) -> Upstream {
    Upstream::serving(move |mut connection| {
        connection.send(name);
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = connection.client.reader().read(&mut piece) {
            connection.send(&piece[..count]);
        }
    })
}

/// A program with the library `k` and a listener with these keys.
fn yaml(library: &Path, listener: &str, clusters: &[(&str, &Upstream)]) -> String {
    let clusters: Vec<String> = clusters
        .iter()
        .map(|(name, upstream)| {
            format!("{{name: {name}, endpoints: [\"{}\"]}}", upstream.address())
        })
        .collect();
    format!(
        "workers: 2\nplugins:\n  k: {{runtime: library, {}}}\nlisteners:\n  - name: in\n    address: 127.0.0.1:0\n    {listener}\nclusters: [{}]\n",
        file(library),
        clusters.join(", ")
    )
}

/// The key of a listener that serves HTTP.
fn http(more: &str) -> String {
    format!(
        "network_filters: [{{name: http, config: {{{more}virtual_hosts: [{{domains: [\"*\"], routes: [{{match: {{prefix: /}}, cluster: one}}]}}]}}}}]"
    )
}

fn lines(log: &Path, count: usize) -> Vec<String> {
    eventually("lines of the log", || {
        let text = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    })
}

#[test]
fn a_network_filter_sees_both_directions_and_decides() {
    let folder = Folder::new();
    let library = compile(&folder, KINDS, "kinds.so", &["-pthread"]);
    let (one, two, web) = (named("one"), named("two"), Upstream::ok("two"));
    let log = folder.path().join("log");
    let listener = format!(
        "network_filters: [{{plugin: k, config: {{posted: {}/posted}}}}, {{name: tcp_proxy, config: {{cluster: one, access_logs: [{{plugin: k, config: {{file: {}}}}}]}}}}]",
        folder.path().display(),
        log.display()
    );
    let clusters = [("one", &one), ("two", &two), ("web", &web)];
    let mut program = Program::start(&yaml(&library, &listener, &clusters));
    // Held until a callout, of two the one that was not dropped, has named the cluster.
    let mut client = Client::connect(program.address);
    assert_eq!(client.bytes(4), b"two>");
    assert_eq!(client.send("abc").bytes(4), b"<abc");
    // What `begin` was answered, in its order.
    assert_eq!(client.send("status").bytes(24), b"2 0 0 0 0 0 1 0 0 8 8 4 ");
    // A thread of the library's own lets go what waits.
    assert_eq!(client.send("thread").bytes(12), b"token;thread");
    client.send("close");
    assert_eq!(client.rest(), b"bye");
    // After "later" a thread goes on to post to what is gone.
    for order in ["later", "reset", "fail", "nonsense"] {
        let mut client = Client::connect(program.address);
        assert_eq!(client.bytes(4), b"two>", "{order}");
        assert!(client.send(order).is_closed(), "{order}");
    }
    eventually("posts of the thread", || {
        fs::read_to_string(folder.path().join("posted")).ok()
    });
    assert_eq!((one.connections(), two.connections()), (0, 5));
    // All is told before the program ends, however young it is.
    program.signal("TERM");
    assert!(program.end().success());
    let lines = lines(&log, 5);
    assert!(
        lines[0].contains("connection=1 status=0 path=- first=- protocol= listener=in cluster=two"),
        "{lines:?}"
    );
    for part in [
        "net=\"begun\"",
        "state=there",
        "part=event",
        "timed=1",
        "late=2",
    ] {
        assert!(lines[0].contains(part), "{part}: {lines:?}");
    }
}

#[test]
fn a_network_filter_that_fails_follows_its_policy() {
    let folder = Folder::new();
    let library = compile(&folder, KINDS, "kinds.so", &["-pthread"]);
    let (one, web) = (named("one"), Upstream::ok("one"));
    let listener = "network_filters: [{plugin: k, config: {}, on_failure: open}, {name: tcp_proxy, config: {cluster: one}}]";
    let clusters = [("one", &one), ("two", &one), ("web", &web)];
    let program = Program::start(&yaml(&library, listener, &clusters));
    for order in ["nonsense", "fail"] {
        let mut client = Client::connect(program.address);
        assert_eq!(client.bytes(4), b"one>");
        // It goes on without the filter.
        assert_eq!(client.send(order).bytes(order.len()), order.as_bytes());
        assert_eq!(client.send("abc").bytes(3), b"abc");
    }
}

#[test]
fn a_listener_filter_peeks_and_tells_what_it_found() {
    let folder = Folder::new();
    let library = compile(&folder, KINDS, "kinds.so", &["-pthread"]);
    let up = Upstream::ok("up");
    let log = folder.path().join("log");
    let listener = format!(
        "listener_filters: [{{plugin: k, config: {{}}}}]\n    {}",
        http(&format!(
            "access_logs: [{{plugin: k, config: {{file: {}}}}}], ",
            log.display()
        ))
    );
    let program = Program::start(&yaml(&library, &listener, &[("one", &up)]));
    let request = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(
        Client::connect(program.address)
            .send(request)
            .answer()
            .text(),
        "up"
    );
    // In two pieces; the word in front is read away.
    let mut client = Client::connect(program.address);
    client.send("FR");
    client.send(format!("OM {request}"));
    assert_eq!(client.answer().text(), "up");
    for order in ["CLOSE", "NONSE", "FAIL!"] {
        let mut client = Client::connect(program.address);
        assert!(client.send(order).is_closed(), "{order}");
    }
    let lines = lines(&log, 2);
    let first = "connection=0 status=200 path=/a first=:status protocol=HTTP/1.1 listener=in cluster=one from=127.0.0.1:";
    assert!(lines[0].contains(first), "{lines:?}");
    assert!(lines[1].contains("from=192.0.2.9:4711"), "{lines:?}");
    // Three addresses are known, the original one is the one connected to, there are no protocols yet and no field 99; then what
    // may be set, and what was.
    assert!(
        lines[0].contains("socket=\"00011454400400pn\""),
        "{lines:?}"
    );
    assert!(lines[0].contains("changed=888"), "{lines:?}");
}

#[test]
fn an_access_log_that_loses_its_lines_holds_nobody_up() {
    let folder = Folder::new();
    let library = compile(&folder, KINDS, "kinds.so", &["-pthread"]);
    let up = Upstream::ok("up");
    let admin = folder.path().join("admin.sock");
    let yaml = yaml(
        &library,
        &http("access_logs: [{plugin: k, config: {lose: all}}], "),
        &[("one", &up)],
    );
    let program = Program::start(&format!(
        "admin: {{address: \"unix:{}\"}}\n{yaml}",
        admin.display()
    ));
    let mut client = Client::connect(program.address);
    // A line comes out a second after its batch began; what was lost is counted at the next.
    eventually("lines that are counted as lost", || {
        assert_eq!(client.get("/").text(), "up");
        std::thread::sleep(std::time::Duration::from_millis(100));
        let metrics = crate::plugins::ask(&admin, "GET", "/metrics");
        let lost = metrics
            .lines()
            .find_map(|line| line.strip_prefix("transom_access_log_dropped_total{log=\"k\"} "))?;
        (lost.parse::<u64>().unwrap() > 0).then_some(())
    });
}

#[test]
fn a_certificate_provider_answers_from_its_threads() {
    let folder = Folder::new();
    let library = compile(&folder, KINDS, "kinds.so", &["-pthread"]);
    let (ca, up) = (Authority::new("ca"), Upstream::ok("up"));
    let pairs = ["all", "next", "more"].map(|name| {
        let names: &[&str] = match name {
            "more" => &["more.d.test"],
            _ => &["a.test"],
        };
        let pair = ca.sign(names);
        folder.write(&format!("{name}.pem"), &pair.certificate);
        folder.write(&format!("{name}.key"), &pair.key);
        pair
    });
    let [all, next, more] = pairs;
    let provider = format!(
        "{{plugin: k, config: {{folder: \"{}\"}}}}",
        folder.path().display()
    );
    let tls = format!(
        "tls: {{providers: [{provider}], on_demand: {{names: [\"*.d.test\"], timeout: 300ms}}}}\n    {}",
        http("")
    );
    let program = Program::start(&yaml(&library, &tls, &[("one", &up)]));
    let shown = |name: &str| -> io::Result<Vec<u8>> {
        Ok(Secure::new(&ca)
            .connect(program.address, name)?
            .certificate())
    };
    let mut client = Secure::new(&ca).connect(program.address, "a.test").unwrap();
    assert_eq!(client.certificate(), all.bytes());
    assert_eq!(client.get("/").text(), "up");
    assert_eq!(shown("more.d.test").unwrap(), more.bytes());
    // None, none for a reason, and none in time: the client is shown another, and does not take it.
    for name in ["none.d.test", "bad.d.test", "silent.d.test"] {
        assert!(shown(name).is_err(), "{name}");
    }
    // One question is open when its configuration goes: its answer comes too late, and does no harm.
    assert!(shown("gone.d.test").is_err());
    // What it says it has anew is fetched.
    assert!(shown("news.d.test").is_err());
    eventually("the new certificate", || {
        (shown("a.test").unwrap() == next.bytes()).then_some(())
    });
    program.reload(&yaml(&library, &http(""), &[("one", &up)]));
    eventually("a listener without TLS", || {
        // The old one answers with an alert, or ends.
        let mut client = Client::connect(program.address);
        client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").ok()?;
        let mut first = [0; 4];
        client.reader().read_exact(&mut first).ok()?;
        (first == *b"HTTP").then_some(())
    });
    // With it goes the question.
    eventually("its release", || {
        fs::read(folder.path().join("released")).ok()
    });
    folder.write("go", "");
    let went = eventually("the late answer", || {
        fs::read_to_string(folder.path().join("went"))
            .ok()
            .filter(|text| !text.is_empty())
    });
    // TRANSOM_GONE.
    assert_eq!(went, "2");
}

#[test]
fn a_certificate_provider_refuses_at_the_line_that_is_at_fault() {
    let folder = Folder::new();
    let library = compile(&folder, KINDS, "kinds.so", &["-pthread"]);
    let up = Upstream::ok("up");
    let tls = format!(
        "tls: {{providers: [{{plugin: k, config: {{folder: /nowhere}}}}]}}\n    {}",
        http("")
    );
    let said = run_to_error(&folder, &yaml(&library, &tls, &[("one", &up)]));
    assert!(said.contains("the pair cannot be read"), "{said}");
    assert!(said.contains("transom.yaml:7:"), "{said}");
}

#[test]
fn what_each_kind_finds_wrong_is_shown_at_its_line() {
    let folder = Folder::new();
    let library = compile(&folder, KINDS, "kinds.so", &["-pthread"]);
    let up = Upstream::ok("up");
    let used = "{plugin: k, config: {bad: \"yes\"}}";
    for listener in [
        format!("network_filters: [{used}, {{name: tcp_proxy, config: {{cluster: one}}}}]"),
        format!("listener_filters: [{used}]\n    {}", http("")),
        format!("access_logs: [{used}]\n    {}", http("")),
        format!("tls: {{providers: [{used}]}}\n    {}", http("")),
    ] {
        let said = run_to_error(&folder, &yaml(&library, &listener, &[("one", &up)]));
        assert!(said.contains("it is bad"), "{listener}: {said}");
        assert!(said.contains("transom.yaml:7:"), "{listener}: {said}");
    }
}

#[test]
fn a_use_of_a_kind_that_the_library_is_not_says_what_it_is() {
    let folder = Folder::new();
    let library = compile(&folder, KINDS, "kinds.so", &["-pthread"]);
    let up = Upstream::ok("up");
    let http = http("stream_filters: [{plugin: k, config: {}}], ");
    let said = run_to_error(&folder, &yaml(&library, &http, &[("one", &up)]));
    assert!(said.contains("has no stream filter"), "{said}");
    assert!(
        said.contains(
            "it is the network filter, the listener filter, the access log, the certificate provider, the selector, the client"
        ),
        "{said}"
    );
}

/// Two hosts, chosen by the library.
fn balanced(library: &Path, light: &Upstream, heavy: &Upstream, used: &str) -> String {
    let clusters = format!(
        "clusters: [{{name: one, load_balancing: {used}, endpoints: [{{address: \"{}\", weight: 1}}, {{address: \"{}\", weight: 3}}]}}]",
        light.address(),
        heavy.address()
    );
    yaml(library, &http(""), &[]).replace("clusters: []", &clusters)
}

#[test]
fn a_selector_chooses_among_the_hosts_that_can_be_had() {
    let folder = Folder::new();
    let library = compile(&folder, KINDS, "kinds.so", &["-pthread"]);
    let (light, heavy) = (Upstream::ok("light"), Upstream::ok("heavy"));
    let used = "{plugin: k, config: {}}";
    let program = Program::start(&balanced(&library, &light, &heavy, used));
    let mut client = Client::connect(program.address);
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "heavy");
    }
    // The hosts change places: another list, in which the other is the heavy one.
    program.reload(&balanced(&library, &heavy, &light, used));
    eventually("the other host", || {
        (client.get("/").text() == "light").then_some(())
    });
    let said = run_to_error(
        &folder,
        &balanced(
            &library,
            &light,
            &heavy,
            "{plugin: k, config: {bad: \"yes\"}}",
        ),
    );
    assert!(said.contains("it is bad"), "{said}");
}

#[test]
fn a_selector_that_chooses_what_is_not_there_does_not_stop_the_traffic() {
    let folder = Folder::new();
    let library = compile(&folder, DEFECTS, "selector.so", &["-DKIND=7"]);
    let (up, other) = (Upstream::ok("up"), Upstream::ok("up"));
    let used = "{plugin: k, config: {}}";
    let program = Program::start(&balanced(&library, &up, &other, used));
    let mut client = Client::connect(program.address);
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), "up");
    }
    let refused = compile(&folder, DEFECTS, "none.so", &["-DKIND=7", "-DNO_REQUIRED"]);
    let said = run_to_error(&folder, &balanced(&refused, &up, &other, used));
    assert!(
        said.contains("has the selector `` without the function `select`"),
        "{said}"
    );
}

/// Answers lines `METHOD PATH SIZE` and a body with what came.
fn speaking_lines() -> Upstream {
    Upstream::serving(|mut connection| {
        loop {
            let mut line = String::new();
            if !matches!(connection.client.reader().read_line(&mut line), Ok(1..)) {
                return;
            }
            let size = line.split_whitespace().last().unwrap();
            let mut body = vec![0; size.parse().unwrap()];
            connection.client.reader().read_exact(&mut body).unwrap();
            let body = String::from_utf8(body).unwrap();
            let answer = match line.split_whitespace().nth(1).unwrap() {
                "/nonsense" => "who are you\n".to_owned(),
                "/greedy" => "greedy\n".to_owned(),
                "/status" => "99 0\n".to_owned(),
                _ => {
                    let told = format!("{}|{body}", line.trim());
                    format!("201 {}\n{told}", told.len())
                }
            };
            connection.send(answer);
        }
    })
}

#[test]
fn a_client_speaks_its_own_protocol_to_hosts() {
    let folder = Folder::new();
    let library = compile(&folder, KINDS, "kinds.so", &["-pthread"]);
    let up = speaking_lines();
    let with = |used: &str| {
        let clusters = format!(
            "clusters: [{{name: one, client: {used}, endpoints: [\"{}\"]}}]",
            up.address()
        );
        yaml(&library, &http(""), &[]).replace("clusters: []", &clusters)
    };
    let program = Program::start(&with("{plugin: k, config: {}}"));
    let mut client = Client::connect(program.address);
    for _ in 0..3 {
        let answer = client.get("/a");
        assert_eq!(
            (answer.status(), answer.header("x-spoken"), answer.text()),
            (201, Some("lines"), "GET /a 0|".to_owned())
        );
    }
    assert_eq!(client.post("/b", "hello").text(), "POST /b 5|hello");
    // All on one connection, which the library says can be used again.
    assert_eq!(up.connections(), 1);
    for path in ["/unspeakable", "/nonsense", "/greedy", "/status"] {
        let status = client.get(path).status();
        assert!((500..600).contains(&status), "{path}: {status}");
    }
    assert_eq!(client.get("/a").text(), "GET /a 0|");
    let said = run_to_error(&folder, &with("{plugin: k, config: {bad: \"yes\"}}"));
    assert!(said.contains("it is bad"), "{said}");
}

/// A listener that uses the plugin `k` as each kind, by the kind's number.
fn uses() -> [(u32, &'static str, String); 5] {
    let used = "{plugin: k, config: {}}";
    [
        (
            1,
            "stream filter",
            http(&format!("stream_filters: [{used}], ")),
        ),
        (
            2,
            "network filter",
            format!("network_filters: [{used}, {{name: tcp_proxy, config: {{cluster: one}}}}]"),
        ),
        (
            3,
            "listener filter",
            format!("listener_filters: [{used}]\n    {}", http("")),
        ),
        (
            4,
            "access log",
            format!("access_logs: [{used}]\n    {}", http("")),
        ),
        (
            5,
            "certificate provider",
            format!("tls: {{providers: [{used}]}}\n    {}", http("")),
        ),
    ]
}

/// What is said of a library with a defect.
fn said_of(folder: &Folder, kind: u32, defect: &str, listener: &str) -> String {
    let up = Upstream::ok("up");
    let flags = [format!("-DKIND={kind}"), format!("-D{defect}")];
    let name = format!("{defect}-{kind}.so");
    let library = compile(
        folder,
        DEFECTS,
        &name,
        &flags.each_ref().map(String::as_str),
    );
    run_to_error(folder, &yaml(&library, listener, &[("one", &up)]))
}

#[test]
fn a_table_with_a_defect_is_refused_with_its_reason() {
    let folder = Folder::new();
    for (kind, name, listener) in uses() {
        let required = [
            "stream_start",
            "connection_start",
            "socket_start",
            "log",
            "certificates",
        ];
        let required = required[kind as usize - 1];
        for (defect, reason) in [
            (
                "NO_TABLE",
                "an extension without a table of functions".to_owned(),
            ),
            (
                "SIZE_ZERO",
                format!("has the {name} `` without the function `prepare`"),
            ),
            (
                "SIZE_TOO_SMALL",
                format!("has the {name} `` without the function `release`"),
            ),
            (
                "NO_REQUIRED",
                format!("has the {name} `` without the function `{required}`"),
            ),
            (
                "REFUSES_CONFIG",
                "refuses this configuration: it does not say why".to_owned(),
            ),
        ] {
            let said = said_of(&folder, kind, defect, &listener);
            assert!(said.contains(&reason), "{defect} of a {name}: {said}");
        }
    }
}

#[test]
fn what_a_kind_asks_for_in_vain_is_refused() {
    let folder = Folder::new();
    let [stream, network, listener, log, certificates] = uses();
    for (used, defect, reason) in [
        (
            &network,
            "UNKNOWN_WANTS",
            "asks for callbacks with the bits 0x100000",
        ),
        (&network, "BAD_CLUSTER", "names a cluster that is no UTF-8"),
        (&log, "BAD_CLUSTER", "names a cluster that is no UTF-8"),
        (&network, "WORKER_REFUSES", "cannot begin on this worker"),
        (&listener, "WORKER_REFUSES", "cannot begin on this worker"),
        (&log, "WORKER_REFUSES", "cannot begin on this worker"),
        (
            &certificates,
            "GIVES_NOTHING_READABLE",
            "its certificate 1 cannot be used",
        ),
        (&certificates, "GIVES_NULL", "null was refused"),
        (&stream, "NO_PREPARE", "without the function `prepare`"),
        (&stream, "NO_RELEASE", "without the function `release`"),
    ] {
        let (kind, name, listener) = used;
        let said = said_of(&folder, *kind, defect, listener);
        assert!(said.contains(reason), "{defect} of a {name}: {said}");
    }
}

#[test]
fn a_description_with_a_defect_is_refused_with_its_reason() {
    let folder = Folder::new();
    let [_, (kind, _, listener), ..] = uses();
    for (defect, reason) in [
        ("NO_LIST", "a list of 1 extensions, which is not there"),
        ("ENDLESS_LIST", "a list of 18446744073709551615 extensions"),
        ("DESCRIPTION_TOO_SMALL", "size of its description: 96"),
        ("EXTENSION_TOO_SMALL", "size of its description: 31"),
        ("BAD_NAME", "an extension whose name is no UTF-8"),
        ("ABORTS", "ends the process that loads it by the signal 6"),
    ] {
        let said = said_of(&folder, kind, defect, &listener);
        assert!(said.contains(reason), "{defect}: {said}");
    }
}

/// The names of the functions in a struct of the header.
fn functions(header: &str, of: &str) -> BTreeSet<String> {
    let end = format!("}} {of};");
    let (before, _) = header.split_once(&end).unwrap();
    let (_, body) = before.rsplit_once("typedef struct {").unwrap();
    let named = body.split("(*").skip(1);
    named
        .map(|rest| rest.split_once(')').unwrap().0.to_owned())
        .collect()
}

#[test]
fn every_function_of_the_header_has_a_caller_here() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let header = read("sdk/c/transom.h");
    let sources = [EVERYTHING, KINDS].map(read).concat();
    let host = functions(&header, "transom_host");
    assert!(host.len() > 50, "{host:?}");
    let uncalled: Vec<_> = host
        .iter()
        .filter(|name| !sources.contains(&format!("host->{name}(")))
        .collect();
    assert!(uncalled.is_empty(), "nobody calls {uncalled:?}");
    let tables = [
        "transom_stream_filter",
        "transom_network_filter",
        "transom_listener_filter",
        "transom_access_log",
        "transom_certificate_provider",
        "transom_selector",
        "transom_client",
    ];
    for table in tables {
        let (_, behind) = sources
            .split_once(&format!("static const {table} "))
            .unwrap();
        let (filled, _) = behind.split_once("};").unwrap();
        let missing: Vec<_> = functions(&header, table)
            .into_iter()
            .filter(|name| !filled.contains(&format!(".{name} =")))
            .collect();
        assert!(missing.is_empty(), "{table} has no {missing:?}");
    }
    // A table that is missing above would not be looked at.
    let there = header.matches("\n// The functions of a").count();
    assert_eq!(there, tables.len());
}
