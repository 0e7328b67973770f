//! A proxy that only pretends, and the admin interface that shows it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use transom_admin::{Admin, AdminError};
use transom_api::Level;
use transom_api::Node;
use transom_api::control::{
    Control, LogLevels, MetricFamily, Ordered, PluginAnswer, PluginAnswered, PluginFault,
    PluginOrder, PluginOrdered, Readiness,
};
use transom_config::ListenAddress;

type Reload = Box<dyn FnMut() -> Ordered + Send>;

/// What the pretended proxy says.
pub(crate) struct Pretended {
    pub(crate) readiness: Mutex<Readiness>,
    pub(crate) metrics: Vec<MetricFamily>,
    pub(crate) config: Node,
    pub(crate) reload: Mutex<Reload>,
    pub(crate) levels: Mutex<LogLevels>,
    pub(crate) reopened: AtomicU32,
}

/// A served admin interface.
pub(crate) struct Served {
    pub(crate) address: ListenAddress,
    pub(crate) proxy: Arc<Pretended>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), AdminError>>,
}

/// A temporary folder that goes with the value.
pub(crate) struct Folder(PathBuf);

impl Default for Pretended {
    fn default() -> Self {
        Self {
            readiness: Mutex::new(Readiness::Ready),
            metrics: Vec::new(),
            config: Node::null(),
            reload: Mutex::new(Box::new(|| Box::pin(async { Ok(()) }))),
            levels: Mutex::new(LogLevels {
                all: "info".to_owned(),
                ..LogLevels::default()
            }),
            reopened: AtomicU32::new(0),
        }
    }
}

impl Pretended {
    /// A proxy whose reload does what `reload` makes.
    pub(crate) fn with_reload<F>(mut reload: impl FnMut() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self {
            reload: Mutex::new(Box::new(move || Box::pin(reload()))),
            ..Self::default()
        }
    }

    /// Serves it on a loopback port of the system's choice.
    pub(crate) fn serve(self) -> Served {
        self.serve_on(&"127.0.0.1:0".parse().unwrap())
    }

    /// With `admin.mosn_compatible`, or without.
    pub(crate) fn serve_as(self, mosn_compatible: bool) -> Served {
        let admin = transom_config::Admin {
            address: "127.0.0.1:0".parse().unwrap(),
            mosn_compatible,
        };
        self.serve_by(Admin::bind(&admin).unwrap())
    }

    pub(crate) fn serve_on(self, address: &ListenAddress) -> Served {
        self.serve_by(bind(address).unwrap())
    }

    fn serve_by(self, admin: Admin) -> Served {
        let address = admin.local_address().clone();
        let proxy = Arc::new(self);
        let (stop, stopped) = oneshot::channel();
        let control: Arc<dyn Control> = Arc::<Self>::clone(&proxy);
        let serving = tokio::spawn(admin.serve(control, async {
            let _ = stopped.await;
        }));
        Served {
            address,
            proxy,
            stop,
            serving,
        }
    }
}

impl Served {
    /// Asks for the shutdown and waits for its end.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
    }
}

pub(crate) fn bind(address: &ListenAddress) -> Result<Admin, AdminError> {
    Admin::bind(&transom_config::Admin {
        address: address.clone(),
        mosn_compatible: false,
    })
}

impl Control for Pretended {
    fn readiness(&self) -> Readiness {
        *self.readiness.lock().unwrap()
    }

    fn metrics(&self) -> Vec<MetricFamily> {
        self.metrics.clone()
    }

    fn config_dump(&self) -> Node {
        self.config.clone()
    }

    fn clusters(&self) -> Node {
        Node::list([Node::map([("name", "backend".into())])])
    }

    fn certificates(&self) -> Node {
        Node::list([Node::map([("name", "in".into())])])
    }

    fn reload(&self) -> Ordered {
        (self.reload.lock().unwrap())()
    }

    fn reopen_logs(&self) {
        self.reopened.fetch_add(1, Ordering::Relaxed);
    }

    fn log_levels(&self) -> LogLevels {
        self.levels.lock().unwrap().clone()
    }

    fn set_log_level(&self, target: Option<&str>, level: Option<Level>) -> Result<(), String> {
        let level = level.map_or("off", Level::name).to_owned();
        let mut levels = self.levels.lock().unwrap();
        match target {
            Some(target) => drop(levels.targets.insert(target.to_owned(), level)),
            None => levels.all = level,
        }
        Ok(())
    }

    fn plugin_names(&self) -> Vec<String> {
        vec!["auth".to_owned()]
    }

    fn plugins(&self) -> Node {
        Node::list(self.plugin("auth"))
    }

    fn plugin(&self, name: &str) -> Option<Node> {
        (name == "auth").then(|| Node::map([("name", name.into())]))
    }

    fn order_plugin(&self, name: &str, order: PluginOrder) -> PluginOrdered {
        let answer = match name {
            "auth" => Ok(order.name().to_owned()),
            "busy" => Err(PluginFault::Refused("not now".to_owned())),
            _ => Err(PluginFault::Unknown),
        };
        Box::pin(std::future::ready(answer))
    }

    fn plugin_query(&self, query: String, may_change: bool) -> PluginAnswered {
        Box::pin(std::future::ready(PluginAnswer {
            status: 200,
            body: format!("{query} {may_change}\n"),
        }))
    }
}

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("transom-admin-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The address of a Unix socket in the folder.
    pub(crate) fn socket(&self) -> (PathBuf, ListenAddress) {
        let path = self.0.join("admin.sock");
        (path.clone(), ListenAddress::Unix(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
