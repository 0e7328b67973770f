//! Where events for waiting filters lie until their stream or connection looks.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::task::Waker;

use tokio::task::AbortHandle;
use transom_api::Event;
use transom_api::event::Address;

/// The mailboxes of a worker's streams, connections and parts. Only those that asked for an address have one.
#[derive(Debug, Default)]
pub(crate) struct Mailboxes {
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    boxes: Vec<Mailbox>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Mailbox {
    /// Which of the successive owners: news for an earlier one is dropped.
    generation: u32,
    queue: VecDeque<(u32, Event)>,
    waker: Option<Waker>,
    /// Timers and callouts of the owner, ended with it.
    tasks: Vec<(u64, AbortHandle)>,
}

impl Mailboxes {
    /// A mailbox and the generation of its new owner.
    pub(crate) fn claim(&self) -> (u32, u32) {
        let mut inner = self.inner.borrow_mut();
        let slot = inner.free.pop().unwrap_or(inner.boxes.len() as u32);
        if slot as usize == inner.boxes.len() {
            inner.boxes.push(Mailbox::default());
        }
        let generation = inner
            .boxes
            .get(slot as usize)
            .map_or(0, |mailbox| mailbox.generation);
        (slot, generation)
    }

    /// Ends an owner: what lies there is dropped, what it started is ended.
    pub(crate) fn release(&self, slot: u32) {
        let mut inner = self.inner.borrow_mut();
        let Some(mailbox) = inner.boxes.get_mut(slot as usize) else {
            return;
        };
        mailbox.generation = mailbox.generation.wrapping_add(1);
        mailbox.waker = None;
        let queue = std::mem::take(&mut mailbox.queue);
        let tasks = std::mem::take(&mut mailbox.tasks);
        inner.free.push(slot);
        drop(inner);
        // A payload's drop may do anything, post to another mailbox for instance.
        drop(queue);
        for (_, task) in tasks {
            task.abort();
        }
    }

    /// Puts an event into the owner's mailbox and wakes it. Dropped when that owner is gone.
    pub(crate) fn deliver(&self, to: Address, event: Event) {
        let mut inner = self.inner.borrow_mut();
        let Some(mailbox) = inner.boxes.get_mut(to.slot as usize) else {
            return;
        };
        if mailbox.generation != to.generation {
            drop(inner);
            drop(event);
            return;
        }
        mailbox.queue.push_back((to.filter, event));
        if let Some(waker) = &mailbox.waker {
            waker.wake_by_ref();
        }
    }

    /// The next event in a mailbox, with the filter it is for.
    pub(crate) fn take(&self, slot: u32) -> Option<(u32, Event)> {
        self.inner
            .borrow_mut()
            .boxes
            .get_mut(slot as usize)?
            .queue
            .pop_front()
    }

    pub(crate) fn has_mail(&self, slot: u32) -> bool {
        self.inner
            .borrow()
            .boxes
            .get(slot as usize)
            .is_some_and(|mailbox| !mailbox.queue.is_empty())
    }

    /// Who is woken by news.
    pub(crate) fn set_waker(&self, slot: u32, waker: &Waker) {
        if let Some(mailbox) = self.inner.borrow_mut().boxes.get_mut(slot as usize)
            && !mailbox
                .waker
                .as_ref()
                .is_some_and(|known| known.will_wake(waker))
        {
            mailbox.waker = Some(waker.clone());
        }
    }

    /// Makes a task end with the owner.
    pub(crate) fn own(&self, owner: Address, id: u64, task: AbortHandle) {
        match self.owned(owner) {
            Some(mut mailbox) => mailbox.tasks.push((id, task)),
            None => task.abort(),
        }
    }

    /// Takes a task from its owner: it has ended, or is to be ended.
    pub(crate) fn disown(&self, owner: Address, id: u64) -> Option<AbortHandle> {
        let mut mailbox = self.owned(owner)?;
        let at = mailbox.tasks.iter().position(|(task, _)| *task == id)?;
        Some(mailbox.tasks.swap_remove(at).1)
    }

    fn owned(&self, owner: Address) -> Option<std::cell::RefMut<'_, Mailbox>> {
        std::cell::RefMut::filter_map(self.inner.borrow_mut(), |inner| {
            inner
                .boxes
                .get_mut(owner.slot as usize)
                .filter(|mailbox| mailbox.generation == owner.generation)
        })
        .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use transom_api::TimerId;

    fn address(slot: u32, generation: u32) -> Address {
        Address {
            slot,
            generation,
            filter: 3,
        }
    }

    #[test]
    fn events_keep_their_order() {
        let mailboxes = Mailboxes::default();
        let (slot, generation) = mailboxes.claim();
        for number in 0..3 {
            mailboxes.deliver(address(slot, generation), Event::Timer(TimerId(number)));
        }
        let order: Vec<_> = std::iter::from_fn(|| mailboxes.take(slot))
            .map(|(filter, event)| match event {
                Event::Timer(TimerId(number)) => (filter, number),
                _ => panic!("a timer"),
            })
            .collect();
        assert_eq!(order, [(3, 0), (3, 1), (3, 2)]);
    }

    #[test]
    fn news_for_an_earlier_owner_is_dropped() {
        let mailboxes = Mailboxes::default();
        let (slot, generation) = mailboxes.claim();
        mailboxes.deliver(address(slot, generation), Event::Drain);
        mailboxes.release(slot);
        let (again, next) = mailboxes.claim();
        assert_eq!(again, slot);
        assert_ne!(next, generation);
        mailboxes.deliver(address(slot, generation), Event::Drain);
        assert!(mailboxes.take(slot).is_none());
        mailboxes.deliver(address(9, 0), Event::Drain);
    }
}
