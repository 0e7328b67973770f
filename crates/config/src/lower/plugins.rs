//! Plugins: code that is not compiled in.

use std::sync::Arc;

use transom_api::{Node, NodeKind};

use super::Lowering;
use crate::decode::Verbatim;
use crate::file;
use crate::report::Problem;
use crate::{Located, PluginDeclaration};

/// The key of a declaration that is not the runtime's.
const RUNTIME: &str = "runtime";

impl Lowering<'_> {
    pub(super) fn plugins(&mut self, plugins: file::Entries<Verbatim>) {
        for (Located { value: name, span }, Verbatim(declaration)) in plugins.0 {
            if name.is_empty() || name.contains('/') {
                self.problems.push(
                    Problem::new(format!("a plugin cannot be named {name:?}"), span).with_help(
                        "a name is not empty and has no slash: behind a slash stands the extension in a plugin",
                    ),
                );
                continue;
            }
            let runtime = match runtime(&declaration) {
                Ok(runtime) => runtime,
                Err(problem) => {
                    self.problems.push(problem.or_at(span));
                    continue;
                }
            };
            let declared = PluginDeclaration {
                name: name.clone(),
                runtime,
                declaration: without_runtime(declaration),
                span,
            };
            self.resources.plugins.insert(name, Arc::new(declared));
        }
    }
}

fn runtime(declaration: &Node) -> Result<Located<String>, transom_api::ParseError> {
    // Reads it as a map, whose other keys are the runtime's.
    let mut fields = declaration.as_fields()?;
    let missing = |error: transom_api::ParseError| {
        error.with_help("say what hosts the plugin: `runtime: process` for a program of its own, `runtime: library` for a shared library")
    };
    let node = fields.required(RUNTIME).map_err(missing)?;
    Ok(Located {
        value: node.as_str()?.to_owned(),
        span: node.span,
    })
}

fn without_runtime(declaration: Node) -> Node {
    let kind = match declaration.kind {
        NodeKind::Map(mut entries) => {
            entries.retain(|(key, _)| key.name != RUNTIME);
            NodeKind::Map(entries)
        }
        kind => kind,
    };
    Node {
        kind,
        ..declaration
    }
}
