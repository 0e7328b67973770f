//! The program before an upstream, with one worker: a listener without plugins, and two whose requests pass a hostile one.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::cores::{Core, place_workers, stay};

/// Longer than anything takes that is not broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How soon an answer must come, whatever the plugin does: the bounds of the plugin are far below.
const ANSWERED: Duration = Duration::from_secs(5);

/// The keys that all plugins here have, unless a row has them: it fails soon, and is never given up.
const KEYS: [(&str, &str); 5] = [
    ("start_timeout", "2s"),
    ("stop_timeout", "200ms"),
    ("drain_timeout", "200ms"),
    ("restart", "{backoff: 20ms..100ms, limit: 0}"),
    ("bounds", "{time: 100ms, queue_time: 100ms}"),
];

/// A running program.
pub(crate) struct Scene {
    child: Child,
    folder: PathBuf,
    keys: &'static str,
    pub(crate) upstream: Upstream,
    pub(crate) plain: SocketAddr,
    pub(crate) closed: SocketAddr,
    pub(crate) open: SocketAddr,
    log: std::thread::JoinHandle<String>,
}

impl Scene {
    /// Starts it, with further keys of the plugin's declaration.
    pub(crate) fn start(keys: &'static str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("transom-bad-{}-{number}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("mode"), "good").unwrap();
        // A copy, so that it may be changed. Made by another process: what this one has open for writing could be so in a child that it starts
        // meanwhile, and then the copy cannot be run.
        let copied = Command::new("cp")
            .arg(hostile())
            .arg(folder.join("filter"))
            .status();
        assert!(copied.unwrap().success());
        stay(Core::First);
        let upstream = Upstream::start();
        stay(Core::Last);
        let configuration = configuration(&folder, keys, upstream.address, "");
        fs::write(folder.join("transom.yaml"), configuration).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_transom"))
            .args(["run", "-c"])
            .arg(folder.join("transom.yaml"))
            .env_remove("TRANSOM_LOG")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let addresses = listening(&mut log);
        place_workers(child.id());
        let log = std::thread::spawn(move || {
            let mut rest = Vec::new();
            // The last of it is kept, for whoever looks for the cause of a failure.
            while let Ok(read @ 1..) = log.by_ref().take(1 << 16).read_to_end(&mut rest) {
                let _ = read;
                let from = rest.len().saturating_sub(1 << 14);
                rest.drain(..from);
            }
            String::from_utf8_lossy(&rest).into_owned()
        });
        let scene = Self {
            child,
            folder,
            keys,
            upstream,
            plain: addresses["plain"],
            closed: addresses["closed"],
            open: addresses["open"],
            log,
        };
        scene.recovered();
        scene
    }

    /// Says how bad the plugin is.
    pub(crate) fn mode(&self, mode: &str) {
        // In one step: nobody reads half of it.
        let new = self.folder.join("mode.new");
        fs::write(&new, mode).unwrap();
        fs::rename(&new, self.folder.join("mode")).unwrap();
    }

