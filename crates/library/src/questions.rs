//! Questions that libraries answer later, from whatever thread.
//!
//! A question is a number that is never used again, and not a pointer: one that is answered twice, or when nobody waits for
//! it any more, is refused and touches nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use transom_abi::{self as abi, Question, Status};
use transom_api::Certificates;

/// Why there is no answer.
pub(crate) struct Refused {
    pub(crate) why: String,
    /// The way to what is at fault in the configuration; empty where nothing is.
    pub(crate) path: String,
}

type Answer = Result<Certificates, Refused>;

/// A question that is open as long as this is there.
pub(crate) struct Asked {
    pub(crate) number: Question,
    answer: oneshot::Receiver<Answer>,
}

static OPEN: Mutex<Option<HashMap<Question, oneshot::Sender<Answer>>>> = Mutex::new(None);

impl Asked {
    /// A new question.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        lock().get_or_insert_default().insert(number, sender);
        Self { number, answer }
    }

    /// Waits for the answer.
    pub(crate) async fn answer(mut self) -> Answer {
        // It stays open until it is answered: there is no other end of it.
        (&mut self.answer).await.unwrap_or_else(|_| {
            Err(Refused {
                why: "its question is lost".to_owned(),
                path: String::new(),
            })
        })
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(open) = lock().as_mut() {
            open.remove(&self.number);
        }
    }
}

/// Answers a question.
pub(crate) fn answer(question: Question, answer: Answer) -> Status {
    let asked = lock().as_mut().and_then(|open| open.remove(&question));
    match asked.map(|asked| asked.send(answer)) {
        Some(Ok(())) => abi::OK,
        // Who asked has gone away just now.
        Some(Err(_)) | None => abi::GONE,
    }
}

fn lock() -> MutexGuard<'static, Option<HashMap<Question, oneshot::Sender<Answer>>>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_is_answered_once_and_while_somebody_waits() {
        let asked = Asked::new();
        let number = asked.number;
        assert_eq!(answer(number, Ok(Certificates::default())), abi::OK);
        assert_eq!(answer(number, Ok(Certificates::default())), abi::GONE);
        assert!(asked.answer().await.is_ok());
        let number = Asked::new().number;
        assert_eq!(answer(number, Ok(Certificates::default())), abi::GONE);
        assert_eq!(answer(0, Ok(Certificates::default())), abi::GONE);
    }
}
