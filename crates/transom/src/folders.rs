//! Watches the folders of plugins: what is put into one, changed or taken away has the configuration read again.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Weak;
use std::time::Duration;

use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;

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
    watch: Option<AsyncFd<OwnedFd>>,
    watched: Vec<PathBuf>,
    /// What lay there at the last look.
    seen: BTreeMap<PathBuf, (u64, i64, i64)>,
}

impl Folders {
    /// Watches nothing yet.
    fn new() -> Self {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let watch = inotify::init(flags).ok();
        Self {
            // Without it folders are looked at from time to time.
            watch: watch.and_then(|watch| AsyncFd::register(watch).ok()),
            watched: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    /// Watches these folders from now on. Whether they are others than before.
    fn watch(&mut self, folders: Vec<PathBuf>) -> bool {
        let is_new = self.watched != folders;
        if is_new {
            // A new descriptor forgets the old folders.
            *self = Self::new();
            self.watched = folders;
        }
        let events = inotify::WatchFlags::CREATE
            | inotify::WatchFlags::CLOSE_WRITE
            | inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::ATTRIB
            | inotify::WatchFlags::MOVED_FROM
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::ONLYDIR;
        for folder in &self.watched {
            if let Some(watch) = &self.watch {
                // One that is not there is looked for from time to time; one that is watched already stays so.
                let _ = inotify::add_watch(watch, folder, events);
            }
        }
        is_new
    }

    /// Waits until something has happened in a folder, and then until it is quiet there; or for a while.
    async fn wait(&self) {
        if tokio::time::timeout(LOOK, self.event()).await.is_ok() {
            let settled =
                async { while tokio::time::timeout(QUIET, self.event()).await.is_ok() {} };
            let _ = tokio::time::timeout(AT_LAST, settled).await;
        }
    }

    /// Waits for the next event, and takes all that there are.
    async fn event(&self) {
        let Some(watch) = &self.watch else {
            return std::future::pending().await;
        };
        loop {
            let Ok(mut ready) = watch.readable().await else {
                return std::future::pending().await;
            };
            let mut buffer = [0; 4096];
            let mut any = false;
            while rustix::io::read(watch, &mut buffer).is_ok_and(|read| read > 0) {
                any = true;
            }
            ready.clear_ready();
            if any {
                return;
            }
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
