//! A filter over `transom.plugin.v1`, or MOSN's `call`, that is as bad as a file says: tests run the proxy with it.
//!
//! `hostile-filter FILE`: the first word of FILE is the mode, read at the start and again with each callback. It speaks the protocol's bare
//! messages and not by an SDK, which would keep it from most of this.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use transom_goplugin::plugin::{PluginSet, ServeConfig, serve};
use transom_goplugin::{HandshakeConfig, MAX_MESSAGE, Services};
use transom_process::supervise::COOKIE;
use transom_process::v1::plugin_server::{Plugin, PluginServer};
use transom_process::v1::to_host::Message as Said;
use transom_process::v1::to_plugin::Message as Asked;
use transom_process::v1::{
    Action, Answer, CertificateRequest, CertificateResponse, ChangeFields, CheckRequest,
    CheckResponse, Credit, DescribeRequest, DescribeResponse, Extension, Field, Hello, Kind,
    LocalReply, LogBatch, LogSummary, Needs, PrepareRequest, PrepareResponse, REVISION,
    ReleaseRequest, ReleaseResponse, ToHost, ToPlugin, action,
};

fn main() -> ExitCode {
    let file = PathBuf::from(std::env::args().nth(1).unwrap());
    let mode = read(&file);
    match mode.as_str() {
        "silent" => sleep(),
        "garbage" => {
            print(b"\x01\x02|not|a|handshake\xff\n");
            sleep();
        }
        "long-line" => {
            let piece = vec![b'x'; 1 << 20];
            // The host may have enough of it.
            while print(&piece) {}
            sleep();
        }
        "wrong-types" => {
            print(b"{\"@level\":7,\"@message\":[\"x\"],\"CoreProtocolVersion\":{}}\n");
            sleep();
        }
        "exit" => return ExitCode::from(3),
        "deaf" => ignore_term(),
        _ => {}
    }
    let watched = file.clone();
    std::thread::spawn(move || watch(&watched));
    if std::env::var("MOSN_PLUGIN").is_ok_and(|cookie| cookie == "ON") {
        let code = transom_process::serve(move |_| mosns(read(&file)));
        if mode == "deaf" {
            sleep();
        }
        return code;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let code = runtime.block_on(async {
        let hostile = Hostile {
            file: Arc::new(file.clone()),
        };
        let plugins = PluginSet::new().plugin("transom", move |_broker| {
            let server = PluginServer::new(hostile.clone());
            Services::new().add_service(server.max_decoding_message_size(MAX_MESSAGE))
        });
        let handshake = HandshakeConfig::new(1, COOKIE.0, COOKIE.1);
        serve(ServeConfig::new(handshake).plugins(plugins)).await
    });
    if mode == "deaf" {
        sleep();
    }
    code
}

/// The same by MOSN's protocol.
async fn mosns(mode: String) -> Result<transom_process::Response, transom_process::ServiceError> {
    let mut answer = transom_process::Response {
        status: 1,
        ..Default::default()
    };
    match mode.as_str() {
        "hang" => std::future::pending().await,
        "late" => tokio::time::sleep(Duration::from_millis(450)).await,
        "die" => std::process::exit(5),
        "busy" => drop(std::hint::black_box(vec![b'x'; 64 << 20].clone())),
        "big" => answer.body = vec![b'x'; 64 << 20],
        "headers" => {
            if let action::Action::Fields(ChangeFields { set, .. }) = forbidden() {
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                let pairs = set.into_iter().map(|it| (text(it.name), text(it.value)));
                answer.header = pairs.collect();
            }
        }
        _ => {}
    }
    Ok(answer)
}

/// What is done beside the calls.
fn watch(file: &std::path::Path) {
    // What this takes of the CPU is not the proxy's doing, and not what is looked at.
    // SAFETY: of the calling thread; no memory is touched.
    #[allow(unsafe_code)]
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
    }
    let mut leaked: Vec<Vec<u8>> = Vec::new();
    loop {
        match read(file).as_str() {
            "leak" => leaked.push(vec![1; 4 << 20]),
            "flood" => {
                let line = [b'x'; 1000];
                let mut lines = line.repeat(64);
                lines.push(b'\n');
                let _ = std::io::stderr().write_all(&lines);
                continue;
            }
            "grandchild" => {
                #[allow(
                    clippy::zombie_processes,
                    reason = "that it is left is what this mode is for"
                )]
                let child = Command::new("setsid")
                    .args(["sleep", "20"])
                    .stdin(Stdio::null())
                    .spawn();
                drop(child);
                std::process::exit(4);
            }
            _ => leaked.clear(),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn read(file: &std::path::Path) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().next().unwrap_or_default().into()
}

