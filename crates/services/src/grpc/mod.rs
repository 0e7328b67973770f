//! gRPC calls from a worker, on its own connection and its own turns.
//!
//! A [`Call`] is not a future and has no task: it is asked by [`Call::poll`] in a filter's callback, and what comes for it wakes the filter by
//! the waker that it was opened with. So a message costs no more than its frames, and many calls' frames leave in one write.

mod call;
mod frame;
mod io;
mod pool;
mod status;
mod target;
mod tls;

pub use call::{Call, Method, Received};
pub use frame::frame;
pub use pool::Pool;
pub use status::{Code, Status};
pub use target::{Target, TargetConfig};
pub(crate) use target::{parse_metadata, positive};

use std::sync::Arc;
use std::task::{Wake, Waker};

use transom_api::Resumer;

/// A waker that posts to a filter. Its events say "look at your calls" and nothing else.
pub fn waker(resumer: Resumer) -> Waker {
    struct Post(Resumer);
    impl Wake for Post {
        fn wake(self: Arc<Self>) {
            self.0.post(0);
        }
        fn wake_by_ref(self: &Arc<Self>) {
            self.0.post(0);
        }
    }
    Waker::from(Arc::new(Post(resumer)))
}
