//! Plugins: code that is not compiled in.

use std::sync::Arc;

use transom_api::{Node, NodeKind, Span};

use super::Lowering;
use super::extensions::Named;
use crate::decode::Verbatim;
use crate::file;
use crate::report::Problem;
use crate::{ExtensionName, Located, PluginDeclaration};

/// The key of a declaration that is not the runtime's.
const RUNTIME: &str = "runtime";

/// The runtime of what `go_plugin_config` names.
const LIBRARY: &str = "library";

/// What MOSN calls when `factory_method` is left out.
const DEFAULT_FACTORY: &str = "CreateFilterFactory";

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

impl Lowering<'_> {
    /// MOSN's form of a library: what a use of it names. Declares the library as a plugin, named after its path, unless it is
    /// declared.
    pub(super) fn go_plugin(
        &mut self,
        config: Located<file::GoPluginConfig>,
        named: Named,
    ) -> Option<(ExtensionName, Option<Span>)> {
        let others = [(named.plugin, "plugin"), (named.extension, "extension")];
        for (other, key) in others {
            if let Some(other) = other {
                let message = format!("`go_plugin_config` and `{key}` exclude each other");
                let problem = Problem::new(message, other.span);
                self.problems
                    .push(problem.with_label(config.span, "this names a library"));
                return None;
            }
        }
        let config = config.value;
        let Located { value: path, span } = config.so_path;
        if path.is_empty() {
            let problem = Problem::new("no library is named", span);
            self.problems
                .push(problem.with_help("`so_path` is the path of a shared library"));
            return None;
        }
        // A plugin's name has no slash.
        let name = path.strip_prefix("./").unwrap_or(&path).replace('/', ":");
        let file = Node {
            span,
            ..Node::from(path.as_str())
        };
        let declared = PluginDeclaration {
            name: name.clone(),
            runtime: Located {
                value: LIBRARY.to_owned(),
                span,
            },
            declaration: Node {
                span,
                ..Node::map([("file", file)])
            },
            span,
        };
        match self.resources.plugins.get(&name) {
            Some(known) if **known != declared => {
                let problem = Problem::new(
                    format!(
                        "this library is the plugin `{name}`, and `plugins` declares another by that name"
                    ),
                    span,
                );
                let problem = problem.with_label(known.span, "here");
                self.problems
                    .push(problem.with_help("give the declared plugin another name"));
                return None;
            }
            Some(_) => {}
            None => {
                let plugins = &mut self.resources.plugins;
                plugins.insert(name.clone(), Arc::new(declared));
            }
        }
        let factory = config.factory_method.map(|factory| factory.value);
        let used = match factory.as_deref() {
            None | Some("" | DEFAULT_FACTORY) => name,
            Some(factory) => format!("{name}/{factory}"),
        };
        Some((ExtensionName::Plugin(used), span))
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