fn print(bytes: &[u8]) -> bool {
    let mut out = std::io::stdout();
    out.write_all(bytes).and_then(|()| out.flush()).is_ok()
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

#[derive(Clone)]
struct Hostile {
    file: Arc<PathBuf>,
}

type Sender = UnboundedSender<Result<ToHost, Status>>;

impl Hostile {
    fn receive(&self, message: &ToPlugin, sender: &Sender) {
        // Whoever is gone is told nothing.
        let say = |said: Said| {
            let _ = sender.send(Ok(ToHost {
                stream: message.stream,
                callback: message.callback,
                message: Some(said),
            }));
        };
        match &message.message {
            Some(Asked::Hello(_)) => say(Said::Hello(Hello {
                revision: REVISION,
                credit: Some(Credit {
                    messages: 1 << 40,
                    bytes: 1 << 50,
                }),
                worker: 0,
            })),
            Some(Asked::Headers(_)) => {
                let good = || {
                    Said::Answer(Answer {
                        done: true,
                        ..Answer::default()
                    })
                };
                match read(&self.file).as_str() {
                    "hang" => {}
                    "late" => {
                        let (sender, message) = (sender.clone(), message.clone());
                        tokio::spawn(async move {
                            tokio::time::sleep(Duration::from_millis(150)).await;
                            let _ = sender.send(Ok(ToHost {
                                stream: message.stream,
                                callback: message.callback,
                                message: Some(Said::Answer(Answer::default())),
                            }));
                        });
                    }
                    "die" => std::process::exit(5),
                    "big" => say(answer(reply(vec![], vec![b'x'; 64 << 20]))),
                    // As much work, for an answer that is well.
                    "busy" => {
                        let body = vec![b'x'; 64 << 20];
                        drop(std::hint::black_box(body.clone()));
                        say(good());
                    }
                    "headers" => say(answer(forbidden())),
                    _ => say(good()),
                }
            }
            _ => {}
        }
    }
}

fn answer(action: action::Action) -> Said {
    Said::Answer(Answer {
        actions: vec![Action {
            action: Some(action),
        }],
        verdict: 0,
        done: true,
    })
}

fn reply(headers: Vec<Field>, body: Vec<u8>) -> action::Action {
    action::Action::LocalReply(LocalReply {
        status: 200,
        headers,
        body,
        ..LocalReply::default()
    })
}

/// One after the other of what a message must not have, in the request and in an answer of its own.
fn forbidden() -> action::Action {
    const FIELDS: [(&[u8], &[u8]); 12] = [
        (b"bad name", b"x"),
        (b"x-split", b"a\r\nInjected: yes"),
        (b"x-split", b"a\nInjected: yes"),
        (b"x-zero", b"a\0b"),
        (b"", b"empty"),
        (b"x\r\nInjected", b"yes"),
        (b"content-length", b"9999"),
        (b"transfer-encoding", b"chunked"),
        (b":path", b"/ HTTP/1.1\r\nInjected: yes\r\n"),
        (b":method", b"GET / HTTP/1.1\r\nInjected:"),
        (b":authority", b"a\r\nInjected: yes"),
        (b":nonsense", b"x"),
    ];
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let turn = NEXT.fetch_add(1, Ordering::Relaxed);
    let (name, value) = FIELDS[turn % FIELDS.len()];
    let field = Field {
        name: name.to_vec(),
        value: value.to_vec(),
    };
    match turn / FIELDS.len() % 2 {
        0 => action::Action::Fields(ChangeFields {
            set: vec![field],
            ..ChangeFields::default()
        }),
        _ => reply(vec![field], b"reply".to_vec()),
    }
}

#[tonic::async_trait]
impl Plugin for Hostile {
    async fn describe(
        &self,
        _: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(DescribeResponse {
            revision: REVISION,
            name: "hostile".into(),
            version: "1".into(),
            extensions: vec![Extension {
                kind: Kind::StreamFilter.into(),
                ..Extension::default()
            }],
        }))
    }

    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        Ok(Response::new(CheckResponse::default()))
    }

    async fn prepare(
        &self,
        _: Request<PrepareRequest>,
    ) -> Result<Response<PrepareResponse>, Status> {
        Ok(Response::new(PrepareResponse {
            faults: Vec::new(),
            needs: Some(Needs {
                // Request headers.
                callbacks: 1,
                ..Needs::default()
            }),
        }))
    }

    async fn release(
        &self,
        _: Request<ReleaseRequest>,
    ) -> Result<Response<ReleaseResponse>, Status> {
        Ok(Response::new(ReleaseResponse::default()))
    }

    type WorkStream = UnboundedReceiverStream<Result<ToHost, Status>>;

    async fn work(
        &self,
        request: Request<Streaming<ToPlugin>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        let (sender, receiver) = unbounded_channel();
        let hostile = self.clone();
        let mut incoming = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(message)) = incoming.message().await {
                hostile.receive(&message, &sender);
            }
        });
        Ok(Response::new(UnboundedReceiverStream::new(receiver)))
    }

    async fn certificate(
        &self,
        _: Request<CertificateRequest>,
    ) -> Result<Response<CertificateResponse>, Status> {
        Err(Status::unimplemented("no certificates"))
    }

    async fn log(&self, _: Request<Streaming<LogBatch>>) -> Result<Response<LogSummary>, Status> {
        Err(Status::unimplemented("no logs"))
    }
}
