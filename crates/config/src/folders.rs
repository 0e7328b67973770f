//! Folders of plugins: each program in one is a plugin, declared by its being there.
//!
//! ```text
//!  plugin_folders: {dropped: {path: plugins.d, plugin: {…}}}        plugins:
//!    plugins.d/auth@1.2 ─┐                                            auth: {runtime: process, command: [plugins.d/auth@1.3], …}
//!    plugins.d/auth@1.3 ─┼─ the newest of a name ──────────────────▶  
//!    plugins.d/auth@1.3.yaml, .sha256 ┘ what else is said of it       {plugin: dropped/*}  ──▶  {plugin: auth}, one for each
//! ```
//!
//! The tree is written anew before anything is read from it, so that what a folder declares is like any other declaration. A program that
//! cannot be used is passed over and told of; it does not keep the others, or the file, from being used.

mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use transom_api::{Key, Node, NodeKind, Span};

use crate::problems::Problems;
use crate::{Report, Sources, yaml};

use scan::{Found, identity, scan};

/// The key that names folders.
pub(crate) const KEY: &str = "plugin_folders";

/// What a declaration of a folder's program may not say itself.
const OWN: [&str; 3] = ["runtime", "command", "origin"];

/// What was found in folders of plugins.
#[derive(Clone, Debug, Default)]
pub struct Dropped {
    /// The folders, absolute where the configuration's folder is known.
    pub folders: Vec<PathBuf>,
    /// The programs that became plugins.
    pub programs: Vec<Arc<DroppedPlugin>>,
    /// Files that look like programs and were passed over, and why.
    pub passed_over: Vec<(PathBuf, String)>,
}

/// A program of a folder.
#[derive(Debug)]
pub struct DroppedPlugin {
    /// Its name as a plugin.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    folder: String,
    declaration: Node,
    /// Its configuration where all of the folder are used.
    config: Option<Node>,
    source: (String, Arc<str>),
}

/// What is remembered from one reading of folders to the next.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    active: Vec<Arc<DroppedPlugin>>,
    refused: BTreeMap<PathBuf, (String, String)>,
}

impl Memory {
    /// This is active now. What is no longer there is forgotten.
    pub fn activated(&mut self, dropped: &Dropped) {
        self.active.clone_from(&dropped.programs);
        self.refused.retain(|path, _| path.exists());
    }

    /// Takes note that programs of folders are at fault for all that is wrong, so that the next reading does without them as they are now.
    /// Which they are; empty when something else is wrong as well, or when they were taken note of before.
    pub fn blame(&mut self, report: &Report) -> Vec<PathBuf> {
        let mut blamed = BTreeMap::new();
        for problem in report.problems() {
            let span = problem.span.filter(|span| span.source > 0);
            let Some(source) = span.and_then(|span| report.source(span)) else {
                return Vec::new();
            };
            let name = source.name.strip_suffix(scan::MANIFEST);
            let path = PathBuf::from(name.unwrap_or(&source.name));
            let now = identity(&path);
            if self
                .refused
                .get(&path)
                .is_some_and(|(then, _)| *then == now)
            {
                return Vec::new();
            }
            blamed.insert(path, (now, problem.message.clone()));
        }
        let paths = blamed.keys().cloned().collect();
        self.refused.append(&mut blamed);
        paths
    }

    /// The version of a plugin that was active, for one that cannot be used.
    fn fallback(&self, name: &str) -> Option<Arc<DroppedPlugin>> {
        self.active.iter().find(|known| known.name == name).cloned()
    }
}

