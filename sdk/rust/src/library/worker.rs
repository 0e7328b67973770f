//! A worker of the host's, as an extension's part on it sees it.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use transom_abi::{self as abi, Handle};
use transom_api::host::{LocalTask, WorkerHost};
use transom_api::{Event, Resumer, Worker};

use super::host::call;
use super::later::Later;
use super::record::record_and_later;

/// What is kept of a worker's part between its events.
#[derive(Default)]
pub(crate) struct KeptWorker {
    later: RefCell<Later>,
    tasks: Rc<RefCell<Vec<Option<LocalTask>>>>,
}

/// A worker during a callback.
pub(crate) struct GuestWorker<'k> {
    handle: Handle,
    later: &'k mut Later,
    tasks: Rc<RefCell<Vec<Option<LocalTask>>>>,
}

record_and_later!(GuestWorker<'_>);

/// A post with this payload has a task of the part polled again.
struct Poke(usize);

struct Wakes {
    resumer: Resumer,
    task: usize,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.resumer.post_with(0, Poke(self.task));
    }
}

impl WorkerHost for GuestWorker<'_> {
    fn worker_index(&self) -> usize {
        self.numbers().0
    }

    fn worker_count(&self) -> usize {
        self.numbers().1
    }

    fn spawn(&mut self, task: LocalTask) {
        let mut tasks = self.tasks.borrow_mut();
        let free = tasks.iter().position(Option::is_none);
        let at = free.unwrap_or(tasks.len());
        match tasks.get_mut(at) {
            Some(slot) => *slot = Some(task),
            None => tasks.push(Some(task)),
        }
        self.later.resumer(self.handle).post_with(0, Poke(at));
    }
}

impl GuestWorker<'_> {
    fn numbers(&self) -> (usize, usize) {
        let (mut index, mut count) = (0, 1);
        call!(worker_index(self.handle, &raw mut index, &raw mut count));
        let wide = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        (wide(index), wide(count))
    }
}

impl KeptWorker {
    /// Does something with the worker of a handle.
    pub(crate) fn with<T>(&self, handle: Handle, act: impl FnOnce(&mut Worker<'_>) -> T) -> T {
        let mut later = self.later.borrow_mut();
        let mut host = GuestWorker {
            handle,
            later: &mut later,
            tasks: Rc::clone(&self.tasks),
        };
        act(&mut Worker::new(&mut host))
    }

    /// An event of the part's own; one that is for a task is given to it.
    ///
    /// # Safety
    ///
    /// `event` must be what the host shows.
    pub(crate) unsafe fn event(&self, handle: Handle, event: *const abi::Event) -> Option<Event> {
        // SAFETY: Promised by the caller.
        let event = unsafe { self.later.borrow().event(event) }?;
        let Event::Resumed(mut message) = event else {
            return Some(event);
        };
        let is_poke = |payload: &Box<dyn Any + Send>| payload.is::<Poke>();
        if !message.payload.as_ref().is_some_and(is_poke) {
            return Some(Event::Resumed(message));
        }
        let Poke(at) = message.take()?;
        // Taken out, so that it may spawn others.
        let mut task = self.tasks.borrow_mut().get_mut(at)?.take()?;
        let resumer = self.later.borrow_mut().resumer(handle);
        let waker = Waker::from(Arc::new(Wakes { resumer, task: at }));
        let polled = task.as_mut().poll(&mut Context::from_waker(&waker));
        if polled == Poll::Pending
            && let Some(slot) = self.tasks.borrow_mut().get_mut(at)
        {
            *slot = Some(task);
        }
        None
    }
}
