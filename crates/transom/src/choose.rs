//! Choosing implementations by name, as in go-micro: a flag, else a variable, stands for whatever a configuration leaves open; and
//! libraries that a variable names are there before anything starts.

use std::env;
use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::Args;
use transom_api::{
    Brokers, Clients, ExtensionKind, Kind, Node, ParseError, Registry, Selectors, Servers,
    ServiceRegistries, Transports,
};
use transom_library::{Brought, Prober};

/// What is chosen for the whole process.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Choosing, for whatever the configuration leaves open")]
pub(crate) struct Choice {
    /// Where the hosts of services come from [env: TRANSOM_REGISTRY, MICRO_REGISTRY]
    #[arg(long, value_name = "NAME")]
    registry: Option<String>,
    /// Where that registry is, with commas between several [env: TRANSOM_REGISTRY_ADDRESS, MICRO_REGISTRY_ADDRESS]
    #[arg(long, value_name = "ADDRESS")]
    registry_address: Option<String>,
    /// How a host is chosen [env: TRANSOM_SELECTOR, MICRO_SELECTOR]
    #[arg(long, value_name = "NAME")]
    selector: Option<String>,
    /// How hosts are connected [env: TRANSOM_TRANSPORT, MICRO_TRANSPORT]
    #[arg(long, value_name = "NAME")]
    transport: Option<String>,
    /// What hosts are spoken to with [env: TRANSOM_CLIENT, MICRO_CLIENT]
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// What clients speak [env: TRANSOM_SERVER, MICRO_SERVER]
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// Where messages go [env: TRANSOM_BROKER, MICRO_BROKER]
    #[arg(long, value_name = "NAME")]
    broker: Option<String>,
    /// Where that broker is, with commas between several [env: TRANSOM_BROKER_ADDRESS, MICRO_BROKER_ADDRESS]
    #[arg(long, value_name = "ADDRESS")]
    broker_address: Option<String>,
}

/// A word, and where it was said.
struct Said {
    word: String,
    by: String,
}

impl Choice {
    /// Chooses in `registry`. The error names the flag or variable at fault, and the names that there are.
    pub(crate) fn make(&self, registry: &mut Registry) -> anyhow::Result<()> {
        let address = |flag: &Option<String>, name| said(flag.as_ref(), name);
        choose::<ServiceRegistries>(
            registry,
            said(self.registry.as_ref(), "registry"),
            address(&self.registry_address, "registry-address"),
        )?;
        choose::<Selectors>(registry, said(self.selector.as_ref(), "selector"), None)?;
        choose::<Transports>(registry, said(self.transport.as_ref(), "transport"), None)?;
        choose::<Clients>(registry, said(self.client.as_ref(), "client"), None)?;
        choose::<Servers>(registry, said(self.server.as_ref(), "server"), None)?;
        choose::<Brokers>(
            registry,
            said(self.broker.as_ref(), "broker"),
            address(&self.broker_address, "broker-address"),
        )
    }
}

/// Loads the libraries that `TRANSOM_PLUGIN`, or else `MICRO_PLUGIN`, names, and puts their extensions over those of `registry`, by
/// their own names. Any that cannot be loaded is an error.
pub(crate) fn bring(registry: Registry, prober: &Prober) -> anyhow::Result<Registry> {
    let Some((variable, named)) = variable("plugin") else {
        return Ok(registry);
    };
    let named = named
        .into_string()
        .map_err(|_| anyhow::anyhow!("${variable} is not UTF-8"))?;
    let mut over = Registry::over(registry.into());
    for path in named.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        let brought = Brought::load(Path::new(path), prober)
            .with_context(|| format!("${variable}: the library {path} cannot be used"))?;
        tracing::info!(file = path, "loaded {}", brought.describe());
        if brought.extensions().is_empty() {
            bail!("${variable}: the library {path} has nothing that can be used here");
        }
        brought
            .register(&mut over)
            .with_context(|| format!("${variable}: the library {path} cannot be used"))?;
    }
    Ok(over)
}

fn choose<K: ExtensionKind>(
    registry: &mut Registry,
    name: Option<Said>,
    address: Option<Said>,
) -> anyhow::Result<()> {
    let Some(name) = name else {
        if let Some(address) = address {
            bail!(
                "{} says where the {} is, and nothing says which: name one with --{}",
                address.by,
                K::KIND,
                K::KIND
            );
        }
        return Ok(());
    };
    let config = match &address {
        Some(address) => Node::map([("address", address.word.as_str().into())]),
        None => Node::null(),
    };
    registry
        .choose::<K>(&name.word, config)
        .map_err(|error| refused(K::KIND, &name, address.as_ref(), &error))
}

fn refused(kind: Kind, name: &Said, address: Option<&Said>, error: &ParseError) -> anyhow::Error {
    let by = match address {
        Some(address) => format!("{} and {}", name.by, address.by),
        None => name.by.clone(),
    };
    let what = match error.message.starts_with("unknown ") {
        true => String::new(),
        false => format!("the {kind} `{}`: ", name.word),
    };
    let help = match (&error.help, address) {
        (Some(help), _) => format!("\n  help: {help}"),
        (None, _) => String::new(),
    };
    anyhow::anyhow!("{by}: {what}{}{help}", error.message)
}

/// What is said by a flag, or else by a variable. `name` is the flag's.
fn said(flag: Option<&String>, name: &str) -> Option<Said> {
    if let Some(word) = flag {
        let by = format!("--{name}");
        return Some(Said {
            word: word.clone(),
            by,
        });
    }
    let (variable, word) = variable(&name.replace('-', "_"))?;
    Some(Said {
        word: word.to_string_lossy().into_owned(),
        by: format!("${variable}"),
    })
}

/// The first of the two variables that is not empty. `name` is in lower case.
fn variable(name: &str) -> Option<(String, OsString)> {
    ["TRANSOM", "MICRO"].iter().find_map(|prefix| {
        let variable = format!("{prefix}_{}", name.to_uppercase());
        let value = env::var_os(&variable).filter(|value| !value.is_empty())?;
        Some((variable, value))
    })
}
