//! Which records are written at all. Asked before a line is made, so that what is left out costs next to nothing.

use std::cell::Cell;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use transom_api::access_log::Facts;
use transom_api::suggest::nearest;
use transom_api::{Node, NodeKind, ParseError, ResponseFlags, Schema, Shape};

/// Which records are written.
#[derive(Clone, Debug)]
pub(crate) struct When {
    /// One of them must hold; none at all lets everything pass.
    cases: Vec<Case>,
    /// The share that is written of what holds, of 2^32; `None` for all.
    share: Option<u32>,
}

/// What must hold together.
#[derive(Clone, Debug, Default)]
struct Case {
    statuses: Vec<RangeInclusive<u16>>,
    min_duration: Option<Duration>,
    flags: Option<Flags>,
}

#[derive(Clone, Copy, Debug)]
enum Flags {
    Any,
    OneOf(ResponseFlags),
}

impl When {
    pub(crate) fn case_schema() -> Schema {
        Schema::new(Shape::Any).describe(
            "Which streams or connections are logged: a map, or a list of maps of which one must hold. All keys of a map must hold: `status` (a list of statuses and ranges such as 500..599), `min_duration`, `response_flags` (`any`, or a list of letters such as UF). By default all.",
        )
    }

    pub(crate) fn share_schema() -> Schema {
        Schema::new(Shape::Number(0.0, 100.0))
            .describe("How many of a hundred of them are logged; fractions are allowed.")
            .or(100)
    }

    pub(crate) fn parse(
        when: Option<&Node>,
        percentage: Option<&Node>,
    ) -> Result<Self, ParseError> {
        let cases = match when {
            None => Vec::new(),
            Some(node) if matches!(node.kind, NodeKind::List(_)) => {
                let cases = node.as_list()?.iter().map(Case::parse);
                cases.collect::<Result<Vec<_>, _>>()?
            }
            Some(node) => vec![Case::parse(node)?],
        };
        let share = match percentage {
            None => None,
            Some(node) => {
                let number = node.as_number()?;
                if !(0.0..=100.0).contains(&number) {
                    return Err(node.error(format!(
                        "expected a percentage from 0 to 100, found {number}"
                    )));
                }
                // Rounded to 1 of 2^32, which nobody can see.
                (number < 100.0).then(|| (number / 100.0 * f64::from(u32::MAX)) as u32)
            }
        };
        Ok(Self { cases, share })
    }

    /// Whether a record is written.
    pub(crate) fn holds(&self, facts: &Facts<'_>, random: &Random) -> bool {
        (self.cases.is_empty() || self.cases.iter().any(|case| case.holds(facts)))
            && self.share.is_none_or(|share| random.next() < share)
    }

    /// Whether it is true of every record.
    pub(crate) fn always(&self) -> bool {
        self.cases.is_empty() && self.share.is_none()
    }
}

impl Case {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let status = fields.optional("status");
        let min_duration = fields.optional("min_duration");
        let flags = fields.optional("response_flags");
        fields.finish()?;
        if status.is_none() && min_duration.is_none() && flags.is_none() {
            return Err(node
                .error("a condition that says nothing")
                .with_help("write `status`, `min_duration` or `response_flags`, or leave `when` out to log everything"));
        }
        let statuses = match status {
            None => Vec::new(),
            Some(node) if matches!(node.kind, NodeKind::List(_)) => node
                .as_list()?
                .iter()
                .map(statuses)
                .collect::<Result<_, _>>()?,
            Some(node) => vec![statuses(node)?],
        };
        Ok(Self {
            statuses,
            min_duration: min_duration.map(Node::as_duration).transpose()?,
            flags: flags.map(Flags::parse).transpose()?,
        })
    }

    fn holds(&self, facts: &Facts<'_>) -> bool {
        let mut statuses = self.statuses.iter();
        (self.statuses.is_empty() || statuses.any(|range| range.contains(&facts.status)))
            && self
                .min_duration
                .is_none_or(|least| facts.duration >= least)
            && match self.flags {
                None => true,
                Some(Flags::Any) => !facts.flags.is_empty(),
                Some(Flags::OneOf(flags)) => facts.flags.intersects(flags),
            }
    }
}

