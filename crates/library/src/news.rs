//! News of what lives on the control side: a library posts to a resumer, and the proxy asks again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use transom_api::event::{Address, Inbox, Message};
use transom_api::{Changed, Resumer};

/// The resumer that a library gets, and where its posts go.
pub(crate) struct News {
    resumer: Resumer,
    teller: Arc<Teller>,
}

/// Hands posts on to whoever listens; what comes before somebody does is kept.
#[derive(Default)]
struct Teller {
    told: AtomicBool,
    changed: OnceLock<Changed>,
}

impl News {
    pub(crate) fn new() -> Self {
        let teller = Arc::<Teller>::default();
        let nobody = Address {
            slot: 0,
            generation: 0,
            filter: 0,
        };
        Self {
            resumer: Resumer::new(Arc::<Teller>::clone(&teller), nobody),
            teller,
        }
    }

    pub(crate) fn resumer(&self) -> &Resumer {
        &self.resumer
    }

    /// From now on posts are told.
    pub(crate) fn listen(&self, changed: Changed) {
        // Whoever listens is told of by its first word: the host listens once.
        let _ = self.teller.changed.set(changed);
        if self.teller.told.swap(false, Ordering::AcqRel)
            && let Some(changed) = self.teller.changed.get()
        {
            changed.tell();
        }
    }
}

impl Inbox for Teller {
    fn post(&self, _to: Address, _message: Message) {
        // Before the look at who listens: one of the two sees the other.
        self.told.store(true, Ordering::SeqCst);
        if let Some(changed) = self.changed.get() {
            changed.tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn what_is_posted_before_anybody_listens_is_told_then() {
        let news = News::new();
        news.resumer().post(1);
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        news.listen(Changed::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        }));
        assert_eq!(count.load(Ordering::Relaxed), 1);
        news.resumer().clone().post(2);
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }
}
