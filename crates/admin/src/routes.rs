//! The endpoints.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout_at};
use transom_api::control::{Control, Readiness};
use transom_api::node::known;
use transom_config::ListenAddress;

use crate::answer::{Pieces, answer, text};
use crate::{dump, guard, logging, plugins, prometheus};

/// What answers requests; cheap to clone.
#[derive(Clone)]
pub(crate) struct Routes {
    router: TowerToHyperService<Router>,
    bound: Arc<ListenAddress>,
}

/// Each endpoint: method, path, and what it is for.
const ENDPOINTS: [(&str, &str, &str); 17] = [
    ("GET", "/", "this page"),
    (
        "GET",
        "/ready",
        "200 when traffic is served, 503 while starting and draining",
    ),
    ("GET", "/metrics", "all metrics, for Prometheus"),
    (
        "GET",
        "/config_dump",
        "the active configuration as JSON, secrets hidden",
    ),
    (
        "GET",
        "/clusters",
        "clusters and their hosts as JSON: health, load",
    ),
    (
        "GET",
        "/certificates",
        "the certificates of listeners and clusters as JSON, and when they end",
    ),
    (
        "POST",
        "/reload",
        "reads the configuration again: 200, or 400 and why not",
    ),
    (
        "POST",
        "/reopen_logs",
        "opens the files of access logs again, after they were moved away",
    ),
    (
        "GET",
        "/logging",
        "which lines of the process's log are written",
    ),
    (
        "POST",
        "/logging",
        "sets that: ?level=debug, or ?target=transom_proxy&level=debug",
    ),
    (
        "GET",
        "/api/v1/plugins",
        "plugins and their processes as JSON: state, calls, memory, sandbox, output",
    ),
    ("GET", "/api/v1/plugins/NAME", "one of them"),
    (
        "POST",
        "/api/v1/plugins/NAME/ORDER",
        "enable, disable, restart or swap",
    ),
    (
        "GET",
        "/plugin",
        "the same as MOSN has it: ?status=all, ?status=NAME",
    ),
    ("POST", "/plugin", "?enable=NAME, ?disable=NAME"),
    ("GET", "/api/v1/plugin", "as /plugin"),
    ("POST", "/api/v1/plugin", "as /plugin"),
];

/// What the endpoints work on.
pub(crate) struct Desk {
    pub(crate) control: Arc<dyn Control>,
    /// GET may change things where it does in MOSN.
    pub(crate) mosn_compatible: bool,
    /// One thing is rendered at a time: scrapes must not take the cores from the workers.
    rendering: Arc<Semaphore>,
    /// One reload at a time. Who comes meanwhile waits and then gets one of their own, because the file may have changed
    /// since the running one read it.
    reloading: Arc<Mutex<()>>,
}

pub(crate) type Shown = State<Arc<Desk>>;

impl Routes {
    pub(crate) fn new(
        control: Arc<dyn Control>,
        bound: ListenAddress,
        mosn_compatible: bool,
    ) -> Self {
        let desk = Desk {
            control,
            mosn_compatible,
            rendering: Arc::new(Semaphore::new(1)),
            reloading: Arc::default(),
        };
        let router = Router::new()
            .route("/", get(index))
            .route("/ready", get(ready))
            .route("/metrics", get(metrics))
            .route("/config_dump", get(config_dump))
            .route("/clusters", get(clusters))
            .route("/certificates", get(certificates))
            .route("/reload", post(reload))
            .route("/reopen_logs", post(reopen_logs))
            .route("/logging", get(logging::show).post(logging::set))
            .route("/plugin", get(plugins::mosn).post(plugins::mosn))
            .route("/api/v1/plugin", get(plugins::mosn).post(plugins::mosn))
            .route("/api/v1/plugins", get(plugins::all))
            .route("/api/v1/plugins/{name}", get(plugins::one))
            .route("/api/v1/plugins/{name}/{order}", post(plugins::order))
            .fallback(not_found)
            .method_not_allowed_fallback(wrong_method)
            .with_state(Arc::new(desk));
        Self {
            router: TowerToHyperService::new(router),
            bound: Arc::new(bound),
        }
    }

    /// Answers a request, late or in time, well-meant or not.
    pub(crate) async fn answer(&self, request: Request, deadline: Instant) -> Response {
        if let Err(refusal) = guard::check(&request, &self.bound) {
            return refusal.into_answer();
        }
        let (head, body) = request.into_parts();
        match timeout_at(deadline, guard::forget_body(body)).await {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => return refusal.into_answer(),
            Err(_) => {
                return text(
                    StatusCode::REQUEST_TIMEOUT,
                    "the request's body did not come in time",
                );
            }
        }
        let request = Request::from_parts(head, axum::body::Body::empty());
        match timeout_at(deadline, self.router.call(request)).await {
            Ok(Ok(answer)) => answer,
            Err(_) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "this took too long. A reload that has begun goes on: /config_dump shows when it is active.",
            ),
        }
    }
}