/// Writes what folders declare into the tree of a file. `base` is where relative paths begin.
pub(crate) fn expand(
    root: &mut Node,
    base: Option<&Path>,
    sources: &mut Sources,
    memory: &Memory,
) -> Dropped {
    let mut dropped = Dropped::default();
    let Some(NodeKind::Map(folders)) = root.entry(KEY).map(|folders| folders.kind.clone()) else {
        return dropped;
    };
    let mut taken: BTreeSet<String> = match root.entry("plugins").map(|it| &it.kind) {
        Some(NodeKind::Map(declared)) => declared.iter().map(|(key, _)| key.name.clone()).collect(),
        _ => BTreeSet::new(),
    };
    let mut names = Vec::new();
    for (Key { name: folder, .. }, written) in folders {
        names.push(folder.clone());
        // What is wrong with an entry is told when it is decoded.
        let Some(path) = written.entry("path").and_then(|path| path.as_str().ok()) else {
            continue;
        };
        let path = base.map_or_else(|| PathBuf::from(path), |base| base.join(path));
        let common = written.entry("plugin").cloned().unwrap_or_else(Node::null);
        for found in scan(&path, &mut dropped.passed_over) {
            if taken.contains(&found.name) {
                let why = format!("there is a plugin `{}` already", found.name);
                dropped.passed_over.push((found.path, why));
                continue;
            }
            let read = match memory.refused.get(&found.path) {
                Some((then, why)) if *then == found.identity => Err(why.clone()),
                _ => read(&found, &folder, &common),
            };
            let program = match read {
                Ok(program) => Arc::new(program),
                Err(why) => {
                    dropped.passed_over.push((found.path, why));
                    // What worked goes on.
                    match memory.fallback(&found.name) {
                        Some(before) => before,
                        None => continue,
                    }
                }
            };
            taken.insert(program.name.clone());
            dropped.programs.push(program);
        }
        dropped.folders.push(path);
    }
    for program in &dropped.programs {
        let source = sources.add(&program.source.0, Arc::clone(&program.source.1));
        let span = start_of(source);
        let mut declaration = program.declaration.clone();
        belongs_to(&mut declaration, source);
        declaration.span = Some(span);
        let key = Key {
            name: program.name.clone(),
            span: Some(span),
        };
        put(root, "plugins", (key, declaration));
    }
    for name in names {
        let all: Vec<_> = dropped
            .programs
            .iter()
            .filter(|program| program.folder == name)
            .collect();
        use_all(root, &format!("{name}/*"), &all, sources);
    }
    dropped
}

/// What is said of a program: by its folder's entry, by the file beside it, by the checksum beside it.
fn read(found: &Found, folder: &str, common: &Node) -> Result<DroppedPlugin, String> {
    if let Some(why) = &found.unusable {
        return Err(why.clone());
    }
    let shown = found.path.display().to_string();
    let mut entries = entries_of(common)?;
    let mut config = None;
    let mut text: (String, Arc<str>) = (shown.clone(), Arc::from(""));
    if let Some(manifest) = &found.manifest {
        let name = format!("{shown}{}", scan::MANIFEST);
        let mut problems = Problems::default();
        let node = yaml::parse(0, manifest, &mut problems);
        if let Some(problem) = problems.into_vec().first() {
            return Err(format!("{name}: {}", problem.message));
        }
        let own =
            entries_of(&node.unwrap_or_else(Node::null)).map_err(|why| format!("{name}: {why}"))?;
        for (key, value) in own {
            if OWN.contains(&&*key.name) {
                return Err(format!("{name}: `{}` is not its to say", key.name));
            }
            if key.name == "config" {
                config = Some(value);
                continue;
            }
            entries.retain(|(other, _)| other.name != key.name);
            entries.push((key, value));
        }
        text = (name, Arc::from(&**manifest));
    }
    if let Some(sum) = &found.sha256 {
        entries.retain(|(key, _)| key.name != "sha256");
        entries.push((Key::from("sha256"), Node::from(&**sum)));
    }
    entries.retain(|(key, _)| !OWN.contains(&&*key.name));
    entries.push((Key::from("runtime"), Node::from("process")));
    let command = Node::list([Node::from(&*shown)]);
    entries.push((Key::from("command"), command));
    // Tells a program from another one of the same name, so that it is started anew when it was replaced.
    let origin = format!("{shown} ({})", found.identity);
    entries.push((Key::from("origin"), Node::from(&*origin)));
    Ok(DroppedPlugin {
        name: found.name.clone(),
        path: found.path.clone(),
        folder: folder.to_owned(),
        declaration: Node::new(NodeKind::Map(entries)),
        config,
        source: text,
    })
}

fn entries_of(node: &Node) -> Result<Vec<(Key, Node)>, String> {
    let entries = node.as_entries().map_err(|error| error.message)?;
    Ok(entries.to_vec())
}

/// Puts a use of each program where a use of all stands, in their order.
fn use_all(node: &mut Node, all: &str, programs: &[&Arc<DroppedPlugin>], sources: &Sources) {
    match &mut node.kind {
        NodeKind::Map(entries) => {
            for (_, value) in entries {
                use_all(value, all, programs, sources);
            }
        }
        NodeKind::List(items) => {
            let mut expanded = Vec::with_capacity(items.len());
            for mut item in std::mem::take(items) {
                let named = item.entry("plugin").and_then(|name| name.as_str().ok());
                if named == Some(all) {
                    expanded.extend(programs.iter().map(|one| use_of(&item, one, sources)));
                } else {
                    use_all(&mut item, all, programs, sources);
                    expanded.push(item);
                }
            }
            *items = expanded;
        }
        _ => {}
    }
}

