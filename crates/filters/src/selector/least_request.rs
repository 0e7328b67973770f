//! `least_request`: of some hosts that are drawn by chance, the one with the fewest active requests.
//!
//! Two choices are enough to keep the longest queue exponentially shorter than by chance alone (Mitzenmacher, "The power
//! of two choices in randomized load balancing", 2001), and unlike the search for the very least they do not send the
//! requests of all workers to one host at once. Active requests are those of all workers. Hosts are drawn in the shares of
//! their weights and compared by active requests per weight.
//!
//! ```yaml
//! load_balancing: {name: least_request, config: {choices: 2}}
//! ```

use std::sync::Arc;

use transom_api::{
    Node, ParseError, Schema, Selector, SelectorConfig, SelectorHost, SelectorTable, SelectorView,
    Shape,
};

use super::Builtin;
use super::weights::Weights;

/// The configuration.
#[derive(Clone, Copy, Debug)]
pub struct LeastRequest {
    choices: i64,
}

struct Table {
    weights: Weights,
    choices: i64,
}

struct Choice(Arc<Table>);

const MOST_CHOICES: i64 = 16;

impl Builtin for LeastRequest {
    fn schema() -> Schema {
        Schema::object()
            .describe("Of some hosts that are drawn by chance, the one with the fewest active requests per weight.")
            .optional(
                "choices",
                Schema::new(Shape::Integer(2, MOST_CHOICES))
                    .describe("How many hosts are drawn.")
                    .or(2),
            )
    }

    fn parse(config: &Node) -> Result<Self, ParseError> {
        let mut fields = config.as_fields()?;
        let choices = match fields.optional("choices") {
            Some(choices) => choices.as_integer_in(2..=MOST_CHOICES)?,
            None => 2,
        };
        fields.finish()?;
        Ok(Self { choices })
    }
}

impl SelectorConfig for LeastRequest {
    fn table(&self, hosts: &[SelectorHost<'_>]) -> Arc<dyn SelectorTable> {
        Arc::new(Table {
            weights: Weights::new(hosts),
            choices: self.choices,
        })
    }
}

impl SelectorTable for Table {
    fn on_worker(self: Arc<Self>, _start: usize) -> Box<dyn Selector> {
        Box::new(Choice(self))
    }
}

impl Selector for Choice {
    fn select(&self, hosts: &dyn SelectorView) -> Option<usize> {
        let Table { weights, choices } = &*self.0;
        let mut best = weights.draw(hosts)?;
        // One more than it has, so that of idle hosts the heavier is the better.
        let load = |host| (u64::from(hosts.active(host)) + 1, weights.of(host));
        for _ in 1..*choices {
            let other = weights.draw(hosts)?;
            let ((a, weight_a), (b, weight_b)) = (load(other), load(best));
            if a.saturating_mul(weight_b) < b.saturating_mul(weight_a) {
                best = other;
            }
        }
        Some(best)
    }
}
