//! The use of an extension: one shape wherever a configuration names one.

use transom_api::runtime::split_extension;
use transom_api::{FailurePolicy, Node, Phase, Span, UseBounds};

use crate::{Condition, Located};

/// A place in a chain that an extension fills.
#[derive(Clone, Debug)]
pub struct Use {
    /// Which extension.
    pub extension: ExtensionName,
    /// The name of this use, unique in its chain: what routes call it in `filters`, and what metrics and logs say. The
    /// extension's name unless `id` is given.
    pub id: String,
    /// The extension's own configuration, as written; `null` when there is none.
    pub config: Node,
    /// In which part of the request's way a stream filter sees it; `None` is the extension's default.
    pub phase: Option<Phase>,
    /// What becomes of the traffic when the extension fails.
    pub on_failure: FailurePolicy,
    /// For which requests or connections it works; `None` is all.
    pub when: Option<Condition>,
    /// For how many of a hundred of them; `None` is all.
    pub sample: Option<f64>,
    /// What it may have on its way to its plugin, where that is not what the plugin's own bounds say.
    pub bounds: Option<Box<UseBounds>>,
    /// A disabled use stays in the chain and does nothing; a route may not enable it.
    pub disabled: bool,
    /// Where the name of the extension stands.
    pub span: Option<Span>,
}

impl Use {
    /// The use of an extension, with everything else as it is where nothing is said of it.
    #[must_use]
    pub fn of(extension: ExtensionName, config: Node) -> Self {
        Self {
            id: extension.as_str().to_owned(),
            extension,
            config,
            phase: None,
            on_failure: FailurePolicy::Closed,
            when: None,
            sample: None,
            bounds: None,
            disabled: false,
            span: None,
        }
    }
}

/// An extension that is configured once, under a name of its own, and used by that name in as many chains as like. It is a
/// resource: it changes under its users, and they share one prepared configuration.
#[derive(Clone, Debug)]
pub struct Extension {
    /// Its name. What metrics and logs of its one configuration say.
    pub name: String,
    /// Which extension; never a [`ExtensionName::Resource`].
    pub extension: ExtensionName,
    /// The extension's own configuration, as written; `null` when there is none.
    pub config: Node,
    /// Where the name of the extension stands.
    pub span: Option<Span>,
}

/// Code that is not compiled in, declared once and used by its name.
#[derive(Clone, Debug)]
pub struct PluginDeclaration {
    /// Its name: what uses call it in `plugin`.
    pub name: String,
    /// The name of the runtime that hosts it.
    pub runtime: Located<String>,
    /// What else is declared, as written: the runtime reads it.
    pub declaration: Node,
    /// Where the name stands.
    pub span: Option<Span>,
}

/// The name of an extension.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExtensionName {
    /// Compiled in (`name:`).
    Builtin(String),
    /// Declared in `plugins` (`plugin:`): the plugin's name, or that and behind a slash the extension's in the plugin.
    Plugin(String),
    /// Configured in `extensions` (`extension:`).
    Resource(String),
}

impl From<&str> for ExtensionName {
    fn from(builtin: &str) -> Self {
        Self::Builtin(builtin.to_owned())
    }
}

impl ExtensionName {
    /// What a use is called that has no `id`: the name; of an extension in a plugin that has several, its own.
    #[must_use]
    pub fn id(&self) -> &str {
        let name = self.as_str();
        match (self, split_extension(name)) {
            (Self::Plugin(_), (_, extension)) if !extension.is_empty() => extension,
            _ => name,
        }
    }

    /// The name without its kind.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Builtin(name) | Self::Plugin(name) | Self::Resource(name) => name,
        }
    }
}

/// All but the places.
impl PartialEq for PluginDeclaration {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            name,
            runtime,
            declaration,
            span: _,
        } = self;
        *name == other.name
            && runtime.value == other.runtime.value
            && *declaration == other.declaration
    }
}

/// All but the place.
impl PartialEq for Extension {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            name,
            extension,
            config,
            span: _,
        } = self;
        *name == other.name && *extension == other.extension && *config == other.config
    }
}

/// All but the place.
impl PartialEq for Use {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            extension,
            id,
            config,
            phase,
            on_failure,
            when,
            sample,
            bounds,
            disabled,
            span: _,
        } = self;
        *extension == other.extension
            && *id == other.id
            && *config == other.config
            && *phase == other.phase
            && *on_failure == other.on_failure
            && *when == other.when
            && *sample == other.sample
            && *bounds == other.bounds
            && *disabled == other.disabled
    }
}