/// The same use, of one program.
fn use_of(item: &Node, program: &DroppedPlugin, sources: &Sources) -> Node {
    // What is wrong with it is the program's fault.
    let source = sources.place_of(&program.source.0);
    let span = source.map(start_of);
    let mut one = item.clone();
    one.span = span.or(one.span);
    if let NodeKind::Map(entries) = &mut one.kind {
        for (key, value) in entries.iter_mut() {
            key.span = span.or(key.span);
            if key.name == "plugin" {
                value.kind = NodeKind::String(program.name.clone());
            }
            value.span = span.or(value.span);
        }
        if let Some(mut config) = program.config.clone() {
            belongs_to(&mut config, source.unwrap_or_default());
            entries.retain(|(key, _)| key.name != "config");
            entries.push((Key::from("config"), config));
        }
    }
    one
}

/// Says of all places in a node which source they are in: it is known only when all programs are.
fn belongs_to(node: &mut Node, source: u32) {
    if let Some(span) = &mut node.span {
        span.source = source;
    }
    match &mut node.kind {
        NodeKind::List(items) => {
            for item in items {
                belongs_to(item, source);
            }
        }
        NodeKind::Map(entries) => {
            for (key, value) in entries {
                if let Some(span) = &mut key.span {
                    span.source = source;
                }
                belongs_to(value, source);
            }
        }
        _ => {}
    }
}

/// The first character of a source.
fn start_of(source: u32) -> Span {
    Span {
        source,
        offset: 0,
        len: 0,
        line: 1,
        column: 1,
    }
}

/// Adds an entry to a map in the root, which is made where there is none.
fn put(root: &mut Node, name: &str, entry: (Key, Node)) {
    let NodeKind::Map(entries) = &mut root.kind else {
        return;
    };
    let at = entries.iter().position(|(key, _)| key.name == name);
    let at = at.unwrap_or_else(|| {
        entries.push((Key::from(name), Node::map([])));
        entries.len() - 1
    });
    if let Some((_, map)) = entries.get_mut(at) {
        match &mut map.kind {
            NodeKind::Map(entries) => entries.push(entry),
            kind @ NodeKind::Null => *kind = NodeKind::Map(vec![entry]),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::load_file;

    #[test]
    fn programs_are_declared_and_used_where_the_folder_is() {
        let place = std::env::temp_dir().join(format!("transom-folders-{}", std::process::id()));
        let programs = place.join("plugins.d");
        fs::create_dir_all(&programs).unwrap();
        let put = |name: &str, text: &str| {
            fs::write(programs.join(name), text).unwrap();
            fs::set_permissions(programs.join(name), Permissions::from_mode(0o755)).unwrap();
        };
        for name in ["b", "a@1.9", "a@1.10", "taken", ".hidden"] {
            put(name, "");
        }
        put("b.yaml", "{instances: 2, config: {User: admin}}");
        put("b.sha256", "00ff  b\n");
        let file = place.join("transom.yaml");
        let text = "plugin_folders: {dropped: {path: plugins.d, plugin: {sandbox: strict, instances: 1}}}\n\
                    plugins: {taken: {runtime: process, command: [x]}}\n\
                    listeners:\n  - name: l\n    address: 127.0.0.1:0\n    network_filters:\n      - name: http\n        config:\n          \
                    stream_filters: [{plugin: dropped/*, on_failure: open, config: {}}]\n          virtual_hosts: []\n";
        fs::write(&file, text).unwrap();
        let read = load_file(&file);
        fs::remove_dir_all(&place).unwrap();
        let read = read.unwrap();
        let names: Vec<&str> = read.resources.plugins.keys().map(String::as_str).collect();
        assert_eq!(names, ["a", "b", "taken"]);
        let declared = |name: &str, key: &str| {
            let declaration = &read.resources.plugins[name].declaration;
            declaration
                .entry(key)
                .map(Node::to_json)
                .unwrap_or_default()
        };
        assert!(declared("a", "command").contains("a@1.10"));
        assert_eq!(declared("a", "instances"), "1");
        assert_eq!(declared("b", "instances"), "2");
        assert_eq!(declared("b", "sandbox"), "\"strict\"");
        assert_eq!(declared("b", "sha256"), "\"00ff\"");
        assert!(declared("b", "origin").contains("plugins.d/b ("));
        let chain = format!("{:?}", read.resources.listeners["l"]);
        let at = |what: &str| {
            chain
                .find(what)
                .unwrap_or_else(|| panic!("{what}: {chain}"))
        };
        assert!(at("Plugin(\"a\")") < at("Plugin(\"b\")"));
        assert!(chain.contains("admin"), "{chain}");
        let passed: Vec<_> = read
            .dropped
            .passed_over
            .iter()
            .map(|(path, _)| path)
            .collect();
        assert_eq!(passed, [&programs.join("taken")]);
    }
}
