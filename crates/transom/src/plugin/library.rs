//! `transom plugin new --runtime library`, `plugin build` and `plugin sign`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use transom_build::{BuildError, HEADER, KINDS, Request};

use super::failed;
use super::new::Language;
use crate::command::Output;
use crate::plugins::prober;
use crate::{BAD_INPUT, FAULT, GOOD};

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The extension's name
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Its kind
    #[arg(long, value_name = "KIND", default_value = KINDS[0])]
    kind: String,
    /// The folder of the crate that it comes from
    #[arg(long, value_name = "DIR", default_value = ".")]
    path: PathBuf,
    /// The function in it that makes the extension's factory
    #[arg(long, value_name = "CRATE::FUNCTION")]
    new: String,
    /// Where the library is put; NAME-HASH.so in this folder unless said
    #[arg(short = 'o', long = "file", value_name = "FILE")]
    file: Option<PathBuf>,
    /// The secret key of minisign that signs it; TRANSOM_SIGN_PASSWORD has its password
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The secret key of minisign; TRANSOM_SIGN_PASSWORD has its password
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// The file, a library or a program
    file: PathBuf,
}

/// Builds a library.
pub(super) fn build(arguments: &BuildArgs) -> u8 {
    let request = Request {
        name: arguments.name.clone(),
        kind: arguments.kind.clone(),
        path: arguments.path.clone(),
        new: arguments.new.clone(),
        output: arguments.file.clone(),
        key: arguments.sign.clone(),
    };
    let built = match transom_build::build(&request, &prober()) {
        Ok(built) => built,
        Err(error) => {
            let (code, help) = blame(&error);
            return failed(arguments.output, code, &error.to_string(), help);
        }
    };
    match arguments.output {
        Output::Text => {
            println!("{}", built.file.display());
            println!("{}", built.manifest.display());
            if let Some(signature) = &built.signature {
                println!("{}", signature.display());
            }
            println!("{}", built.description);
        }
        Output::Json => println!(
            "{:#}",
            json!({
                "file": built.file,
                "manifest": built.manifest,
                "signature": built.signature,
                "sha256": built.sha256,
                "description": built.description,
            })
        ),
    }
    GOOD
}

/// Whether it was asked wrongly or went wrong, and what to do.
fn blame(error: &BuildError) -> (u8, &'static str) {
    match error {
        BuildError::Name(_) | BuildError::Kind { .. } | BuildError::New(_) => (BAD_INPUT, ""),
        BuildError::NoCrate { .. } => (BAD_INPUT, "--path DIR names the folder of its Cargo.toml"),
        BuildError::OtherCrate { .. } | BuildError::NoLibrary(_) => (BAD_INPUT, ""),
        BuildError::Cargo(_) => (
            FAULT,
            "the function must be public and answer with an `Arc<dyn Factory<StreamFilters>>`; what the crate depends on must be in cargo's cache, which `cargo fetch` fills",
        ),
        _ => (FAULT, ""),
    }
}

/// Signs a file.
pub(super) fn sign(arguments: &SignArgs) -> u8 {
    match transom_build::sign(&arguments.file, &arguments.key) {
        Ok(signature) => {
            match arguments.output {
                Output::Text => println!("{}", signature.display()),
                Output::Json => println!("{:#}", json!({ "signature": signature })),
            }
            GOOD
        }
        Err(error) => failed(arguments.output, FAULT, &error.to_string(), ""),
    }
}

/// Writes a filter for a library into the folder `path`, with all that it is built from; the files that a person may want to look at.
pub(super) fn write(
    language: Language,
    name: &str,
    path: &Path,
) -> Result<Vec<&'static str>, (u8, String, &'static str)> {
    let (build, test) = steps(language, name);
    let (files, config, more): (&[(&str, &str)], _, _) = match language {
        Language::Rust => (
            &[
                (
                    "Cargo.toml",
                    include_str!("templates/library/Cargo.toml.in"),
                ),
                ("src/lib.rs", include_str!("templates/library/lib.rs")),
            ],
            "{User: admin}",
            "What a filter can see and do is told in `sdk/transom-sdk/README.md`. The folder `sdk` is what `transom plugin new` has written: take a newer one from a newer transom.",
        ),
        Language::C => (
            &[
                (
                    "filter.c",
                    include_str!("../../../../examples/library/auth.c"),
                ),
                ("transom.h", HEADER),
            ],
            "\"User: admin\"",
            "What a library exports, gets and may do stands in `transom.h`, each function with its rule.",
        ),
        other => {
            let error = format!("there is no SDK for libraries in {}", other.name());
            let help = "libraries are written in Rust or C, or in what can include a C header: examples/library has C++ and Go";
            return Err((BAD_INPUT, error, help));
        }
    };
    let fill = |text: &str| {
        text.replace("@NAME@", name)
            .replace("@BUILD@", &build)
            .replace("@TEST@", test)
            .replace("@CONFIG@", config)
            .replace("@MORE@", more)
    };
    let put = |file: &str, text: &str| -> io::Result<()> {
        let file = path.join(file);
        fs::create_dir_all(file.parent().unwrap_or(path))?;
        fs::write(file, fill(text))
    };
    let mut written = Vec::new();
    let readme = ("README.md", include_str!("templates/library/README.md"));
    for (file, text) in files.iter().chain([&readme]) {
        put(file, text).map_err(|error| {
            let what = path.join(file);
            (
                FAULT,
                format!("cannot write {}: {error}", what.display()),
                "",
            )
        })?;
        written.push(*file);
    }
    if language == Language::Rust {
        transom_build::write_sdk(&path.join("sdk"))
            .map_err(|error| (FAULT, error.to_string(), ""))?;
    }
    Ok(written)
}

/// What to do with it next.
pub(super) fn steps(language: Language, name: &str) -> (String, &'static str) {
    match language {
        Language::Rust => (
            format!("transom plugin build --name {name} --new {name}::new -o {name}.so"),
            "cargo test",
        ),
        _ => (
            format!("cc -shared -fPIC -fvisibility=hidden -O2 -o {name}.so filter.c"),
            "cc -fsyntax-only -Wall -Wextra -Werror filter.c",
        ),
    }
}
