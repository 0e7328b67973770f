//! Watches the folders of plugins: what is put into one, changed or taken away has the configuration read again.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::fs::inotify;
use tokio::sync::Notify;

use crate::control::Running;

/// So long it has to be quiet in a folder: a program is written, given its mode and its name by several steps.
const QUIET: Duration = Duration::from_millis(300);

/// The longest that a folder in which something happens all the time is not looked at.
const AT_LAST: Duration = Duration::from_secs(5);

/// How often folders are looked at besides: some file systems tell nothing, a folder may be made later, and a reload may name another.
const LOOK: Duration = Duration::from_secs(3);

/// Has folders of plugins read again when something happened there, until the program ends.
pub(crate) async fn follow(running: Weak<Running>) {
    let mut folders = Folders::new();
    loop {
        let wanted = match running.upgrade() {
            Some(running) => running.folders(),
            None => return,
        };
        let is_new = folders.watch(wanted);
        if !is_new {
            folders.wait().await;
        }
        // Of a folder that was not watched until now it is not known what happened since it was read.
        if !folders.look() && !is_new {
            continue;
        }
        let Some(running) = running.upgrade() else {
            return;
        };
        match running.reload_folders().await {
            Ok(()) => tracing::info!("the folders of plugins were read"),
            Err(error) => tracing::error!(
                "folders of plugins have changed, and what was active stays:\n{error}"
            ),
        }
    }
}

/// What happens in folders.
struct Folders {
    /// None where the system has no more of them: then folders are looked at from time to time.
    watch: Option<Arc<OwnedFd>>,
    /// Told by a thread of its own, which reads what the kernel says.
    told: Arc<Notify>,
    watched: Vec<PathBuf>,
    /// The kernel's numbers of those that it watches.
    numbers: Vec<i32>,
    /// What lay there at the last look.
    seen: BTreeMap<PathBuf, (u64, i64, i64)>,
}

impl Folders {
    /// Watches nothing yet.
    fn new() -> Self {
        Self {
            watch: None,
            told: Arc::new(Notify::new()),
            watched: Vec::new(),
            numbers: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    /// Has the kernel tell what happens.
    fn start(&mut self) {
        let Ok(watch) = inotify::init(inotify::CreateFlags::CLOEXEC).map(Arc::new) else {
            return;
        };
        let (told, reader) = (Arc::clone(&self.told), Arc::clone(&watch));
        let read = move || {
            let mut buffer = [0; 4096];
            // It waits in the kernel as long as the process lives.
            loop {
                match rustix::io::read(&*reader, &mut buffer) {
                    Ok(1..) => told.notify_one(),
                    Err(rustix::io::Errno::INTR) => {}
                    Ok(0) | Err(_) => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name("folders".to_owned());
        if thread.spawn(read).is_ok() {
            self.watch = Some(watch);
        }
    }

    /// Watches these folders from now on. Whether they are others than before.
    fn watch(&mut self, folders: Vec<PathBuf>) -> bool {
        let is_new = self.watched != folders;
        self.watched = folders;
        if self.watch.is_none() && !self.watched.is_empty() {
            self.start();
        }
        let Some(watch) = &self.watch else {
            return is_new;
        };
        if is_new {
            for number in self.numbers.drain(..) {
                // One whose folder is gone is not watched any more.
                let _ = inotify::remove_watch(watch, number);
            }
        }
        let events = inotify::WatchFlags::CREATE
            | inotify::WatchFlags::CLOSE_WRITE
            | inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::ATTRIB
            | inotify::WatchFlags::MOVED_FROM
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::ONLYDIR;
        // One that is not there is looked for from time to time; one that is watched already keeps its number.
        let watched = self.watched.iter();
        self.numbers = watched
            .filter_map(|folder| inotify::add_watch(watch, folder, events).ok())
            .collect();
        is_new
    }

    /// Waits until something has happened in a folder, and then until it is quiet there; or for a while.
    async fn wait(&self) {
        if tokio::time::timeout(LOOK, self.told.notified())
            .await
            .is_ok()
        {
            let settled = async {
                while tokio::time::timeout(QUIET, self.told.notified())
                    .await
                    .is_ok()
                {}
            };
            let _ = tokio::time::timeout(AT_LAST, settled).await;
        }
    }

    /// Looks at what lies in the folders. Whether it is not what it was.
    fn look(&mut self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let files = self
            .watched
            .iter()
            .filter_map(|folder| std::fs::read_dir(folder).ok())
            .flatten()
            .flatten();
        let now = files
            .filter_map(|file| {
                let path = file.path();
                let file = std::fs::metadata(&path).ok()?;
                // The time of the last change of anything: names and modes too.
                Some((path, (file.ino(), file.ctime(), file.ctime_nsec())))
            })
            .collect();
        let changed = self.seen != now;
        self.seen = now;
        changed
    }
}