    /// Waits until both listeners answer 200 again, and says how long that took.
    pub(crate) fn recovered(&self) -> Duration {
        let begun = Instant::now();
        loop {
            let well = |address| matches!(Client::connect(address).and_then(|mut it| it.get()), Ok(answer) if answer.0 == 200);
            if (0..3).all(|_| well(self.closed)) && well(self.open) {
                return begun.elapsed();
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "it does not recover: {}",
                self.admin("GET", "/api/v1/plugins/p")
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The plugin's processes.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let json = self.described();
        let versions = json["versions"].as_array().into_iter().flatten();
        versions
            .flat_map(|version| version["instances"].as_array().into_iter().flatten())
            .filter_map(|instance| instance["pid"].as_i64()?.try_into().ok())
            .collect()
    }

    pub(crate) fn described(&self) -> serde_json::Value {
        let answer = self.admin("GET", "/api/v1/plugins/p");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    /// Sends a signal to each of the plugin's processes.
    pub(crate) fn signal(&self, signal: Signal) {
        for pid in self.pids() {
            // It may have ended in this moment.
            let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
        }
    }

    /// Kills one of the processes, if it is not the only one.
    pub(crate) fn kill_one(&self) {
        if let [pid, _, ..] = self.pids()[..] {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
    }

    /// Changes the program on disk, or makes it again what it was.
    pub(crate) fn tamper(&self, changed: bool) {
        let (file, new) = (self.folder.join("filter"), self.folder.join("filter.new"));
        let copied = Command::new("cp").arg(hostile()).arg(&new).status();
        assert!(copied.unwrap().success());
        if changed {
            let mut script = Command::new("sh");
            script.args(["-c", "printf x >> \"$0\""]).arg(&new);
            assert!(script.status().unwrap().success());
        }
        fs::rename(new, file).unwrap();
    }

    /// Has a configuration read that has fifty plugins more, none of which ever says a word.
    pub(crate) fn add_fifty_silent(&self) -> String {
        fs::write(self.folder.join("silent"), "silent").unwrap();
        let program = self.folder.join("filter");
        let silent = self.folder.join("silent");
        let more: String = (0..50)
            .map(|number| {
                format!("  s{number}: {{runtime: process, command: [{program:?}, {silent:?}], start_timeout: 500ms}}\n")
            })
            .collect();
        self.reload(&more)
    }

    /// Has the configuration read with these plugins besides.
    pub(crate) fn reload(&self, more: &str) -> String {
        let text = configuration(&self.folder, self.keys, self.upstream.address, more);
        fs::write(self.folder.join("transom.yaml"), text).unwrap();
        self.admin("POST", "/reload")
    }

    /// What the admin API answers, head and all.
    pub(crate) fn admin(&self, method: &str, path: &str) -> String {
        let mut stream = UnixStream::connect(self.folder.join("admin.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Ends the program, and says what it wrote last.
    pub(crate) fn end(mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
        self.log.join().unwrap_or_default()
    }
}

/// The hostile plugin, an example of another package: who tests this one alone has not built it.
fn hostile() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let folder = test.ancestors().nth(2).unwrap();
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        build.args(["build", "--quiet", "-p", "transom-process"]);
        build.args(["--example", "hostile-filter"]);
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
        folder.join("examples/hostile-filter")
    })
}

fn configuration(folder: &Path, keys: &str, upstream: SocketAddr, plugins: &str) -> String {
    let mut declared = String::new();
    for (key, value) in KEYS {
        if !keys.contains(&format!("{key}:")) {
            declared += &format!(", {key}: {value}");
        }
    }
    if !keys.is_empty() {
        declared += &format!(", {keys}");
    }
    if declared.contains("SHA256") {
        let sum = Command::new("sha256sum").arg(hostile()).output().unwrap();
        let sum = String::from_utf8(sum.stdout).unwrap();
        declared = declared.replace("SHA256", sum.split_whitespace().next().unwrap());
    }
    // MOSN's agents have a time of their own.
    let config = match keys.contains("protocol: call") {
        true => ", config: {timeout: 300ms}",
        false => "",
    };
    let listener = |name: &str, filters: &str| {
        format!(
            "  - name: {name}\n    address: 127.0.0.1:0\n    network_filters:\n      - name: http\n        config:\n          \
             stream_filters: [{filters}]\n          virtual_hosts:\n            - {{domains: [\"*\"], routes: [{{match: {{prefix: /}}, cluster: up}}]}}\n"
        )
    };
    format!(
        "workers: 1\nadmin: {{address: \"unix:{}\"}}\nplugins:\n  p: {{runtime: process, command: [{:?}, {:?}]{declared}}}\n{plugins}listeners:\n\
         {}{}{}clusters:\n  - {{name: up, endpoints: [\"{upstream}\"]}}\n",
        folder.join("admin.sock").display(),
        folder.join("filter"),
        folder.join("mode"),
        listener("plain", ""),
        listener("closed", &format!("{{plugin: p, id: c{config}}}")),
        listener(
            "open",
            &format!("{{plugin: p, id: o, on_failure: open{config}}}")
        ),
    )
}

/// Reads the log until all listeners have their addresses.
fn listening(log: &mut BufReader<std::process::ChildStderr>) -> BTreeMap<String, SocketAddr> {
    let (mut all, mut found) = (String::new(), BTreeMap::new());
    while found.len() < 3 {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended:\n{all}");
        let word = |key: &str| {
            let mut words = line.split_whitespace();
            words.find_map(|word| {
                word.strip_prefix(key)
                    .map(|it| it.trim_matches('"').to_owned())
            })
        };
        if let (Some(name), Some(address)) = (word("listener="), word("address=")) {
            found.insert(name, address.parse().unwrap());
        }
        all += &line;
    }
    found
}

/// A server that answers 200 to all, and looks whether a head has what a plugin smuggled in.
pub(crate) struct Upstream {
    address: SocketAddr,
    /// Heads that no proxy may have sent.
    pub(crate) split: Arc<AtomicU64>,
}

impl Upstream {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let split = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&split);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let counter = Arc::clone(&counter);
                std::thread::spawn(move || serve(stream, &counter));
            }
        });
        Self { address, split }
    }
}

/// Until the connection's end, which is none of its business.
fn serve(mut stream: TcpStream, split: &AtomicU64) {
    let _ = stream.set_nodelay(true);
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        head.extend_from_slice(&buffer[..read]);
        while let Some(end) = head.windows(4).position(|it| it == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
            if text.contains("injected") || text.contains('\0') || !text.starts_with("get / ") {
                split.fetch_add(1, Ordering::Relaxed);
            }
            head.drain(..end + 4);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    }
}

/// A client that sends one request after the other.
pub(crate) struct Client {
    stream: TcpStream,
    head: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWERED))?;
        Ok(Self {
            stream,
            head: Vec::with_capacity(4096),
        })
    }

    /// The status of one request's answer, and whether nothing more may be sent.
    pub(crate) fn get(&mut self) -> io::Result<(u16, bool)> {
        self.stream
            .write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")?;
        self.head.clear();
        let mut buffer = [0; 4096];
        loop {
            let read = self.stream.read(&mut buffer)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.head.extend_from_slice(&buffer[..read]);
            if let Some(answer) = whole(&self.head) {
                return answer;
            }
        }
    }
}

/// An answer that has come whole. All answers here have a length.
fn whole(bytes: &[u8]) -> Option<io::Result<(u16, bool)>> {
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let invalid = |what: &str| Some(Err(io::Error::other(format!("{what}: {head}"))));
    if head.contains("injected") || head.contains('\0') {
        return invalid("a split answer");
    }
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let field = |name: &str| {
        let mut lines = head.split("\r\n").skip(1);
        lines.find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(": ")
                .map(str::to_owned)
        })
    };
    let Some(length) = field("content-length").and_then(|it| it.parse::<usize>().ok()) else {
        return invalid("no length");
    };
    let closes = field("connection").is_some_and(|it| it == "close");
    match bytes.len() - (end + 4) {
        got if got < length => None,
        got if got > length => invalid("more than its length"),
        _ => Some(Ok((status, closes))),
    }
}
