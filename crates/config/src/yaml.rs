//! Text to tree: YAML 1.2 (and so JSON) as [`Node`]s that know their places.
//!
//! Plain scalars are read by the core schema of YAML 1.2, section 10.3.2: `yes` and `on` are text, `0o17` and `0xf` are
//! numbers. Anchors, aliases and merge keys (`<<`) work within limits. Repeated keys, tags other than the core ones, and
//! a second document are problems.

mod message;
mod scalar;

use std::collections::HashMap;

use granit_parser::{
    Event, Marker, Options, Parser, ScalarStyle, Span as Range, StructureStyle, Tag,
};
use transom_api::{Key, Node, NodeKind, Span};

use crate::problems::Problems;
use crate::report::Problem;

/// Lists and maps may be nested so deep. Reading, comparing and dropping a tree recurse.
pub(crate) const DEEPEST: usize = 64;

/// What anchors and aliases may copy in all, in bytes. Nested aliases multiply: nine levels of nine make a gigabyte of
/// a few lines ("billion laughs"). A hand-written file copies some kilobytes.
pub(crate) const MOST_COPIED: usize = 64 * 1024 * 1024;

/// Reads `text`. `None` when there is no tree at all: the text is empty, or a problem says why.
pub(crate) fn parse(source: u32, text: &str, problems: &mut Problems) -> Option<Node> {
    let mut options = Options::default();
    options.flow_nesting_limit = DEEPEST;
    options.block_nesting_limit = DEEPEST;
    options.disallow_directives = true;
    let mut tree = Tree {
        source,
        problems,
        open: Vec::new(),
        root: None,
        anchors: HashMap::new(),
        copied: 0,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let step = match event {
            Ok((event, range)) => tree.take(event, range),
            Err(error) => {
                let span = span(source, *error.marker(), None);
                Err(message::problem(error.kind(), span, text))
            }
        };
        if let Err(problem) = step {
            tree.problems.push(problem);
            return None;
        }
    }
    tree.root
}

/// The tree that the parser's events have made so far.
struct Tree<'p> {
    source: u32,
    problems: &'p mut Problems,
    /// The lists and maps that have not ended, outermost first.
    open: Vec<Open>,
    root: Option<Node>,
    /// What aliases may refer to, by the parser's number of the anchor. `None` while the node has not ended.
    anchors: HashMap<usize, Option<Anchored>>,
    copied: usize,
}

/// A list or map that has not ended.
struct Open {
    content: Content,
    start: Marker,
    /// Where the last thing in it ended.
    end: Marker,
    flow: bool,
    anchor: usize,
    depth: usize,
}

enum Content {
    List(Vec<Node>),
    Map {
        entries: Vec<(Key, Node)>,
        /// Place of each key in `entries`.
        known: HashMap<String, usize>,
        key: Option<Key>,
        /// True when that key is `<<`.
        merges: bool,
        /// What `<<` brought, in order.
        merged: Vec<Node>,
    },
}

/// A node that aliases may refer to.
struct Anchored {
    node: Node,
    cost: usize,
    depth: usize,
}

type Step = Result<(), Problem>;

