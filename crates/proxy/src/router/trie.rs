//! Strings that a text begins with, all of them in one walk.

use std::collections::VecDeque;

/// A prefix tree over bytes with a number at each entry. A walk costs the length of what matches, however many entries
/// there are: nodes are 20 bytes, and those below a node, and their first bytes, lie side by side.
#[derive(Debug, Default)]
pub(crate) struct Trie {
    nodes: Vec<Node>,
    /// The bytes of labels.
    labels: Vec<u8>,
    /// The first bytes of nodes, as these lie.
    firsts: Vec<u8>,
}

/// What must follow the node's first byte, and what is below it.
#[derive(Clone, Copy, Debug)]
struct Node {
    label: u32,
    label_len: u32,
    children: u32,
    children_len: u32,
    value: u32,
}

/// No entry ends at this node.
const NOTHING: u32 = u32::MAX;

impl Trie {
    /// A tree of entries; of equal ones the first stays.
    pub(crate) fn new(mut entries: Vec<(Vec<u8>, u32)>) -> Self {
        // Stable, so that the first of equal ones stays.
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries.dedup_by(|later, first| later.0 == first.0);
        let mut trie = Self::default();
        if entries.is_empty() {
            return trie;
        }
        let mut pending = VecDeque::new();
        trie.push(0);
        pending.push_back((0, entries.as_slice(), 0));
        // Level by level, not by recursion: each of ten thousand prefixes may be a prefix of the next.
        while let Some((node, mut entries, depth)) = pending.pop_front() {
            let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
                continue;
            };
            let rest = first.0.get(depth..).unwrap_or_default();
            // Sorted: what the first and the last have in common all have.
            let common = rest
                .iter()
                .zip(last.0.get(depth..).unwrap_or_default())
                .take_while(|(a, b)| a == b)
                .count();
            let label = trie.labels.len() as u32;
            trie.labels
                .extend_from_slice(rest.get(..common).unwrap_or_default());
            let depth = depth + common;
            let mut value = NOTHING;
            if first.0.len() == depth {
                value = first.1;
                entries = entries.get(1..).unwrap_or_default();
            }
            let children = trie.nodes.len() as u32;
            for below in entries.chunk_by(|a, b| a.0.get(depth) == b.0.get(depth)) {
                let byte = below.first().and_then(|entry| entry.0.get(depth));
                pending.push_back((trie.nodes.len(), below, depth + 1));
                trie.push(byte.copied().unwrap_or_default());
            }
            if let Some(node) = trie.nodes.get_mut(node) {
                *node = Node {
                    label,
                    label_len: common as u32,
                    children,
                    children_len: trie.firsts.len() as u32 - children,
                    value,
                };
            }
        }
        trie
    }

    /// The entries that `text` begins with, the shortest first, each with its length.
    pub(crate) fn walk<I: Iterator<Item = u8>>(&self, text: I) -> Walk<'_, I> {
        Walk {
            trie: self,
            text,
            next: (!self.nodes.is_empty()).then_some(0),
            depth: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    fn push(&mut self, first: u8) {
        self.firsts.push(first);
        self.nodes.push(Node {
            label: 0,
            label_len: 0,
            children: 0,
            children_len: 0,
            value: NOTHING,
        });
    }

    fn label(&self, node: Node) -> &[u8] {
        let start = node.label as usize;
        self.labels
            .get(start..start + node.label_len as usize)
            .unwrap_or_default()
    }

    fn child(&self, node: Node, byte: u8) -> Option<usize> {
        let start = node.children as usize;
        let firsts = self.firsts.get(start..start + node.children_len as usize)?;
        // Sorted, and mostly few: a search by halves pays for many only.
        const FEW: usize = 16;
        let found = if firsts.len() <= FEW {
            firsts.iter().position(|first| *first == byte)
        } else {
            firsts.binary_search(&byte).ok()
        };
        found.map(|at| start + at)
    }
}

