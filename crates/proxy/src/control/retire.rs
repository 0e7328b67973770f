//! The end of prepared objects: they are dropped here, off the workers, once no worker holds them any more.
//!
//! Dropping a configuration may free much memory, unmap a library or end a child process. A worker that let go of the
//! last hold would do that in the middle of traffic, so the control side keeps a hold of its own until it is the last.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::snapshot::{PreparedTerminal, Snapshot};

/// How often it is looked whether the workers have let go.
const LOOK: Duration = Duration::from_millis(250);

/// Something that workers may still hold.
pub(crate) trait Retired: Send {
    /// Whether nobody else holds it.
    fn is_last(&self) -> bool;
}

impl<T: ?Sized + Send + Sync> Retired for Arc<T> {
    fn is_last(&self) -> bool {
        Arc::strong_count(self) == 1
    }
}

/// What of a snapshot the one after it does not use any more.
pub(super) fn parts(before: Arc<Snapshot>, after: Option<&Snapshot>) -> Vec<Box<dyn Retired>> {
    let mut used = HashSet::new();
    if let Some(after) = after {
        visit(after, |address, _| {
            used.insert(address);
        });
    }
    let mut parts: Vec<Box<dyn Retired>> = Vec::new();
    visit(&before, |address, part| {
        if !used.contains(&address) {
            parts.push(part);
        }
    });
    // The snapshot itself goes now: with it the last hold on the sockets of listeners that are gone, which otherwise
    // would take connections that nobody serves.
    drop(before);
    parts
}

/// Shows every shared object of a snapshot, with its address to know it by.
fn visit(snapshot: &Snapshot, mut each: impl FnMut(*const (), Box<dyn Retired>)) {
    for cluster in snapshot.clusters.values() {
        show(&cluster.selector.config, &mut each);
        show(&cluster.table, &mut each);
        if let Some(tls) = &cluster.tls {
            show(tls, &mut each);
        }
        for used in &cluster.providers {
            show(&used.config, &mut each);
        }
        let choices = &cluster.choices;
        if let Some(followed) = &choices.followed {
            show(&followed.registry.config, &mut each);
        }
        if let Some(used) = &choices.transport {
            show(&used.config, &mut each);
        }
        if let Some(used) = &choices.client {
            show(&used.config, &mut each);
        }
    }
    snapshot.extensions.visit(&mut each);
    snapshot.plugins.visit(&mut each);
    for listener in snapshot.udp_listeners.values() {
        for used in &listener.access_logs {
            show(&used.config, &mut each);
        }
    }
    for listener in snapshot.listeners.values() {
        for used in &listener.listener_filters {
            show(&used.config, &mut each);
        }
        for used in &listener.access_logs {
            show(&used.config, &mut each);
        }
        for chain in &listener.chains {
            for used in &chain.network_filters {
                show(&used.config, &mut each);
            }
            if let Some(tls) = &chain.tls {
                show(&tls.tls, &mut each);
                for used in &tls.providers {
                    show(&used.config, &mut each);
                }
            }
            for used in chain.terminal.access_logs() {
                show(&used.config, &mut each);
            }
            if let PreparedTerminal::Http(http) = &chain.terminal {
                for used in &http.uses {
                    show(&used.config, &mut each);
                }
                if let Some(used) = &http.protocol {
                    show(&used.config, &mut each);
                }
                show(&http.table, &mut each);
            }
        }
    }
}

fn show<T: ?Sized + Send + Sync + 'static>(
    object: &Arc<T>,
    each: &mut impl FnMut(*const (), Box<dyn Retired>),
) {
    each(Arc::as_ptr(object).cast(), Box::new(Arc::clone(object)));
}

/// Keeps objects until nobody else does, then drops them on a thread for blocking work.
pub(super) fn retire(mut objects: Vec<Box<dyn Retired>>) {
    tokio::spawn(async move {
        while !objects.is_empty() {
            let (last, held): (Vec<_>, Vec<_>) =
                objects.into_iter().partition(|object| object.is_last());
            objects = held;
            let dropped = tokio::task::spawn_blocking(move || drop(last)).await;
            if dropped.is_err() {
                tracing::error!("an extension's configuration panicked while it was dropped");
            }
            if !objects.is_empty() {
                tokio::time::sleep(LOOK).await;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_object_is_dropped_when_the_last_other_hold_is_gone() {
        struct Noisy(std::sync::mpsc::Sender<()>);
        impl Drop for Noisy {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let (sender, dropped) = std::sync::mpsc::channel();
        let object = Arc::new(Noisy(sender));
        retire(vec![Box::new(Arc::clone(&object))]);
        tokio::time::sleep(LOOK * 10).await;
        assert!(dropped.try_recv().is_err());
        let here = std::thread::current().id();
        drop(object);
        let there = tokio::task::spawn_blocking(move || {
            dropped.recv().map(|()| std::thread::current().id())
        })
        .await
        .unwrap();
        assert_ne!(there.unwrap(), here);
    }
}
