//! From results of checks to the health of a host.

/// What is held of a host.
#[derive(Debug)]
pub(super) struct Verdict {
    healthy: bool,
    /// Whether a check has ended before.
    checked: bool,
    /// Results in a row that speak against `healthy`.
    against: u32,
    unhealthy_threshold: u32,
    healthy_threshold: u32,
}

impl Verdict {
    /// `healthy`: what the host counts as now; `checked`: that is by a check.
    pub(super) fn new(
        healthy: bool,
        checked: bool,
        unhealthy_threshold: u32,
        healthy_threshold: u32,
    ) -> Self {
        Self {
            healthy,
            checked,
            against: 0,
            unhealthy_threshold,
            healthy_threshold,
        }
    }

    /// Takes the result of a check. `Some` when the host is healthy now and was not before, or the other way round.
    pub(super) fn note(&mut self, good: bool) -> Option<bool> {
        // The first word on a host needs no second: what it counts as was nobody's finding.
        let is_first = !std::mem::replace(&mut self.checked, true);
        if good == self.healthy {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let threshold = if good {
            self.healthy_threshold
        } else {
            self.unhealthy_threshold
        };
        if self.against < threshold && !is_first {
            return None;
        }
        self.against = 0;
        self.healthy = good;
        Some(good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(mut verdict: Verdict, results: &str) -> String {
        let turn = |result| match verdict.note(result == '+') {
            None => '.',
            Some(true) => 'H',
            Some(false) => 'U',
        };
        results.chars().map(turn).collect()
    }

    #[test]
    fn a_host_turns_after_so_many_results_in_a_row() {
        let verdict = || Verdict::new(true, true, 3, 2);
        assert_eq!(turns(verdict(), "+--+---++-+++"), "......U.H....");
        assert_eq!(turns(verdict(), "---+-++"), "..U...H");
    }

    #[test]
    fn the_first_result_decides_alone() {
        assert_eq!(turns(Verdict::new(true, false, 3, 2), "-+-++"), "U...H");
        assert_eq!(turns(Verdict::new(false, false, 3, 2), "+---"), "H..U");
        assert_eq!(turns(Verdict::new(true, false, 3, 2), "+---"), "...U");
    }

    #[test]
    fn what_was_found_before_needs_the_threshold() {
        assert_eq!(turns(Verdict::new(false, true, 3, 2), "++"), ".H");
    }
}
