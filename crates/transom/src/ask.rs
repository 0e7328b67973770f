//! What only plugins know of a configuration: they are started and asked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use transom_api::{Phase, Registry};
use transom_config::{Configuration, OfPlugin, Problem, of_plugins};
use transom_process::supervise::Supervisor;

/// What plugins said.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// What is wrong with the configurations of their uses.
    pub(crate) problems: Vec<Problem>,
    /// Who could not be asked, and why.
    pub(crate) notes: Vec<String>,
    /// The phases that their stream filters run in, by what uses call them.
    pub(crate) phases: BTreeMap<String, Phase>,
}

/// Starts the plugins of a configuration that have something to say of it, asks them, and ends them.
pub(crate) fn ask(
    configuration: &Configuration,
    registry: &Registry,
    supervisor: &Arc<Supervisor>,
) -> anyhow::Result<Asked> {
    let mut by_plugin: BTreeMap<String, Vec<OfPlugin>> = BTreeMap::new();
    for of in of_plugins(&configuration.resources) {
        by_plugin.entry(of.plugin.clone()).or_default().push(of);
    }
    let mut asked = Asked::default();
    if by_plugin.is_empty() {
        return Ok(asked);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        for (name, questions) in by_plugin {
            one(configuration, registry, &name, questions, &mut asked).await;
        }
        supervisor.stop().await;
    });
    Ok(asked)
}

async fn one(
    configuration: &Configuration,
    registry: &Registry,
    name: &str,
    questions: Vec<OfPlugin>,
    asked: &mut Asked,
) {
    let resources = &configuration.resources;
    let Some(declared) = resources.plugins.get(name) else {
        return;
    };
    let plugin = registry
        .runtime(&declared.runtime)
        .and_then(|runtime| runtime.parse(name, &declared.declaration).ok());
    let folder = resources.folder.as_deref().unwrap_or(Path::new(""));
    let asking = questions.iter().map(|of| of.question.clone()).collect();
    let Some(asking) = plugin.and_then(|plugin| plugin.ask(Arc::from(folder), asking)) else {
        return;
    };
    let opinions = match asking.await {
        Ok(opinions) => opinions,
        Err(error) => {
            asked
                .notes
                .push(format!("the plugin `{name}` was not asked: {error}"));
            return;
        }
    };
    for (of, opinion) in questions.into_iter().zip(opinions) {
        if let Some(phase) = opinion.phase {
            asked.phases.insert(of.named, phase);
        }
        let config = of.question.config.span;
        for fault in opinion.faults {
            let place = fault.span.or(config).or(of.span);
            let mut problem = Problem::new(fault.message, place);
            if let Some(help) = fault.help {
                problem = problem.with_help(help);
            }
            asked.problems.push(problem);
        }
    }
}
