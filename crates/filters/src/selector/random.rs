//! `random`: hosts by chance, in the shares of their weights.
//!
//! Needs no common knowledge, so many proxies in front of the same hosts do not fall into step.

use std::sync::Arc;

use transom_api::{
    Node, ParseError, Schema, Selector, SelectorConfig, SelectorHost, SelectorTable, SelectorView,
};

use super::Builtin;
use super::weights::Weights;

/// The configuration, which is empty.
#[derive(Clone, Copy, Debug)]
pub struct Random;

struct Table(Weights);

struct Draw(Arc<Table>);

impl Builtin for Random {
    fn schema() -> Schema {
        Schema::object().describe("Hosts by chance, in the shares of their weights. No keys.")
    }

    fn parse(config: &Node) -> Result<Self, ParseError> {
        config.as_fields()?.finish()?;
        Ok(Self)
    }
}

impl SelectorConfig for Random {
    fn table(&self, hosts: &[SelectorHost<'_>]) -> Arc<dyn SelectorTable> {
        Arc::new(Table(Weights::new(hosts)))
    }
}

impl SelectorTable for Table {
    fn on_worker(self: Arc<Self>, _start: usize) -> Box<dyn Selector> {
        Box::new(Draw(self))
    }
}

impl Selector for Draw {
    fn select(&self, hosts: &dyn SelectorView) -> Option<usize> {
        self.0.0.draw(hosts)
    }
}