impl Tree<'_> {
    fn take(&mut self, event: Event<'_>, range: Range) -> Step {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain;
                self.scalar(&text, is_plain, anchor, tag.as_deref(), range)
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq", range);
                self.begin(Content::List(Vec::new()), style, anchor, range)
            }
            Event::MappingStart(style, anchor, tag) => {
                self.check_tag(tag.as_deref(), "map", range);
                let content = Content::Map {
                    entries: Vec::new(),
                    known: HashMap::new(),
                    key: None,
                    merges: false,
                    merged: Vec::new(),
                };
                self.begin(content, style, anchor, range)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(range),
            Event::Alias(anchor) => self.alias(anchor, range),
            Event::DocumentStart(..) if self.root.is_some() => Err(Problem::new(
                "a second document begins here",
                self.span(range),
            )
            .with_help(
                "a configuration is one document: put the documents into files of their own",
            )),
            _ => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        is_plain: bool,
        anchor: usize,
        tag: Option<&Tag>,
        range: Range,
    ) -> Step {
        let span = self.span(range);
        if self.wants_key() {
            self.check_tag(tag, "str", range);
            self.remember(anchor, 0, || Node {
                kind: NodeKind::String(text.to_owned()),
                span,
            })?;
            return self.key(text, is_plain, range);
        }
        let kind = match tag.map(|tag| (tag, tag.core_suffix())) {
            None if is_plain => scalar::plain(text),
            None => Ok(NodeKind::String(text.to_owned())),
            Some((_, Some("str"))) => Ok(NodeKind::String(text.to_owned())),
            Some((_, Some(suffix))) => scalar::tagged(text, suffix),
            // `!` alone: no more than "not plain" (YAML 1.2, section 6.9.1).
            Some((tag, None)) if tag.handle().is_empty() && tag.suffix() == "!" => {
                Ok(NodeKind::String(text.to_owned()))
            }
            Some((tag, None)) => Err(unknown_tag(tag)),
        };
        let kind = kind.unwrap_or_else(|problem| {
            let span = match tag {
                Some(_) => self.tag_span(range),
                None => span,
            };
            self.problems.push(Problem { span, ..problem });
            NodeKind::Null
        });
        let node = Node { kind, span };
        self.remember(anchor, 0, || node.clone())?;
        self.put(node, range.end, 0)
    }

    fn begin(
        &mut self,
        content: Content,
        style: StructureStyle,
        anchor: usize,
        range: Range,
    ) -> Step {
        if self.wants_key() {
            return Err(
                Problem::new("a key must be text", self.span(range)).with_help(
                    "a list or a map cannot be a key; put text that begins with [ or { in quotes",
                ),
            );
        }
        if self.open.len() >= DEEPEST {
            return Err(self.too_deep(range));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, None);
        }
        self.open.push(Open {
            content,
            start: range.start,
            end: range.end,
            flow: style == StructureStyle::Flow,
            anchor,
            depth: 1,
        });
        Ok(())
    }

    fn end(&mut self, range: Range) -> Step {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        // A block ends where the parser notices it, lines below; its last child says where it really does.
        let end = if open.flow { range.end } else { open.end };
        let kind = match open.content {
            Content::List(items) => NodeKind::List(items),
            Content::Map {
                mut entries,
                mut known,
                merged,
                ..
            } => {
                for node in merged {
                    merge(node, &mut entries, &mut known);
                }
                NodeKind::Map(entries)
            }
        };
        let node = Node {
            kind,
            span: span(self.source, open.start, Some(end)),
        };
        self.remember(open.anchor, open.depth, || node.clone())?;
        self.put(node, end, open.depth)
    }

    fn alias(&mut self, anchor: usize, range: Range) -> Step {
        let Some(Some(anchored)) = self.anchors.get(&anchor) else {
            return Err(Problem::new(
                "this alias stands inside the node that it refers to",
                self.span(range),
            ));
        };
        if self.open.len() + anchored.depth > DEEPEST {
            return Err(self.too_deep(range));
        }
        self.copied = self.copied.saturating_add(anchored.cost);
        if self.copied > MOST_COPIED {
            return Err(self.too_much(range));
        }
        let depth = anchored.depth;
        let node = anchored.node.clone();
        if self.wants_key() {
            let NodeKind::String(text) = &node.kind else {
                return Err(Problem::new("a key must be text", self.span(range)));
            };
            return self.key(text, false, range);
        }
        self.put(node, range.end, depth)
    }

    /// True when the next node is a key of a map.
    fn wants_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                content: Content::Map { key: None, .. },
                ..
            })
        )
    }

    fn key(&mut self, text: &str, is_plain: bool, range: Range) -> Step {
        let span = self.span(range);
        let Some(open) = self.open.last_mut() else {
            return Ok(());
        };
        open.end = range.end;
        if let Content::Map { key, merges, .. } = &mut open.content {
            // A quoted `<<` is a key like any other.
            *merges = is_plain && text == "<<";
            *key = Some(Key {
                name: text.to_owned(),
                span,
            });
        }
        Ok(())
    }

    /// Puts a complete node where it belongs.
    fn put(&mut self, node: Node, at: Marker, depth: usize) -> Step {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.end = at;
        open.depth = open.depth.max(depth + 1);
        match &mut open.content {
            Content::List(items) => items.push(node),
            Content::Map {
                entries,
                known,
                key,
                merges,
                merged,
            } => {
                let Some(key) = key.take() else { return Ok(()) };
                if *merges {
                    if is_mergeable(&node) {
                        merged.push(node);
                    } else {
                        self.problems.push(
                            Problem::new(
                                "`<<` takes a map or a list of maps",
                                node.span.or(key.span),
                            )
                            .with_help("put the key in quotes if it is meant as it stands"),
                        );
                    }
                    return Ok(());
                }
                if let Some(&first) = known.get(&key.name) {
                    let first = entries.get(first).and_then(|(key, _)| key.span);
                    let message = format!("the key `{}` is given twice", key.name);
                    self.problems.twice(message, first, key.span);
                    return Ok(());
                }
                known.insert(key.name.clone(), entries.len());
                entries.push((key, node));
            }
        }
        Ok(())
    }

    /// Keeps a copy of a node that has an anchor.
    fn remember(&mut self, anchor: usize, depth: usize, node: impl FnOnce() -> Node) -> Step {
        if anchor == 0 {
            return Ok(());
        }
        let node = node();
        let cost = cost(&node);
        // Anchors inside anchors are copied once for each level.
        self.copied = self.copied.saturating_add(cost);
        if self.copied > MOST_COPIED {
            return Err(Problem {
                span: node.span,
                ..self.too_much(Range::default())
            });
        }
        self.anchors
            .insert(anchor, Some(Anchored { node, cost, depth }));
        Ok(())
    }

    fn check_tag(&mut self, tag: Option<&Tag>, expected: &str, range: Range) {
        let Some(tag) = tag else { return };
        if tag.core_suffix() != Some(expected) && tag.suffix() != "!" {
            let span = self.tag_span(range);
            self.problems.push(Problem {
                span,
                ..unknown_tag(tag)
            });
        }
    }

    fn too_deep(&self, range: Range) -> Problem {
        Problem::new(
            format!("lists and maps are nested deeper than {DEEPEST} levels"),
            self.span(range),
        )
    }

    fn too_much(&self, range: Range) -> Problem {
        let limit = MOST_COPIED / (1024 * 1024);
        Problem::new(
            format!("the aliases of this file copy more than {limit} MiB"),
            self.span(range),
        )
        .with_help(
            "an alias copies what its anchor names, and aliases of aliases multiply: write fewer",
        )
    }

    /// Where the tag of a node stands.
    fn tag_span(&self, range: Range) -> Option<Span> {
        self.span(range.tag_span().unwrap_or(range))
    }

    fn span(&self, range: Range) -> Option<Span> {
        span(self.source, range.start, Some(range.end))
    }
}

