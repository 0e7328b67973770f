//! Where workers run. Filters never leave their thread, so each thread has an event loop of its own.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

type Local = Pin<Box<dyn Future<Output = ()>>>;
type Job = Box<dyn FnOnce() -> Local + Send>;

pub(crate) struct Threads {
    /// Empty: all runs on the thread that serves.
    others: Vec<UnboundedSender<Job>>,
    next: AtomicUsize,
}

impl Threads {
    /// One thread is the one that serves; more are threads beside it.
    pub(crate) fn new(count: usize) -> io::Result<Self> {
        let mut others = Vec::new();
        if count > 1 {
            for index in 0..count {
                others.push(start(index)?);
            }
        }
        Ok(Self {
            others,
            next: AtomicUsize::new(0),
        })
    }

    /// Runs what `job` makes to its end, on the next thread.
    pub(crate) fn run<F>(&self, job: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        match self.others.get(next % self.others.len().max(1)) {
            Some(thread) => {
                let job: Job = Box::new(move || Box::pin(job()));
                // The threads last as long as the process.
                let _ = thread.send(job);
            }
            None => drop(tokio::task::spawn_local(job())),
        }
    }
}

fn start(index: usize) -> io::Result<UnboundedSender<Job>> {
    let (sender, mut jobs) = unbounded_channel::<Job>();
    let runtime = tokio::runtime::Builder::new_current_thread();
    std::thread::Builder::new()
        .name(format!("filters-{index}"))
        .spawn(move || {
            let mut runtime = runtime;
            match runtime.enable_all().build_local(Default::default()) {
                Ok(runtime) => runtime.block_on(async {
                    while let Some(job) = jobs.recv().await {
                        tokio::task::spawn_local(job());
                    }
                }),
                Err(error) => {
                    tracing::error!(%error, "a thread for filters cannot have an event loop");
                }
            }
        })?;
    Ok(sender)
}