/// `404` or `500..599`. A stream without an answer has the status 0.
fn statuses(node: &Node) -> Result<RangeInclusive<u16>, ParseError> {
    if matches!(node.kind, NodeKind::Integer(_)) {
        node.as_integer_in(0..=599)?;
        let status = node.as_integer()?;
        return Ok(status..=status);
    }
    let refused = || {
        node.error("this is no status and no range of statuses")
            .with_help("write a status (404) or a range (500..599); 0 stands for no answer")
    };
    let (first, last) = node.as_str()?.split_once("..").ok_or_else(refused)?;
    let (first, last) = (
        first.parse::<u16>().map_err(|_| refused())?,
        last.parse::<u16>().map_err(|_| refused())?,
    );
    if first > last || last > 599 {
        return Err(refused());
    }
    Ok(first..=last)
}

impl Flags {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        if let NodeKind::String(text) = &node.kind
            && text == "any"
        {
            return Ok(Self::Any);
        }
        let mut flags = ResponseFlags::default();
        for node in node.as_list().map_err(|error| {
            error.with_help("write `any`, or a list of response flags: [UF, UH]")
        })? {
            let letters = node.as_str()?;
            flags |= ResponseFlags::from_letters(letters).ok_or_else(|| {
                let all: Vec<&str> = ResponseFlags::all_letters().collect();
                let known = all.join(", ");
                let error = node.error(format!("unknown response flag `{letters}`"));
                error.with_help(match nearest(letters, all) {
                    Some(near) => format!("did you mean `{near}`? Known flags: {known}"),
                    None => format!("known flags: {known}"),
                })
            })?;
        }
        Ok(Self::OneOf(flags))
    }
}

/// Marsaglia's xorshift: good enough to draw shares, and no secret.
#[derive(Debug)]
pub(crate) struct Random(Cell<u64>);

impl Random {
    /// Numbers that the workers of a process do not share.
    pub(crate) fn of_worker(worker: usize) -> Self {
        let time = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(1, |since| since.as_nanos() as u64);
        let seed = (time ^ (worker as u64 + 1)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self(Cell::new(seed.max(1)))
    }

    fn next(&self) -> u32 {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        (x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(status: u16, milliseconds: u64, flags: ResponseFlags) -> Facts<'static> {
        Facts {
            status,
            duration: Duration::from_millis(milliseconds),
            flags,
            ..Facts::default()
        }
    }

    fn holds(when: &Node, facts: &Facts<'_>) -> bool {
        let when = When::parse(Some(when), None).unwrap();
        when.holds(facts, &Random::of_worker(0))
    }

    #[test]
    fn all_of_a_case_must_hold_and_one_of_several_cases() {
        let errors = Node::map([("status", Node::list(["500..599".into(), 404.into()]))]);
        let slow = Node::map([
            ("status", Node::list(["200..299".into()])),
            ("min_duration", "1s".into()),
        ]);
        let none = ResponseFlags::default();
        assert!(holds(&errors, &facts(503, 0, none)));
        assert!(holds(&errors, &facts(404, 0, none)));
        assert!(!holds(&errors, &facts(403, 0, none)));
        assert!(!holds(&slow, &facts(200, 999, none)));
        assert!(holds(&slow, &facts(200, 1_000, none)));
        let either = Node::list([errors, slow]);
        assert!(holds(&either, &facts(500, 0, none)));
        assert!(holds(&either, &facts(204, 2_000, none)));
        assert!(!holds(&either, &facts(304, 2_000, none)));
    }

    #[test]
    fn flags_are_asked_for_by_their_letters() {
        let flagged = Node::map([("response_flags", "any".into())]);
        let limited = Node::map([("response_flags", Node::list(["RL".into(), "UO".into()]))]);
        let rl = ResponseFlags::RATE_LIMITED;
        assert!(holds(&flagged, &facts(429, 0, rl)));
        assert!(!holds(&flagged, &facts(200, 0, ResponseFlags::default())));
        assert!(holds(&limited, &facts(429, 0, rl)));
        assert!(!holds(
            &limited,
            &facts(503, 0, ResponseFlags::NO_HEALTHY_UPSTREAM)
        ));
    }

    #[test]
    fn a_share_is_drawn() {
        let when = When::parse(None, Some(&10.into())).unwrap();
        let random = Random::of_worker(3);
        let facts = Facts::default();
        let drawn = (0..100_000).filter(|_| when.holds(&facts, &random)).count();
        // Five standard deviations are 475.
        assert!((9_500..10_500).contains(&drawn), "{drawn}");
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for (when, message) in [
            (Node::map([]), "a condition that says nothing"),
            (
                Node::map([("status", "5xx".into())]),
                "this is no status and no range of statuses",
            ),
            (
                Node::map([("response_flags", Node::list(["UD".into()]))]),
                "unknown response flag `UD`",
            ),
        ] {
            assert_eq!(When::parse(Some(&when), None).unwrap_err().message, message);
        }
    }
}
