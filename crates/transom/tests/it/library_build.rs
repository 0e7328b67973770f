//! Libraries that the program makes itself, and what becomes of streams when one takes another's place.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use transom_e2e::upstream::ok;
use transom_e2e::{Client, Upstream, eventually};

use crate::libraries::{compile, configuration, file};
use crate::program::{Folder, Program, command};

/// Runs the program in a folder, where there is nothing that it was built from; what it says on standard output.
fn transom(folder: &Folder, arguments: &[&str]) -> String {
    let output = command(arguments)
        .current_dir(folder.path())
        .env("CARGO_HOME", folder.path().join("cargo"))
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What the program says when it refuses.
fn refused(folder: &Folder, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = command(arguments);
    let output = command.current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

/// A key of minisign's without a password: the file of the secret one, and the public one.
fn key(folder: &Folder) -> (PathBuf, String) {
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let secret = pair.sk.to_box(None).unwrap().to_string();
    (folder.write("transom.key", &secret), pair.pk.to_base64())
}

#[test]
fn a_crate_becomes_a_signed_library_that_filters() {
    let folder = Folder::new();
    let written = transom(
        &folder,
        &[
            "plugin",
            "new",
            "--lang",
            "rust",
            "--runtime",
            "library",
            "greet",
        ],
    );
    assert!(written.contains("greet/src/lib.rs"), "{written}");
    let (secret, public) = key(&folder);
    let secret = secret.to_str().unwrap();
    let arguments = [
        "plugin",
        "build",
        "--name",
        "greet",
        "--path",
        "greet",
        "--new",
        "greet::new",
        "-o",
        "out/greet.so",
        "--sign",
        secret,
    ];
    let built = transom(&folder, &arguments);
    assert!(
        built.contains("out/greet.so.minisig")
            && built.contains("greet 0.1.0")
            && built.contains("the stream filter greet"),
        "{built}"
    );
    let library = folder.path().join("out/greet.so");
    assert_eq!(
        fs::metadata(&library).unwrap().permissions().mode() & 0o777,
        0o644
    );
    let manifest = fs::read_to_string(folder.path().join("out/greet.json")).unwrap();
    assert!(
        manifest.contains("\"constructor\": \"greet::new\""),
        "{manifest}"
    );

    let upstream = Upstream::ok("up");
    let declared = format!("{}, minisign: \"{public}\"", file(&library));
    let program = Program::start(&configuration(
        &upstream,
        &declared,
        "config: {User: admin}",
    ));
    let mut client = Client::connect(program.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nUSER: admin\r\n\r\n");
    assert_eq!(client.answer().text(), "up");
    assert_eq!(client.get("/").status(), 403);

    // One byte of it is another: the signature is of something else.
    let mut bytes = fs::read(&library).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let tampered = folder.path().join("out/tampered.so");
    fs::write(&tampered, bytes).unwrap();
    fs::copy(
        folder.path().join("out/greet.so.minisig"),
        folder.path().join("out/tampered.so.minisig"),
    )
    .unwrap();
    let unsigned = folder.path().join("out/unsigned.so");
    fs::copy(&library, &unsigned).unwrap();
    let (_, other) = key(&folder);
    for (path, key, reason) in [
        (&tampered, &public, "tampered.so.minisig is not good"),
        (&unsigned, &public, "unsigned.so.minisig cannot be read"),
        (&library, &other, "greet.so.minisig is not good"),
    ] {
        let declared = format!("{}, minisign: \"{key}\"", file(path));
        let text = configuration(&upstream, &declared, "config: {User: admin}");
        let place = folder.write("bad.yaml", &text);
        let (code, said) = refused(&folder, &["run", "-c", place.to_str().unwrap()]);
        let said = said
            .replace('│', " ")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(code == Some(2) && said.contains(reason), "{code:?}: {said}");
    }
}

#[test]
fn what_cannot_be_built_is_refused_with_its_reason() {
    let folder = Folder::new();
    folder.write("transom.yaml", "");
    let build = |more: &[&str]| {
        let arguments = [&["plugin", "build"], more].concat();
        refused(&folder, &arguments)
    };
    for (more, code, reason) in [
        (
            vec!["--name", "a-b", "--new", "a::new"],
            2,
            "`a-b` is no name of an extension",
        ),
        (
            vec!["--name", "a", "--new", "new"],
            2,
            "`new` is no path of a function",
        ),
        (
            vec!["--name", "a", "--kind", "broken", "--new", "a::new"],
            2,
            "Unknown plugin type: broken for a",
        ),
        (
            vec!["--name", "a", "--new", "a::new"],
            2,
            "it has no Cargo.toml",
        ),
    ] {
        let (found, said) = build(&more);
        assert!(
            found == Some(code) && said.contains(reason),
            "{found:?}: {said}"
        );
    }
    let (code, said) = refused(
        &folder,
        &["plugin", "sign", "--key", "none.key", "transom.yaml"],
    );
    assert!(
        code == Some(1) && said.contains("none.key: No such file"),
        "{said}"
    );
    let (code, said) = refused(
        &folder,
        &[
            "plugin",
            "new",
            "--lang",
            "java",
            "--runtime",
            "library",
            "a",
        ],
    );
    assert!(
        code == Some(2) && said.contains("no SDK for libraries in java"),
        "{said}"
    );
}

/// A gate that requests for `/slow` wait at.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        let closed = self.0.lock().unwrap();
        drop(self.1.wait_while(closed, |open| !*open).unwrap());
    }
}

#[test]
fn a_stream_in_flight_ends_on_the_code_that_it_began_with() {
    let folder = Folder::new();
    let gate = Arc::new(Gate::default());
    let waits = Arc::clone(&gate);
    let upstream = Upstream::answering(move |request| {
        if request.target() == "/slow" {
            waits.wait();
        }
        ok(request.header("x-began-with").unwrap_or("nothing"))
    });
    let version = |name: &str| {
        let flag = format!("-DVERSION=\"{name}\"");
        compile(
            &folder,
            "crates/transom/tests/libraries/version.c",
            &format!("{name}.so"),
            &[&flag],
        )
    };
    let with = |library: &Path| configuration(&upstream, &file(library), "config: {}");
    let (old, new) = (with(&version("old")), with(&version("new")));
    let program = Program::start(&old);
    let mut slow: Vec<Client> = (0..20).map(|_| Client::connect(program.address)).collect();
    for client in &mut slow {
        client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    upstream.wait_for_requests(slow.len());
    program.reload(&new);
    let mut client = Client::connect(program.address);
    eventually("the new code", || {
        let answer = client.get("/");
        // Each stream is of one version, whichever.
        assert_eq!(answer.header("x-ended-with"), Some(answer.text().as_str()));
        (answer.text() == "new").then_some(())
    });
    gate.open();
    for client in &mut slow {
        let answer = client.answer();
        assert_eq!(
            (answer.text().as_str(), answer.header("x-ended-with")),
            ("old", Some("old"))
        );
        assert_eq!(client.get("/").text(), "new");
    }
}
