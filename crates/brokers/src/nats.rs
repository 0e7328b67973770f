//! `nats`: subjects of a NATS server (core NATS). One connection for all who use the same settings; it is made again when it
//! breaks.
//!
//! A message counts as published when the server has answered a PING that was sent behind it: then the server has it, and those
//! who have subscribed get it. What a broken connection leaves without that answer is told as lost, for it may be.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use transom_api::{
    Broker, BrokerMessage, Brokers, Deliver, Factory, Node, ParseError, Parsed, Prepare,
    PrepareContext, PublishError, Published, Schema, Shape, Subscription,
};

use crate::wire::{self, Said, User};

/// Connecting and the first words.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a start waits for the first connection. Without one it goes on, and messages are refused until there is one.
const FIRST: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// A silent connection is asked whether it is there, and has so long to say so.
const IDLE: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(10);
/// So many messages are written together at most, behind them one PING.
const BATCH: usize = 256;
/// What servers take when they do not say.
const MAX_PAYLOAD: u64 = 1 << 20;

/// Makes connections to NATS.
#[derive(Debug)]
pub struct NatsFactory;

#[derive(Clone, Debug)]
struct Settings {
    servers: Vec<String>,
    user: User,
    queue: usize,
}

impl Factory<Brokers> for NatsFactory {
    fn schema(&self) -> Schema {
        Schema::object()
            .optional(
                "address",
                Schema::new(Shape::Any)
                    .describe("The servers: host and port; a list, or one text with commas.")
                    .or("127.0.0.1:4222"),
            )
            .optional("username", Schema::string().describe("Who publishes."))
            .optional(
                "password",
                Schema::string().describe("The user's password."),
            )
            .optional(
                "token",
                Schema::string().describe("In place of a user and a password."),
            )
            .optional(
                "queue",
                Schema::new(Shape::Integer(1, 1_000_000))
                    .describe("How many messages may wait to be written; more are refused.")
                    .or(8192),
            )
            .describe("Subjects of a NATS server.")
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<Brokers>>, ParseError> {
        let nothing = Node::map([]);
        let config = if config.is_null() { &nothing } else { config };
        let mut fields = config.as_fields()?;
        let address = fields.optional("address");
        let username = fields.optional("username");
        let password = fields.optional("password");
        let token = fields.optional("token");
        let queue = fields.optional("queue");
        fields.finish()?;
        let servers = match address {
            Some(node) => servers(node)?,
            None => vec!["127.0.0.1:4222".to_owned()],
        };
        let user = match (username, password, token) {
            (None, None, None) => User::Nobody,
            (Some(name), Some(password), None) => {
                User::Password(name.as_str()?.to_owned(), password.as_str()?.to_owned())
            }
            (None, None, Some(token)) => User::Token(token.as_str()?.to_owned()),
            (Some(node), ..) | (_, Some(node), _) => {
                return Err(
                    node.error("`username` and `password` belong together, without `token`")
                );
            }
        };
        let queue = match queue {
            Some(node) => usize::try_from(node.as_integer_in(1..=1_000_000)?).unwrap_or(1),
            None => 8192,
        };
        Ok(Arc::new(Settings {
            servers,
            user,
            queue,
        }))
    }
}

fn servers(node: &Node) -> Result<Vec<String>, ParseError> {
    let texts: Vec<String> = match node.as_list() {
        Ok(items) => items
            .iter()
            .map(|item| Ok(item.as_str()?.to_owned()))
            .collect::<Result<_, ParseError>>()?,
        Err(_) => node.as_str()?.split(',').map(str::to_owned).collect(),
    };
    let mut servers = Vec::new();
    for text in texts
        .iter()
        .map(|text| text.trim())
        .filter(|it| !it.is_empty())
    {
        if text.starts_with("tls://") {
            return Err(node
                .error("NATS is not spoken to with TLS")
                .with_help("let a proxy on this machine do that, or name a server without TLS"));
        }
        let text = text
            .strip_prefix("nats://")
            .unwrap_or(text)
            .trim_end_matches('/');
        let address = match text.rsplit_once(':') {
            None => format!("{text}:4222"),
            Some(_) => text.to_owned(),
        };
        let port = address
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse::<u16>().ok());
        if text.starts_with(':') || port.is_none_or(|port| port == 0) {
            return Err(node
                .error(format!("{text:?} is no address of a NATS server"))
                .with_help("write host and port, such as 127.0.0.1:4222"));
        }
        servers.push(address);
    }
    if servers.is_empty() {
        return Err(node.error("no server is named"));
    }
    Ok(servers)
}

