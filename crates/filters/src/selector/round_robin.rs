//! `round_robin`: hosts in turn, each as often as its weight says. The default.
//!
//! Each worker goes its own round. A heavy host's turns do not come in a row but spread over the round.

use std::cell::Cell;
use std::sync::Arc;

use transom_api::{
    Node, ParseError, Schema, Selector, SelectorConfig, SelectorHost, SelectorTable, SelectorView,
};

use super::Builtin;

/// The configuration, which is empty.
#[derive(Clone, Copy, Debug)]
pub struct RoundRobin;

/// Indexes of hosts in the order of their turns.
struct Turns(Vec<u32>);

struct Round {
    turns: Arc<Turns>,
    next: Cell<usize>,
}

impl Builtin for RoundRobin {
    fn schema() -> Schema {
        Schema::object().describe("Hosts in turn, each as often as its weight says. No keys.")
    }

    fn parse(config: &Node) -> Result<Self, ParseError> {
        config.as_fields()?.finish()?;
        Ok(Self)
    }
}

impl SelectorConfig for RoundRobin {
    fn table(&self, hosts: &[SelectorHost<'_>]) -> Arc<dyn SelectorTable> {
        let weights: Vec<u32> = hosts.iter().map(|host| host.weight).collect();
        Arc::new(Turns(turns(&weights)))
    }
}

impl SelectorTable for Turns {
    fn on_worker(self: Arc<Self>, start: usize) -> Box<dyn Selector> {
        Box::new(Round {
            turns: self,
            next: Cell::new(start),
        })
    }
}

impl Selector for Round {
    fn select(&self, hosts: &dyn SelectorView) -> Option<usize> {
        let turns = &self.turns.0;
        for _ in 0..turns.len() {
            let turn = self.next.get();
            self.next.set(turn.wrapping_add(1));
            let host = *turns.get(turn % turns.len())? as usize;
            if hosts.is_available(host) {
                return Some(host);
            }
        }
        None
    }

    fn position(&self) -> usize {
        self.next.get()
    }
}

/// The order of turns for hosts of these weights.
fn turns(weights: &[u32]) -> Vec<u32> {
    /// Steps that the smooth order may take; it needs one per turn and host.
    const MOST_STEPS: u64 = 1 << 18;
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let weights: Vec<u32> = weights.iter().map(|weight| weight / divisor).collect();
    let total: u64 = weights.iter().copied().map(u64::from).sum();
    if total == weights.len() as u64 {
        return (0..weights.len() as u32).collect();
    }
    if total.saturating_mul(weights.len() as u64) <= MOST_STEPS {
        smooth(&weights, total)
    } else {
        spread(&weights)
    }
}

/// Smooth weighted round robin: every turn each host gains its weight, and the one that has most takes the turn and loses
/// the total.
fn smooth(weights: &[u32], total: u64) -> Vec<u32> {
    let mut gained = vec![0_i64; weights.len()];
    (0..total)
        .filter_map(|_| {
            for (value, weight) in gained.iter_mut().zip(weights) {
                *value += i64::from(*weight);
            }
            // The first of the largest, so that equal weights go in configuration order.
            let (chosen, value) = gained
                .iter_mut()
                .enumerate()
                .rev()
                .max_by_key(|(_, value)| **value)?;
            *value -= total as i64;
            u32::try_from(chosen).ok()
        })
        .collect()
}

/// For very many hosts: the turns of each at even distances over the round, all sorted.
fn spread(weights: &[u32]) -> Vec<u32> {
    let mut turns: Vec<(f64, u32)> = (0..)
        .zip(weights)
        .flat_map(|(host, weight)| {
            let distance = 1.0 / f64::from((*weight).max(1));
            (0..*weight).map(move |turn| ((f64::from(turn) + 0.5) * distance, host))
        })
        .collect();
    turns.sort_by(|a, b| a.0.total_cmp(&b.0));
    turns.into_iter().map(|(_, host)| host).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_follow_the_weights_and_are_spread() {
        assert_eq!(turns(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(turns(&[10, 10]), [0, 1]);
        assert_eq!(turns(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(turns(&[]), [] as [u32; 0]);
        assert_eq!(spread(&[3, 1]), [0, 0, 1, 0]);
    }

    #[test]
    fn very_many_hosts_get_their_turns_too() {
        let weights: Vec<u32> = (0..10_000).map(|host| 1 + host % 128).collect();
        let turns = turns(&weights);
        let mut counts = vec![0; weights.len()];
        for host in turns {
            counts[host as usize] += 1;
        }
        assert_eq!(counts, weights);
    }
}
