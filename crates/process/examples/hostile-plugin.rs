//! A plugin that does what no plugin should: each mode is one way to be bad. Tests of the supervisor start it.
//!
//! `hostile-plugin MODE [ARGUMENT…]`; the modes stand in `main`. Beside `serve…` none speaks gRPC.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::time::Duration;

use transom_process::{Request, Response, ServiceError, serve};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (mode, rest) = arguments.split_first().unwrap_or((&"", &[]));
    let first = rest.first().copied().unwrap_or_default();
    match *mode {
        "serve" => return serve(answer),
        // Leaks memory as long as it lives.
        "serve-leaking" => {
            std::thread::spawn(leak);
            return serve(answer);
        }
        // Serves for so many milliseconds, and is gone.
        "serve-for" => {
            let life = first.parse().unwrap();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(life));
                std::process::exit(7);
            });
            return serve(answer);
        }
        // Serves as the others do, but only if this file is there.
        "serve-if" => {
            if !std::path::Path::new(first).exists() {
                eprintln!("{first} is not there");
                return ExitCode::from(9);
            }
            return serve(answer);
        }
        // Floods its standard error, and serves all the same.
        "serve-flooding" => {
            std::thread::spawn(|| {
                let line = vec![b'x'; 1000];
                loop {
                    let _ = std::io::stderr().write_all(&line);
                    let _ = std::io::stderr().write_all(b"\n");
                }
            });
            return serve(answer);
        }
        // Leaves something behind that holds its output open, and dies.
        "serve-grandchild" => {
            #[allow(
                clippy::zombie_processes,
                reason = "that it is left is what this mode is for"
            )]
            let child = Command::new("setsid")
                .args(["sleep", first])
                .spawn()
                .unwrap();
            eprintln!("grandchild {}", child.id());
            return serve(answer);
        }
        "silent" => sleep(),
        "garbage" => {
            println!("\u{1}\u{2}|not|a|handshake\u{ff}");
            sleep();
        }
        "long-line" => {
            let piece = vec![b'x'; 1 << 20];
            for _ in 0..100 {
                if std::io::stdout().write_all(&piece).is_err() {
                    break;
                }
            }
            sleep();
        }
        // What looks like the log of go-plugin, with values of the wrong types.
        "wrong-types" => {
            for line in [
                r#"{"@level":7,"@message":["x"],"@timestamp":{}}"#,
                r#"{"@level":"info","@message":1}"#,
                r#"{"@module":"transom.launcher","@level":"debug","granted":{"full":"yes"}}"#,
                "{{{{",
            ] {
                eprintln!("{line}");
            }
            return serve(answer);
        }
        // Claims to be the launcher.
        "spoof" => {
            eprintln!(
                r#"{{"@module":"transom.launcher","@level":"debug","@message":"","granted":{{"full":true,"landlock":99,"seccomp":true,"no_new_privs":true,"user":null,"verified":9,"missing":[]}}}}"#
            );
            return serve(answer);
        }
        "exit" => return ExitCode::from(first.parse::<u8>().unwrap_or(3)),
        // Says that it listens where nobody does.
        "nobody-there" => {
            println!("1|1|tcp|127.0.0.1:1|grpc");
            sleep();
        }
        // Accepts, and never says a word.
        "mute" => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            println!("1|1|tcp|{}|grpc", listener.local_addr().unwrap());
            let kept: Vec<_> = listener.incoming().collect();
            drop(kept);
        }
        // Speaks no protocol; ends only when it is killed.
        "deaf" => {
            ignore_term();
            println!("deaf");
            sleep();
        }
        "plain" => {
            println!("plain output");
            eprintln!("[WARN] plain warning");
            println!(
                "HOME is {:?}, SECRET is {:?}",
                std::env::var("HOME").ok(),
                std::env::var("SECRET").ok()
            );
            sleep();
        }
        // A server at an address, which accepts after a while.
        "server" => {
            let late = rest.get(1).and_then(|text| text.parse().ok()).unwrap_or(0);
            std::thread::sleep(Duration::from_millis(late));
            let listener = TcpListener::bind(first).unwrap();
            let kept: Vec<_> = listener.incoming().collect();
            drop(kept);
        }
        // Tries something, and says what came of it.
        "try" => {
            println!("{}", attempt(rest));
            let _ = std::io::stdout().flush();
            sleep();
        }
        other => {
            eprintln!("there is no mode {other:?}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Answers as the request's type asks.
async fn answer(request: Request) -> Result<Response, ServiceError> {
    match request.r#type.as_str() {
        "hang" => std::future::pending().await,
        "late" => tokio::time::sleep(Duration::from_millis(500)).await,
        "die" => std::process::exit(5),
        "fail" => return Err("it fails".into()),
        "big" => {
            return Ok(Response {
                body: vec![b'x'; 64 << 20],
                ..Response::default()
            });
        }
        "headers" => {
            let header = [
                ("bad name", "x"),
                ("bad-value", "a\r\nInjected: yes"),
                ("", "empty"),
                ("content-length", "9999"),
                ("transfer-encoding", "chunked"),
            ];
            return Ok(Response {
                header: header
                    .map(|(name, value)| (name.into(), value.into()))
                    .into(),
                ..Response::default()
            });
        }
        _ => {}
    }
    Ok(Response {
        body: std::process::id().to_string().into_bytes(),
        status: 1,
        ..Response::default()
    })
}

static LEAKED: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

fn leak() {
    loop {
        LEAKED.lock().unwrap().push(vec![1; 1 << 20]);
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn sleep() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn ignore_term() {
    // SAFETY: SIG_IGN is a valid disposition, and nothing else handles SIGTERM here.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(libc::SIGTERM, libc::SIG_IGN);
    }
}

/// `what: ok`, or `what: ` and the name of the errno.
fn attempt(what: &[&str]) -> String {
    let result: std::io::Result<String> = match what {
        // The mark keeps it from being a file that the command names, which a sandbox lets it read.
        ["read", path] => std::fs::read(path.trim_start_matches('@')).map(|_| "ok".into()),
        ["write", path] => std::fs::write(path.trim_start_matches('@'), "x").map(|()| "ok".into()),
        ["run", path] => Command::new(path).output().map(|_| "ok".into()),
        // By a program that belongs to root, and sets the user to that.
        ["gain", program, path] => Command::new(program)
            .arg(path.trim_start_matches('@'))
            .output()
            .and_then(|output| match output.status.success() {
                true => Ok("ok".into()),
                false => Err(std::io::Error::from_raw_os_error(libc::EACCES)),
            }),
        // One byte of a core file, of what it may have at the most.
        ["core"] => {
            let mut limit = rustix::process::getrlimit(rustix::process::Resource::Core);
            limit.current = Some(1);
            rustix::process::setrlimit(rustix::process::Resource::Core, limit)
                .map(|()| "ok".into())
                .map_err(Into::into)
        }
        ["connect", address] => TcpStream::connect(address).map(|_| "ok".into()),
        ["bind", address] => TcpListener::bind(address).map(|_| "ok".into()),
        ["udp"] => std::net::UdpSocket::bind("127.0.0.1:0").map(|_| "ok".into()),
        ["unix", path] => UnixStream::connect(path).map(|_| "ok".into()),
        ["abstract", name] => {
            use std::os::linux::net::SocketAddrExt;
            std::os::unix::net::SocketAddr::from_abstract_name(name)
                .and_then(|address| UnixStream::connect_addr(&address))
                .map(|_| "ok".into())
        }
        ["signal", pid] => {
            let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
            rustix::process::test_kill_process(pid)
                .map(|()| "ok".into())
                .map_err(Into::into)
        }
        ["thread"] => std::thread::Builder::new()
            .spawn(|| {})
            .map(|thread| thread.join().map(|()| "ok".into()).unwrap_or_default()),
        ["open", count] => (0..count.parse().unwrap())
            .map(|_| std::fs::File::open("/dev/null"))
            .collect::<Result<Vec<_>, _>>()
            .map(|_| "ok".into()),
        ["allocate", bytes] => {
            let mut memory: Vec<u8> = Vec::new();
            memory
                .try_reserve_exact(bytes.parse().unwrap())
                .map(|()| "ok".into())
                .map_err(|_| std::io::Error::from_raw_os_error(libc::ENOMEM))
        }
        ["grow", path, bytes] => {
            // The system would kill it otherwise, which is an answer too, but none with an errno.
            // SAFETY: SIG_IGN is a valid disposition, and nothing else handles SIGXFSZ here.
            #[allow(unsafe_code)]
            unsafe {
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            }
            std::fs::write(path, vec![0; bytes.parse().unwrap()]).map(|()| "ok".into())
        }
        ["call", name] => call(name),
        ["who"] => {
            let process = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            let field = |name: &str| {
                let line = process.lines().find(|line| line.starts_with(name));
                line.map(|line| {
                    line.split_whitespace()
                        .nth(1)
                        .unwrap_or_default()
                        .to_owned()
                })
                .unwrap_or_default()
            };
            Ok(format!(
                "uid {} gid {} groups [{}] nnp {} core {:?}",
                field("Uid:"),
                field("Gid:"),
                field("Groups:"),
                field("NoNewPrivs:"),
                rustix::process::getrlimit(rustix::process::Resource::Core).maximum,
            ))
        }
        ["spin"] => loop {
            std::hint::spin_loop();
        },
        other => panic!("{other:?}"),
    };
    let name = what.first().unwrap_or(&"");
    match result {
        Ok(text) => format!("{name}: {text}"),
        Err(error) => format!("{name}: {}", errno(&error)),
    }
}

/// A system call with arguments that harm nobody should it be allowed.
fn call(name: &str) -> std::io::Result<String> {
    let number = match name {
        "ptrace" => libc::SYS_ptrace,
        "bpf" => libc::SYS_bpf,
        "io_uring_setup" => libc::SYS_io_uring_setup,
        "unshare" => libc::SYS_unshare,
        "mount" => libc::SYS_mount,
        "keyctl" => libc::SYS_keyctl,
        "perf_event_open" => libc::SYS_perf_event_open,
        "userfaultfd" => libc::SYS_userfaultfd,
        "process_vm_readv" => libc::SYS_process_vm_readv,
        "kexec_load" => libc::SYS_kexec_load,
        other => panic!("{other}"),
    };
    // SAFETY: all arguments are such that the kernel refuses each of these calls before it touches memory or changes anything.
    #[allow(unsafe_code)]
    let result = unsafe { libc::syscall(number, -1_i64, -1_i64, -1_i64, -1_i64, -1_i64, -1_i64) };
    match result {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok("ok".into()),
    }
}

fn errno(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => "EPERM".into(),
        Some(libc::EACCES) => "EACCES".into(),
        Some(libc::ENOENT) => "ENOENT".into(),
        Some(libc::EMFILE) => "EMFILE".into(),
        Some(libc::EFBIG) => "EFBIG".into(),
        Some(libc::EAGAIN) => "EAGAIN".into(),
        Some(libc::ENOMEM) => "ENOMEM".into(),
        Some(libc::ECONNREFUSED) => "ECONNREFUSED".into(),
        Some(libc::EAFNOSUPPORT) => "EAFNOSUPPORT".into(),
        Some(libc::EINVAL) => "EINVAL".into(),
        Some(libc::ESRCH) => "ESRCH".into(),
        other => format!("{other:?}"),
    }
}