async fn index() -> Response {
    let mut page = "The admin interface of Transom\n\n".to_owned();
    for (method, path, what) in ENDPOINTS {
        page.push_str(&format!("{method:<5}{path:<28}{what}\n"));
    }
    text(StatusCode::OK, page)
}

async fn ready(State(desk): Shown) -> Response {
    match desk.control.readiness() {
        Readiness::Ready => text(StatusCode::OK, "ready"),
        Readiness::Starting => text(StatusCode::SERVICE_UNAVAILABLE, "starting"),
        Readiness::Draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining"),
    }
}

async fn metrics(State(desk): Shown) -> Response {
    desk.render(prometheus::CONTENT_TYPE, |control| {
        prometheus::render(&control.metrics()).into_bytes()
    })
    .await
}

async fn config_dump(State(desk): Shown) -> Response {
    desk.render("application/json", |control| {
        dump::render(control.config_dump())
    })
    .await
}

async fn clusters(State(desk): Shown) -> Response {
    desk.render("application/json", |control| {
        dump::render(control.clusters())
    })
    .await
}

async fn certificates(State(desk): Shown) -> Response {
    desk.render("application/json", |control| {
        dump::render(control.certificates())
    })
    .await
}

async fn reload(State(desk): Shown) -> Response {
    let turn = Arc::clone(&desk.reloading).lock_owned().await;
    // A task of its own: a client that goes away must not leave a configuration half activated.
    let reload = tokio::spawn(async move {
        let outcome = desk.control.reload().await;
        drop(turn);
        outcome
    });
    match reload.await {
        Ok(Ok(())) => text(StatusCode::OK, "the configuration is active"),
        Ok(Err(why)) => text(StatusCode::BAD_REQUEST, why),
        Err(fault) => failed("the reload", &fault),
    }
}

async fn reopen_logs(State(desk): Shown) -> Response {
    desk.control.reopen_logs();
    text(StatusCode::OK, "the files of access logs are opened again")
}

async fn not_found(uri: Uri) -> Response {
    let mut paths = ENDPOINTS.map(|(_, path, _)| path).to_vec();
    paths.dedup();
    let path = uri.path();
    text(
        StatusCode::NOT_FOUND,
        format!("there is no {path:?}: {}", known(path, "paths", &paths)),
    )
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let path = uri.path();
    let right: Vec<&str> = ENDPOINTS
        .iter()
        .filter(|(_, known, _)| is(known, path))
        .map(|(right, ..)| *right)
        .collect();
    let right = right.join(" or ");
    text(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{path} does not take {method}: use {right}"),
    )
}

/// Whether a path is that of an endpoint; words in capitals stand for any.
fn is(known: &str, path: &str) -> bool {
    let any = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase());
    let (mut known, mut path) = (known.split('/'), path.split('/'));
    loop {
        match (known.next(), path.next()) {
            (None, None) => return true,
            (Some(known), Some(word)) if known == word || any(known) => {}
            _ => return false,
        }
    }
}

impl Desk {
    /// Renders on a thread for blocking work, since neither reading nor writing it all fits a turn of the control thread.
    pub(crate) async fn render(
        &self,
        content_type: &'static str,
        work: impl FnOnce(&dyn Control) -> Vec<u8> + Send + 'static,
    ) -> Response {
        // The turn goes with the work, which ends later than its request when that ran out of time.
        let turn = Arc::clone(&self.rendering).acquire_owned().await;
        let control = Arc::clone(&self.control);
        let rendered = tokio::task::spawn_blocking(move || {
            let rendered = Pieces::cut(&work(&*control));
            drop(turn);
            rendered
        });
        match rendered.await {
            Ok(rendered) => answer(StatusCode::OK, content_type, rendered),
            Err(fault) => failed("rendering", &fault),
        }
    }
}

/// For panics, which are a fault of this program and no reason to end it.
pub(crate) fn failed(what: &str, fault: &tokio::task::JoinError) -> Response {
    tracing::error!(%fault, "{what} failed; please report this");
    text(
        StatusCode::INTERNAL_SERVER_ERROR,
        format!("{what} failed, and the log has the reason"),
    )
}