fn is_mergeable(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Map(_) => true,
        NodeKind::List(items) => items
            .iter()
            .all(|item| matches!(item.kind, NodeKind::Map(_))),
        _ => false,
    }
}

/// Adds the entries of `node` whose keys are not there yet: what stands in the map itself, or came earlier, wins.
fn merge(node: Node, entries: &mut Vec<(Key, Node)>, known: &mut HashMap<String, usize>) {
    match node.kind {
        NodeKind::List(items) => {
            for item in items {
                merge(item, entries, known);
            }
        }
        NodeKind::Map(merged) => {
            for (key, value) in merged {
                if !known.contains_key(&key.name) {
                    known.insert(key.name.clone(), entries.len());
                    entries.push((key, value));
                }
            }
        }
        _ => {}
    }
}

fn unknown_tag(tag: &Tag) -> Problem {
    Problem::new(format!("unknown tag `{}`", tag.original()), None)
        .with_help("a configuration needs no tags; put text that begins with ! in quotes")
}

/// About how many bytes a copy of the node takes.
fn cost(node: &Node) -> usize {
    let own = size_of::<Node>();
    own + match &node.kind {
        NodeKind::String(text) => text.len(),
        NodeKind::List(items) => items.iter().map(cost).sum(),
        NodeKind::Map(entries) => entries
            .iter()
            .map(|(key, value)| size_of::<Key>() + key.name.len() + cost(value))
            .sum(),
        _ => 0,
    }
}

/// A place from the parser's marks. `None` when it does not fit [`Span`], which the limit of a source's size excludes.
fn span(source: u32, start: Marker, end: Option<Marker>) -> Option<Span> {
    let offset = start.byte_offset()?;
    let end = end.and_then(|end| end.byte_offset()).unwrap_or(offset);
    Some(Span {
        source,
        offset: u32::try_from(offset).ok()?,
        len: u32::try_from(end.saturating_sub(offset)).ok()?,
        line: u32::try_from(start.line()).ok()?,
        column: u32::try_from(start.col() + 1).ok()?,
    })
}

#[cfg(test)]
mod tests;
