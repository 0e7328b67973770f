//! The test's side of the filters: what they observed, and what they wait for.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use transom_api::Resumer;

use crate::certificates::Shelf;

/// How long a test waits for something before it fails: far longer than it ever takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the filters of one registry observed, and their resumers. Cloning is cheap.
#[derive(Clone, Default)]
pub struct Lab {
    inner: Arc<Inner>,
    shelf: Shelf,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    notes: Vec<String>,
    held: Vec<(String, Resumer)>,
}

impl Lab {
    /// Writes down that something happened.
    pub fn note(&self, note: impl Into<String>) {
        self.change(|state| state.notes.push(note.into()));
    }

    /// All that was noted so far.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.lock().notes.clone()
    }

    /// All that was noted so far, which is then forgotten.
    pub fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().notes)
    }

    /// How often `note` was noted so far.
    #[must_use]
    pub fn count(&self, note: &str) -> usize {
        self.lock().notes.iter().filter(|it| *it == note).count()
    }

    /// Waits until `note` is noted.
    ///
    /// # Panics
    /// When that takes longer than ten seconds.
    pub fn wait_for(&self, note: &str) {
        self.wait_for_times(note, 1);
    }

    /// Waits until `note` is noted so many times.
    ///
    /// # Panics
    /// When that takes longer than ten seconds.
    pub fn wait_for_times(&self, note: &str, times: usize) {
        self.wait(&format!("{times} times `{note}`"), |state| {
            (state.notes.iter().filter(|it| *it == note).count() >= times).then_some(())
        });
    }

    /// Waits for a note that begins so, and gives back all of it.
    ///
    /// # Panics
    /// When that takes longer than ten seconds.
    #[must_use]
    pub fn wait_for_prefix(&self, prefix: &str) -> String {
        self.wait(&format!("a note that begins with `{prefix}`"), |state| {
            state
                .notes
                .iter()
                .find(|it| it.starts_with(prefix))
                .cloned()
        })
    }

    /// Waits for the resumer of the next filter that waits under this name.
    ///
    /// # Panics
    /// When that takes longer than ten seconds.
    #[must_use]
    pub fn resumer(&self, name: &str) -> Resumer {
        self.wait(&format!("a filter that waits as `{name}`"), |state| {
            let at = state.held.iter().position(|(held, _)| held == name)?;
            Some(state.held.remove(at).1)
        })
    }

    /// What the certificate providers answer.
    #[must_use]
    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Keeps the resumer of a filter that waits.
    pub(crate) fn hold(&self, name: &str, resumer: Resumer) {
        self.change(|state| state.held.push((name.to_owned(), resumer)));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.inner.changed.notify_all();
    }

    fn wait<T>(&self, what: &str, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.lock();
        loop {
            if let Some(found) = look(&mut state) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "waited for {what}; noted: {:#?}",
                state.notes
            );
            let waited = self.inner.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that failed while it held the lock has left nothing half done.
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lab").field("notes", &self.notes()).finish()
    }
}