impl Parsed<Brokers> for Settings {
    fn prepare(&self, _context: PrepareContext) -> Prepare<Brokers> {
        let settings = self.clone();
        Box::pin(async move {
            let (messages, queue) = mpsc::channel(settings.queue);
            let (orders, ordered) = mpsc::unbounded_channel();
            let (up, mut is_up) = watch::channel(false);
            let shared = Arc::new(Shared::default());
            let connection = Connection {
                settings,
                queue,
                ordered,
                shared: Arc::clone(&shared),
                up,
                subscribed: BTreeMap::new(),
            };
            tokio::spawn(connection.run());
            // A server that is away does not keep the proxy from starting.
            let _ = timeout(FIRST, is_up.wait_for(|up| *up)).await;
            let broker: Arc<dyn Broker> = Arc::new(Nats {
                messages,
                orders,
                shared,
            });
            Ok(broker)
        })
    }
}

/// A broker in use.
struct Nats {
    messages: mpsc::Sender<(BrokerMessage, Published)>,
    orders: mpsc::UnboundedSender<Order>,
    shared: Arc<Shared>,
}

/// What workers may know of the connection.
#[derive(Default)]
struct Shared {
    up: AtomicBool,
    /// Why there is none.
    why: Mutex<String>,
    numbers: Mutex<u64>,
}

enum Order {
    Subscribe(u64, String, Deliver),
    Unsubscribe(u64),
}

impl Broker for Nats {
    fn publish(&self, message: BrokerMessage, done: Published) -> Result<(), PublishError> {
        wire::check(&message).map_err(PublishError::Refused)?;
        if !self.shared.up.load(Ordering::Acquire) {
            return Err(PublishError::Away(self.shared.why()));
        }
        self.messages
            .try_send((message, done))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => PublishError::Full,
                mpsc::error::TrySendError::Closed(_) => {
                    PublishError::Away("it has ended".to_owned())
                }
            })
    }

    fn subscribe(&self, topic: &str, deliver: Deliver) -> Result<Subscription, PublishError> {
        if !wire::is_subject(topic, true) {
            return Err(PublishError::Refused(format!("{topic:?} is no subject")));
        }
        let number = {
            let mut last = self
                .shared
                .numbers
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *last += 1;
            *last
        };
        // Holds for connections that come later too.
        let _ = self
            .orders
            .send(Order::Subscribe(number, topic.to_owned(), deliver));
        Ok(Box::new(Held(number, self.orders.clone())))
    }
}

/// Ends a subscription when it is dropped.
struct Held(u64, mpsc::UnboundedSender<Order>);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.1.send(Order::Unsubscribe(self.0));
    }
}

impl Shared {
    fn why(&self) -> String {
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        match why.as_str() {
            "" => "it was not connected yet".to_owned(),
            why => why.to_owned(),
        }
    }
}

/// The task that has the connection. It ends when nobody uses the broker any more.
struct Connection {
    settings: Settings,
    queue: mpsc::Receiver<(BrokerMessage, Published)>,
    ordered: mpsc::UnboundedReceiver<Order>,
    shared: Arc<Shared>,
    up: watch::Sender<bool>,
    subscribed: BTreeMap<u64, (String, Deliver)>,
}

/// A message whose fate is not known yet.
type Waiting = (String, Published);

/// A connection that works.
struct Link {
    socket: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    has_headers: bool,
    max_payload: u64,
    /// Behind each PING that was not answered: the messages before it.
    waiting: VecDeque<Vec<Waiting>>,
    /// When the connection is dead unless something has come.
    dead_at: Option<Instant>,
}

