//! Extensions that are configured once, and what a use names.

use transom_api::runtime::split_extension;
use transom_api::{Node, Span};

use super::{Lowering, Unique, refer};
use crate::file;
use crate::report::Problem;
use crate::{Extension, ExtensionName, Located};

use std::sync::Arc;

/// The keys of a use, or of a declaration, that say which extension is meant.
pub(super) struct Named {
    pub(super) name: Option<Located<String>>,
    pub(super) plugin: Option<Located<String>>,
    pub(super) extension: Option<Located<String>>,
}

impl Lowering<'_> {
    pub(super) fn extensions(&mut self, extensions: file::Items<Located<file::Extension>>) {
        let mut unique = Unique::default();
        for Located { value, span } in extensions.items {
            let Some(Located {
                value: id,
                span: at,
            }) = value.id.0
            else {
                continue;
            };
            let is_new = unique.check("extensions", &id.0, at, self.problems);
            let named = Named {
                name: value.name,
                plugin: value.plugin,
                extension: None,
            };
            let Some((extension, place)) = self.extension_name(named, span) else {
                continue;
            };
            if let ExtensionName::Builtin(name) = &extension
                && super::PARTS_OF_PROXY.contains(&name.as_str())
            {
                self.problems.push(
                    Problem::new(format!("`{name}` cannot be declared here"), place)
                        .with_help("it is part of the proxy: write it where it ends a chain"),
                );
                continue;
            }
            if is_new {
                self.declared.insert(id.0.clone(), place);
                let extension = Extension {
                    name: id.0.clone(),
                    extension,
                    config: or_null(value.config.map(|config| config.0), span),
                    span: place,
                };
                let resources = &mut self.resources.extensions;
                resources.insert(id.0, Arc::new(extension));
            }
        }
    }

    /// Which extension is meant, and where that is written. `whole` is the use.
    pub(super) fn extension_name(
        &mut self,
        named: Named,
        whole: Option<Span>,
    ) -> Option<(ExtensionName, Option<Span>)> {
        let given = [
            (named.name, "name"),
            (named.plugin, "plugin"),
            (named.extension, "extension"),
        ];
        let mut given = given
            .into_iter()
            .filter_map(|(name, key)| Some((name?, key)));
        let Some((name, key)) = given.next() else {
            if !self.problems.any_within(whole) {
                self.problems.push(
                    Problem::new("the key `name` is missing", whole)
                        .with_help("name the extension: {name: header_match, config: {…}}"),
                );
            }
            return None;
        };
        if let Some((other, other_key)) = given.next() {
            let message = format!("`{key}` and `{other_key}` exclude each other");
            let label = match key {
                "name" => "this names a built-in extension",
                _ => "this names a plugin",
            };
            let problem = Problem::new(message, other.span).with_label(name.span, label);
            self.problems.push(problem);
            return None;
        }
        let Located { value, span } = &name;
        let extension = match key {
            "name" => ExtensionName::Builtin(value.clone()),
            "plugin" => {
                let (plugin, extension) = split_extension(value);
                let is_folder = extension == "*";
                let plugin = Located {
                    value: plugin.to_owned(),
                    span: *span,
                };
                match is_folder {
                    // Of one that is known the uses stand here already, unless something is wrong with it, which was told.
                    true => refer("plugin folder", &plugin, &self.folders, self.problems),
                    false => refer("plugin", &plugin, &self.plugins, self.problems),
                }
                ExtensionName::Plugin(value.clone())
            }
            _ => {
                refer("extension", &name, &self.extensions, self.problems);
                ExtensionName::Resource(value.clone())
            }
        };
        Some((extension, *span))
    }

    /// The configuration that is written at a use. A use of a declared extension has none of its own.
    pub(super) fn own_config(
        &mut self,
        extension: &ExtensionName,
        config: Option<Node>,
        whole: Option<Span>,
    ) -> Node {
        if let (ExtensionName::Resource(name), Some(config)) = (extension, &config) {
            let declared = self.declared.get(name).copied().flatten();
            self.problems.push(
                Problem::new("`config` has no meaning beside `extension`", config.span)
                    .with_label(declared, "it is configured where it is declared")
                    .with_help(
                        "move it there; routes may have configurations of their own in `filters`",
                    ),
            );
        }
        or_null(config, whole)
    }
}

/// Without a configuration a mistake is shown at the use: there a key is missing.
fn or_null(config: Option<Node>, whole: Option<Span>) -> Node {
    config.unwrap_or(Node {
        span: whole,
        ..Node::null()
    })
}
