//! Where a plugin stands.

use std::fmt;

/// The state of a plugin, or of one of its processes.
///
/// ```text
///            ┌──────── enable, restart ─────────┐
///            ▼                                  │
///  ─▶ Starting ──▶ Ready ◀──▶ Degraded          │
///        │  ▲        └────┬─────┘               │
///        │  │        it ended, or was not well  │
///        ▼  │             ▼                     │
///      BackingOff ◀───────┴──▶ Failed ──────────┤   (the crash-loop limit)
///                                               │
///      Draining ──▶ Disabled ───────────────────┘
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum State {
    /// A process was started and is not ready yet.
    Starting = 0,
    /// It answers.
    Ready = 1,
    /// It runs, but a health check failed or calls time out; of a plugin: not all of its instances are ready.
    Degraded = 2,
    /// It takes no more calls, and ends when those under way have.
    Draining = 3,
    /// It ended or would not start, and is started again after a pause.
    BackingOff = 4,
    /// Somebody disabled it: it is not started until somebody enables it.
    Disabled = 5,
    /// It ended too often: it is not started until somebody enables it.
    Failed = 6,
}

impl State {
    const ALL: [Self; 7] = [
        Self::Starting,
        Self::Ready,
        Self::Degraded,
        Self::Draining,
        Self::BackingOff,
        Self::Disabled,
        Self::Failed,
    ];

    pub(super) fn from_number(number: u8) -> Self {
        Self::ALL
            .into_iter()
            .find(|state| *state as u8 == number)
            .unwrap_or(Self::Failed)
    }

    /// Whether a process of it takes calls.
    pub fn runs(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded)
    }

    /// Its name in the admin API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
            Self::BackingOff => "backing_off",
            Self::Disabled => "disabled",
            Self::Failed => "failed",
        }
    }

    /// The state of a plugin whose processes are in these.
    pub(super) fn of_all(states: &[Self]) -> Self {
        let has = |state| states.contains(&state);
        let running = has(Self::Ready) || has(Self::Degraded);
        if running {
            return match states.iter().all(|one| *one == Self::Ready) {
                true => Self::Ready,
                false => Self::Degraded,
            };
        }
        [
            Self::Starting,
            Self::BackingOff,
            Self::Draining,
            Self::Failed,
        ]
        .into_iter()
        .find(|state| has(*state))
        .unwrap_or(Self::Disabled)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::State::*;
    use super::*;

    #[test]
    fn numbers_are_read_back() {
        for state in State::ALL {
            assert_eq!(State::from_number(state as u8), state);
        }
    }

    #[test]
    fn a_plugin_is_as_well_as_its_processes() {
        for (states, whole) in [
            (&[Ready, Ready][..], Ready),
            (&[Ready, BackingOff], Degraded),
            (&[Degraded], Degraded),
            (&[BackingOff, Starting], Starting),
            (&[Failed, BackingOff], BackingOff),
            (&[Failed, Disabled], Failed),
            (&[Disabled], Disabled),
        ] {
            assert_eq!(State::of_all(states), whole, "{states:?}");
        }
    }
}