impl Connection {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        let mut turn = 0;
        loop {
            let server = self
                .settings
                .servers
                .get(turn % self.settings.servers.len());
            let server = server.cloned().unwrap_or_default();
            turn += 1;
            let connected = timeout(CONNECT, self.connect(&server)).await;
            let connected =
                connected.unwrap_or_else(|_| Err(format!("no answer within {CONNECT:?}")));
            let why = match connected {
                Ok(mut link) => {
                    pause = FIRST_PAUSE;
                    tracing::info!(server, "NATS is connected");
                    self.shared.up.store(true, Ordering::Release);
                    self.up.send_replace(true);
                    let ended = self.serve(&mut link).await;
                    self.shared.up.store(false, Ordering::Release);
                    for (_, done) in link.waiting.drain(..).flatten() {
                        done(Err(PublishError::Away("the connection broke".to_owned())));
                    }
                    match ended {
                        Ok(()) => return,
                        Err(why) => why,
                    }
                }
                Err(why) => why,
            };
            let why = format!("{server}: {why}");
            {
                let mut told = self
                    .shared
                    .why
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                if *told != why {
                    tracing::warn!("NATS is away: {why}");
                    told.clone_from(&why);
                }
            }
            // What was queued before it broke.
            while let Ok((_, done)) = self.queue.try_recv() {
                done(Err(PublishError::Away(why.clone())));
            }
            if self.queue.is_closed() {
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn connect(&mut self, server: &str) -> Result<Link, String> {
        let text = |error: std::io::Error| error.to_string();
        let socket = TcpStream::connect(server).await.map_err(text)?;
        socket.set_nodelay(true).map_err(text)?;
        let mut link = Link {
            socket,
            input: Vec::new(),
            output: Vec::new(),
            has_headers: false,
            max_payload: MAX_PAYLOAD,
            waiting: VecDeque::new(),
            dead_at: None,
        };
        let Said::Info(info) = link.next().await? else {
            return Err("the server does not begin with INFO".to_owned());
        };
        link.note(&info);
        if info.get("tls_required").and_then(Value::as_bool) == Some(true) {
            return Err("the server wants TLS, which is not spoken to it".to_owned());
        }
        wire::connect(&self.settings.user, &mut link.output);
        link.output.extend_from_slice(b"PING\r\n");
        link.flush().await?;
        loop {
            match link.next().await? {
                Said::Pong => break,
                Said::Error(why) => return Err(why),
                Said::Ping => link.output.extend_from_slice(b"PONG\r\n"),
                _ => {}
            }
        }
        while let Ok(order) = self.ordered.try_recv() {
            self.note(order);
        }
        for (number, (topic, _)) in &self.subscribed {
            let line = format!("SUB {topic} {number}\r\n");
            link.output.extend_from_slice(line.as_bytes());
        }
        Ok(link)
    }

    /// Serves until the connection breaks, or nobody is left.
    async fn serve(&mut self, link: &mut Link) -> Result<(), String> {
        let mut batch = Vec::new();
        let mut idle_at = Instant::now() + IDLE;
        loop {
            link.flush().await?;
            while let Some((used, said)) = wire::read(&link.input)? {
                link.input.drain(..used);
                link.dead_at = None;
                self.heard(link, said)?;
            }
            if !link.output.is_empty() {
                continue;
            }
            let dead_at = link.dead_at;
            let dead = async {
                match dead_at {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                count = self.queue.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return Ok(());
                    }
                    link.publish(batch.drain(..));
                }
                order = self.ordered.recv() => {
                    if let Some(order) = order {
                        let line = match &order {
                            Order::Subscribe(number, topic, _) => format!("SUB {topic} {number}\r\n"),
                            Order::Unsubscribe(number) => format!("UNSUB {number}\r\n"),
                        };
                        link.output.extend_from_slice(line.as_bytes());
                        self.note(order);
                    }
                }
                count = link.socket.read_buf(&mut link.input) => {
                    match count {
                        Ok(0) => return Err("the server has closed the connection".to_owned()),
                        Ok(_) => idle_at = Instant::now() + IDLE,
                        Err(error) => return Err(error.to_string()),
                    }
                }
                () = sleep_until(idle_at) => {
                    idle_at = Instant::now() + IDLE;
                    link.publish([].into_iter());
                }
                () = dead => return Err(format!("the server has not answered for {PATIENCE:?}")),
            }
        }
    }

    fn heard(&mut self, link: &mut Link, said: Said) -> Result<(), String> {
        match said {
            Said::Info(info) => link.note(&info),
            Said::Ping => link.output.extend_from_slice(b"PONG\r\n"),
            Said::Pong => {
                for (_, done) in link.waiting.pop_front().unwrap_or_default() {
                    done(Ok(()));
                }
                if !link.waiting.is_empty() {
                    link.dead_at = Some(Instant::now() + PATIENCE);
                }
            }
            Said::Ok => {}
            Said::Message(number, message) => {
                if let Some((_, deliver)) = self.subscribed.get(&number) {
                    deliver(message);
                }
            }
            Said::Error(why) => {
                // The only fault that leaves the connection as it is (the server's own documentation).
                let Some(topic) = refused_topic(&why) else {
                    return Err(why);
                };
                tracing::warn!("NATS refuses: {why}");
                link.refuse(topic, &why);
            }
        }
        Ok(())
    }

    fn note(&mut self, order: Order) {
        match order {
            Order::Subscribe(number, topic, deliver) => {
                self.subscribed.insert(number, (topic, deliver));
            }
            Order::Unsubscribe(number) => {
                self.subscribed.remove(&number);
            }
        }
    }
}

/// `Permissions Violation for Publish to "topic"`
fn refused_topic(why: &str) -> Option<&str> {
    why.to_ascii_lowercase()
        .starts_with("permissions violation")
        .then_some(())?;
    why.split('"').nth(1)
}

impl Link {
    fn note(&mut self, info: &Value) {
        if let Some(has) = info.get("headers").and_then(Value::as_bool) {
            self.has_headers = has;
        }
        if let Some(most) = info.get("max_payload").and_then(Value::as_u64) {
            self.max_payload = most;
        }
    }

