//! etcd's gateway: JSON over HTTP/1.1 to whichever member answers.

use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Collected, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use transom_api::PrepareError;

/// How long a call may take. A watch may be silent for ever.
const CALL: Duration = Duration::from_secs(5);
/// An answer is not larger: a service has not so many hosts.
const LARGEST: usize = 16 << 20;
/// A watch on a connection that is dead without a word is found out by these.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// The members, and who is asked first.
pub(super) struct Gateway {
    members: Vec<String>,
    user: Option<(String, String)>,
    token: Mutex<Option<String>>,
    good: AtomicUsize,
}

/// Why a call failed.
#[derive(Debug)]
pub(super) struct Fault {
    message: String,
    /// The token is not good any more.
    stranger: bool,
}

/// The answers of a call that goes on.
pub(super) struct Answers {
    body: Incoming,
    read: Vec<u8>,
    _connection: Driver,
}

/// Drives a connection; ends with who uses it.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Gateway {
    pub(super) fn new(members: Vec<String>, user: Option<(String, String)>) -> Self {
        Self {
            members,
            user,
            token: Mutex::default(),
            good: AtomicUsize::new(0),
        }
    }

    /// A question with one answer.
    pub(super) async fn call(&self, path: &str, body: &Value) -> Result<Value, Fault> {
        let whole = async {
            let (answer, _connection) = self.ask(path, body).await?;
            let answer = Limited::new(answer, LARGEST).collect().await;
            let answer = answer.map_err(|error| Fault::new(format!("etcd broke off: {error}")))?;
            parse(&answer.to_bytes())
        };
        match timeout(CALL, whole).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::new(format!("etcd did not answer within {CALL:?}"))),
        }
    }

    /// A question whose answers go on.
    pub(super) async fn stream(&self, path: &str, body: &Value) -> Result<Answers, Fault> {
        let asked = timeout(CALL, self.ask(path, body)).await;
        let asked =
            asked.map_err(|_| Fault::new(format!("etcd did not answer within {CALL:?}")))?;
        let (body, connection) = asked?;
        Ok(Answers {
            body,
            read: Vec::new(),
            _connection: connection,
        })
    }

    /// Asks with a token, if it must; a token that has grown old is made anew once.
    async fn ask(&self, path: &str, body: &Value) -> Result<(Incoming, Driver), Fault> {
        let known = self.token().clone();
        let token = match (&self.user, known) {
            (Some(_), None) => Some(self.authenticate().await?),
            (_, known) => known,
        };
        match self.send(path, body, token.as_deref()).await {
            Err(fault) if fault.stranger && self.user.is_some() => {
                let token = self.authenticate().await?;
                self.send(path, body, Some(&token)).await
            }
            answer => answer,
        }
    }

    async fn authenticate(&self) -> Result<String, Fault> {
        let Some((name, password)) = &self.user else {
            return Err(Fault::new(
                "etcd asks who it is, and no `username` is given",
            ));
        };
        let who = json!({"name": name, "password": password});
        let (answer, _connection) = self.send("/v3/auth/authenticate", &who, None).await?;
        let answer = Limited::new(answer, LARGEST).collect().await;
        let answer = answer.map_err(|error| Fault::new(format!("etcd broke off: {error}")))?;
        let answer = parse(&answer.to_bytes())?;
        let token = answer.get("token").and_then(Value::as_str);
        let token = token.ok_or_else(|| Fault::new("etcd gives no token"))?;
        *self.token() = Some(token.to_owned());
        Ok(token.to_owned())
    }

    fn token(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends to the member that answered last, or to the next that can be connected.
    async fn send(
        &self,
        path: &str,
        body: &Value,
        token: Option<&str>,
    ) -> Result<(Incoming, Driver), Fault> {
        let first = self.good.load(Ordering::Relaxed);
        let mut last = Fault::new("there is no member");
        for turn in 0..self.members.len() {
            let index = (first + turn) % self.members.len();
            let Some(member) = self.members.get(index) else {
                continue;
            };
            match self.send_to(member, path, body, token).await {
                Ok(answer) => {
                    self.good.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(fault) if fault.stranger => return Err(fault),
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    async fn send_to(
        &self,
        member: &str,
        path: &str,
        body: &Value,
        token: Option<&str>,
    ) -> Result<(Incoming, Driver), Fault> {
        let away = |error: &dyn fmt::Display| Fault::new(format!("{member}: {error}"));
        // A member that swallows connections must not hold up those behind it.
        let limit = CALL / u32::try_from(self.members.len()).unwrap_or(1).max(1);
        let connected = timeout(limit, TcpStream::connect(member)).await;
        let connected = connected.map_err(|_| away(&"it does not answer"))?;
        let socket = connected.map_err(|error| away(&error))?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE / 3)
            .with_retries(3);
        // Without it a dead watch is only found later.
        let _ = SockRef::from(&socket).set_tcp_keepalive(&keepalive);
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket))
            .await
            .map_err(|error| away(&error))?;
        let driver = Driver(tokio::spawn(async move {
            // Whoever waits for the answer sees the same error.
            let _ = connection.await;
        }));
        let mut request = Request::post(path)
            .header(header::HOST, member)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(Full::new(Bytes::from(body.to_string())));
        let request = request.map_err(|error| away(&error))?;
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| away(&error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok((answer.into_body(), driver));
        }
        let said = Limited::new(answer.into_body(), LARGEST).collect().await;
        let said = said.map(Collected::to_bytes).unwrap_or_default();
        let said: Value = serde_json::from_slice(&said).unwrap_or_default();
        let message = ["message", "error"]
            .iter()
            .find_map(|key| said.get(key)?.as_str());
        Err(Fault {
            message: format!(
                "{member} answers {status}: {}",
                message.unwrap_or("no reason")
            ),
            stranger: status == http::StatusCode::UNAUTHORIZED,
        })
    }
}

impl Answers {
    /// The next answer; `None` when it is over.
    pub(super) async fn next(&mut self) -> Result<Option<Value>, Fault> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return parse(&line).map(Some);
            }
            if self.read.len() > LARGEST {
                return Err(Fault::new("an answer of etcd does not end"));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(Fault::new(format!("etcd broke off: {error}"))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.read.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

/// An answer, or the error in its place.
fn parse(bytes: &[u8]) -> Result<Value, Fault> {
    let answer: Value = serde_json::from_slice(bytes)
        .map_err(|error| Fault::new(format!("etcd answers no JSON: {error}")))?;
    match answer.get("error") {
        Some(error) => {
            let said = error.get("message").unwrap_or(error);
            let said = said.as_str().unwrap_or("no reason");
            Err(Fault::new(format!("etcd refuses: {said}")))
        }
        None => Ok(answer),
    }
}

impl Fault {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            stranger: false,
        }
    }
}

impl From<Fault> for PrepareError {
    fn from(fault: Fault) -> Self {
        Self::new(fault.message)
    }
}