/// See [`Trie::walk`].
#[derive(Debug)]
pub(crate) struct Walk<'t, I> {
    trie: &'t Trie,
    text: I,
    /// The node whose first byte was read.
    next: Option<usize>,
    depth: usize,
}

impl<I: Iterator<Item = u8>> Iterator for Walk<'_, I> {
    type Item = (u32, usize);

    fn next(&mut self) -> Option<(u32, usize)> {
        while let Some(node) = self
            .next
            .take()
            .and_then(|next| self.trie.nodes.get(next).copied())
        {
            for byte in self.trie.label(node) {
                if self.text.next() != Some(*byte) {
                    return None;
                }
            }
            self.depth += node.label_len as usize;
            let found = (node.value != NOTHING).then_some((node.value, self.depth));
            if node.children_len > 0
                && let Some(byte) = self.text.next()
            {
                self.next = self.trie.child(node, byte);
                self.depth += 1;
            }
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trie(entries: &[&str]) -> Trie {
        let entries = entries.iter().zip(0..);
        Trie::new(
            entries
                .map(|(entry, index)| (entry.as_bytes().to_vec(), index))
                .collect(),
        )
    }

    fn found(trie: &Trie, text: &str) -> Vec<(u32, usize)> {
        trie.walk(text.bytes()).collect()
    }

    #[test]
    fn all_prefixes_of_a_text_are_found_the_shortest_first() {
        let trie = trie(&["/b", "/", "/abc", "/abd", "/a", "/abc", "", "/abcdef"]);
        for (text, expected) in [
            ("", &[(6, 0)][..]),
            ("x", &[(6, 0)]),
            ("/", &[(6, 0), (1, 1)]),
            ("/ab", &[(6, 0), (1, 1), (4, 2)]),
            ("/abcd", &[(6, 0), (1, 1), (4, 2), (2, 4)]),
            ("/abcdefg", &[(6, 0), (1, 1), (4, 2), (2, 4), (7, 7)]),
            ("/bc", &[(6, 0), (1, 1), (0, 2)]),
        ] {
            assert_eq!(found(&trie, text), expected, "{text}");
        }
        assert_eq!(found(&super::Trie::default(), "/"), []);
        assert!(super::Trie::new(Vec::new()).is_empty());
    }

    #[test]
    fn a_tree_finds_what_a_look_at_each_entry_finds() {
        // Texts over three letters, from a small generator: many are prefixes of others, nodes have up to 3 children.
        let mut state = 7_u32;
        let mut text = || -> String {
            state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            let len = state >> 16 & 7;
            (0..len)
                .map(|at| char::from(b'a' + (state >> (at * 3) & 0xff) as u8 % 3))
                .collect()
        };
        let entries: Vec<String> = (0..200).map(|_| text()).collect();
        let trie = trie(&entries.iter().map(String::as_str).collect::<Vec<_>>());
        for _ in 0..2_000 {
            let text = text();
            let mut expected: Vec<(u32, usize)> = Vec::new();
            for (entry, index) in entries.iter().zip(0..) {
                if text.starts_with(entry.as_str())
                    && !expected.iter().any(|(_, len)| *len == entry.len())
                {
                    expected.push((index, entry.len()));
                }
            }
            expected.sort_by_key(|(_, len)| *len);
            assert_eq!(found(&trie, &text), expected, "{text}");
        }
    }

    #[test]
    fn many_children_and_deep_chains_are_no_trouble() {
        let bytes: Vec<(Vec<u8>, u32)> = (0..=255).map(|byte| (vec![byte], byte.into())).collect();
        let trie = Trie::new(bytes);
        for byte in 0..=255 {
            let found: Vec<_> = trie.walk([byte].into_iter()).collect();
            assert_eq!(found, [(u32::from(byte), 1)]);
        }
        let chain = (1..2_000).map(|len| (vec![b'a'; len], len as u32));
        let trie = Trie::new(chain.collect());
        assert_eq!(trie.walk(std::iter::repeat_n(b'a', 3_000)).count(), 1_999);
    }
}