    /// Writes messages, and behind them the PING that tells that the server has them.
    fn publish(&mut self, messages: impl Iterator<Item = (BrokerMessage, Published)>) {
        let mut sent = Vec::new();
        for (message, done) in messages {
            let size: usize = message
                .headers
                .iter()
                .map(|it| it.0.len() + it.1.len() + 4)
                .sum();
            if (size + message.body.len() + 16) as u64 > self.max_payload {
                let most = self.max_payload;
                let why = format!("it takes messages of up to {most} bytes");
                done(Err(PublishError::Refused(why)));
                continue;
            }
            wire::publish(&message, self.has_headers, &mut self.output);
            sent.push((message.topic, done));
        }
        self.output.extend_from_slice(b"PING\r\n");
        self.waiting.push_back(sent);
        self.dead_at.get_or_insert(Instant::now() + PATIENCE);
    }

    /// The server does not let this client publish to a topic.
    fn refuse(&mut self, topic: &str, why: &str) {
        for batch in &mut self.waiting {
            let refused = batch.extract_if(.., |(known, _)| known == topic);
            for (_, done) in refused {
                done(Err(PublishError::Refused(why.to_owned())));
            }
        }
    }

    async fn flush(&mut self) -> Result<(), String> {
        if self.output.is_empty() {
            return Ok(());
        }
        let written = timeout(PATIENCE, self.socket.write_all(&self.output)).await;
        self.output.clear();
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the server has not read for {PATIENCE:?}")),
        }
    }

    async fn next(&mut self) -> Result<Said, String> {
        loop {
            if let Some((used, said)) = wire::read(&self.input)? {
                self.input.drain(..used);
                return Ok(said);
            }
            match self.socket.read_buf(&mut self.input).await {
                Ok(0) => return Err("the server has closed the connection".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_hosts_with_or_without_ports() {
        let of = |text: &str| servers(&Node::from(text)).ok();
        let all = of("nats://a, b:1 ,[::1]:4222").unwrap();
        assert_eq!(all, ["a:4222", "b:1", "[::1]:4222"]);
        for bad in ["", ":1", "a:0", "a:x", "tls://a"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_a_missing_permission_leaves_the_connection() {
        let why = "Permissions Violation for Publish to \"a.b\"";
        assert_eq!(refused_topic(why), Some("a.b"));
        assert_eq!(refused_topic("Authorization Violation"), None);
    }
}
