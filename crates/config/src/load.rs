//! From a file or a text to a configuration.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use transom_api::{Node, Registry};

use crate::decode::decode;
use crate::file;
use crate::lower::lower;
use crate::problems::Problems;
use crate::report::Problem;
use crate::{Configuration, Dropped, Memory, Report, Sources, chosen, folders, validate, yaml};

/// The longest text that is read as a configuration: 16 MiB. Larger ones are refused before they are read.
pub const LARGEST: u64 = 16 * 1024 * 1024;

/// Reads a configuration from a file, at most [`LARGEST`] bytes of UTF-8.
///
/// Relative paths in it begin at the folder of the file.
///
/// What extensions accept is not looked at: see [`validate`](crate::validate).
pub fn load_file(path: &Path) -> Result<Configuration, Report> {
    let shown = path.display().to_string();
    match read(path) {
        Ok(text) => read_text(
            &shown,
            &text,
            folder_of(path).as_deref(),
            None,
            &Memory::default(),
        ),
        Err(problem) => Err(Report::new(vec![problem], Sources::default())),
    }
}

/// Reads a configuration from a text. `name` is what messages call it. Relative paths begin at the process's working
/// directory.
pub fn load_str(name: &str, text: &str) -> Result<Configuration, Report> {
    read_text(name, text, None, None, &Memory::default())
}

/// [`load_file`] and [`validate`](crate::validate) in one: the report has the problems of both.
pub fn check_file(path: &Path, registry: &Registry) -> Result<Configuration, Report> {
    check_file_with(path, registry, &Memory::default())
}

/// The same, with what is remembered of folders of plugins.
pub fn check_file_with(
    path: &Path,
    registry: &Registry,
    memory: &Memory,
) -> Result<Configuration, Report> {
    let shown = path.display().to_string();
    match read(path) {
        Ok(text) => read_text(
            &shown,
            &text,
            folder_of(path).as_deref(),
            Some(registry),
            memory,
        ),
        Err(problem) => Err(Report::new(vec![problem], Sources::default())),
    }
}

/// Reads the text of a configuration again, and the folders of plugins that it names: these may have changed.
pub fn check_again(
    configuration: &Configuration,
    registry: &Registry,
    memory: &Memory,
) -> Result<Configuration, Report> {
    let first = configuration.sources.iter().next();
    let (name, text) = first.map_or(("", ""), |source| (&*source.name, &*source.text));
    let folder = configuration.resources.folder.as_deref();
    read_text(name, text, folder, Some(registry), memory)
}

/// [`load_str`] and [`validate`](crate::validate) in one: the report has the problems of both.
pub fn check_str(name: &str, text: &str, registry: &Registry) -> Result<Configuration, Report> {
    read_text(name, text, None, Some(registry), &Memory::default())
}

/// Reads a configuration from a tree of the same shape as a file, for sources that make one. Its places refer to
/// `sources`.
pub fn load_tree(root: &Node, sources: Sources) -> Result<Configuration, Report> {
    let dropped = Dropped::default();
    read_tree(root, sources, None, None, (Problems::default(), dropped))
}

/// Where relative paths of a file begin: the folder that it lies in.
fn folder_of(path: &Path) -> Option<PathBuf> {
    Some(std::path::absolute(path).ok()?.parent()?.to_owned())
}

fn read_text(
    name: &str,
    text: &str,
    folder: Option<&Path>,
    registry: Option<&Registry>,
    memory: &Memory,
) -> Result<Configuration, Report> {
    let mut problems = Problems::default();
    if text.len() as u64 > LARGEST {
        problems.push(too_large(name));
        return Err(Report::new(problems.into_vec(), Sources::default()));
    }
    let mut sources = Sources::one(name, text);
    match yaml::parse(0, text, &mut problems) {
        Some(mut root) if !root.is_null() => {
            let dropped = folders::expand(&mut root, folder, &mut sources, memory);
            read_tree(&root, sources, folder, registry, (problems, dropped))
        }
        _ => {
            if problems.is_empty() {
                problems.push(
                    Problem::new(format!("the configuration {name} is empty"), None)
                        .with_help("`transom run` without a file serves an example to begin with"),
                );
            }
            Err(Report::new(problems.into_vec(), sources))
        }
    }
}

fn read_tree(
    root: &Node,
    sources: Sources,
    folder: Option<&Path>,
    registry: Option<&Registry>,
    (mut problems, dropped): (Problems, Dropped),
) -> Result<Configuration, Report> {
    let file: Option<file::Configuration> = decode(root, &mut problems);
    let mut lowered = file.map(|file| lower(root, file, folder, &mut problems));
    if let (Some((_, resources)), Some(registry)) = (&mut lowered, registry) {
        chosen::put(resources, registry);
    }
    if let (Some((_, resources)), Some(registry)) = (&lowered, registry) {
        let complete = problems.is_empty();
        validate::check(resources, registry, complete, &mut problems);
    }
    match lowered {
        Some((process, resources)) if problems.is_empty() => Ok(Configuration {
            process,
            resources,
            sources,
            dropped,
        }),
        _ => Err(Report::new(problems.into_vec(), sources)),
    }
}

fn read(path: &Path) -> Result<String, Problem> {
    let shown = path.display();
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    if metadata.is_dir() {
        return Err(directory(path));
    }
    // A pipe has no length before it is read.
    let mut bytes = Vec::new();
    let mut limited = file.take(LARGEST + 1);
    limited
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(too_large(&shown.to_string()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..at).unwrap_or_default();
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        Problem::new(
            format!("{shown} is not UTF-8: see line {line}, byte {at} of the file"),
            None,
        )
        .with_help(
            "save it as UTF-8; a path or header value with other bytes cannot be written in YAML",
        )
    })
}

/// Why a file could not be read.
fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let shown = path.display();
    match error.kind() {
        ErrorKind::NotFound => {
            let problem = Problem::new(format!("there is no file {shown}"), None);
            match std::env::current_dir() {
                Ok(folder) if path.is_relative() => {
                    problem.with_help(format!("the path begins at {}", folder.display()))
                }
                _ => problem,
            }
        }
        ErrorKind::PermissionDenied => {
            Problem::new(format!("the file {shown} may not be read"), None)
                .with_help(format!("see its owner and mode with: ls -l {shown}"))
        }
        ErrorKind::IsADirectory => directory(path),
        _ => Problem::new(format!("the file {shown} cannot be read: {error}"), None),
    }
}

fn directory(path: &Path) -> Problem {
    let shown = path.display();
    Problem::new(format!("{shown} is a directory, not a file"), None)
        .with_help("name the file in it")
}

fn too_large(name: &str) -> Problem {
    let limit = file::format_size(LARGEST);
    Problem::new(
        format!("{name} is larger than {limit}, the limit of a configuration"),
        None,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Root may read everything, so the refusal is made here.
    #[test]
    fn a_file_without_permission_says_how_to_see_it() {
        let refused = io::Error::from(ErrorKind::PermissionDenied);
        let problem = unreadable(Path::new("/etc/shadow"), &refused);
        assert_eq!(problem.message, "the file /etc/shadow may not be read");
        assert_eq!(
            problem.help.as_deref(),
            Some("see its owner and mode with: ls -l /etc/shadow")
        );
    }
}
