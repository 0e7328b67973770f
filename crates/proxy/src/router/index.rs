//! The first route of a virtual host that takes a request, without a look at those that cannot.

use std::collections::HashMap;

use super::matcher::{ALL_PATHS, ASTERISK, Matcher, PathTest, Patterns, Request};
use super::trie::Trie;

/// Routes by their paths. The order of the configuration holds: of all routes that take a request the first is found,
/// whatever its kind. Exact paths and prefixes cost a look-up; a route with a pattern, or with no path at all, costs its
/// own test, unless a route before it takes the request.
#[derive(Debug, Default)]
pub(crate) struct Index {
    exact: HashMap<Box<[u8]>, Numbers>,
    /// Its values are places in `lists`.
    prefixes: Trie,
    lists: Vec<Numbers>,
    /// Routes whose paths cannot be looked up.
    others: Numbers,
    /// Routes for CONNECT, and no other request.
    connect: Numbers,
}

/// Numbers of routes, from the first to the last.
type Numbers = Vec<u32>;

impl Index {
    pub(crate) fn new<'m>(matchers: impl Iterator<Item = &'m Matcher>) -> Self {
        let mut index = Self::default();
        let mut prefixes: HashMap<&[u8], Numbers> = HashMap::new();
        for (matcher, number) in matchers.zip(0..) {
            match &matcher.path {
                PathTest::Exact(path) => {
                    index.exact.entry(path.clone()).or_default().push(number);
                }
                PathTest::Prefix(prefix) => {
                    prefixes.entry(prefix).or_default().push(number);
                }
                PathTest::Any | PathTest::Regex(_) => index.others.push(number),
                PathTest::Connect => index.connect.push(number),
            }
        }
        let mut entries = Vec::with_capacity(prefixes.len());
        for (prefix, numbers) in prefixes {
            entries.push((prefix.to_vec(), index.lists.len() as u32));
            index.lists.push(numbers);
        }
        index.prefixes = Trie::new(entries);
        index
    }

    /// Whether any route takes requests for tunnels.
    pub(crate) fn takes_connect(&self) -> bool {
        !self.connect.is_empty()
    }

    /// The number of the first route that takes a request.
    pub(crate) fn find<'m>(
        &self,
        patterns: &Patterns,
        request: &Request<'_>,
        matcher: impl Fn(u32) -> Option<&'m Matcher>,
    ) -> Option<u32> {
        let mut best = None;
        let mut first_of = |numbers: &[u32], path_is_known: bool| {
            let before = |number: &u32| best.is_none_or(|best| *number < best);
            let found = numbers
                .iter()
                .take_while(|number| before(number))
                .find(|number| {
                    matcher(**number).is_some_and(|matcher| {
                        (path_is_known || matcher.takes_path(patterns, request.path))
                            && matcher.takes_rest(patterns, request)
                    })
                });
            best = found.copied().or(best);
        };
        if request.is_connect() {
            first_of(&self.connect, true);
            return best;
        }
        if !self.exact.is_empty()
            && let Some(numbers) = self.exact.get(request.path)
        {
            first_of(numbers, true);
        }
        let path = match request.path {
            ASTERISK => ALL_PATHS,
            path => path,
        };
        for (list, _) in self.prefixes.walk(path.iter().copied()) {
            if let Some(numbers) = self.lists.get(list as usize) {
                first_of(numbers, true);
            }
        }
        first_of(&self.others, false);
        best
    }
}

#[cfg(test)]
mod tests {
    use transom_config::{FieldMatch, PathMatch, Pattern, RouteMatch, ValueMatch};

    use super::super::matcher::PatternsBuilder;
    use super::*;
    use crate::http::head::{Head, Pseudo};

    fn exact(path: &str) -> RouteMatch {
        PathMatch::Exact(path.to_owned()).into()
    }

    fn prefix(path: &str) -> RouteMatch {
        PathMatch::Prefix(path.to_owned()).into()
    }

    fn regex(text: &str) -> RouteMatch {
        PathMatch::Regex(Pattern::whole(text).unwrap()).into()
    }

    /// The same for requests with the field `x` only.
    fn with_x(mut matcher: RouteMatch) -> RouteMatch {
        matcher.headers.push(FieldMatch {
            name: "x".to_owned(),
            value: ValueMatch::Present,
            invert: false,
        });
        matcher
    }

    fn head(path: &str, x: bool) -> Head {
        let mut head = Head::default();
        head.set_pseudo(Pseudo::Path, path.as_bytes());
        if x {
            head.push_own(b"x", b"1");
        }
        head
    }

    struct Table {
        matchers: Vec<Matcher>,
        patterns: Patterns,
        index: Index,
    }

    impl Table {
        fn new(routes: &[RouteMatch]) -> Self {
            let mut patterns = PatternsBuilder::default();
            let matchers: Vec<_> = routes
                .iter()
                .map(|route| Matcher::new(route, &mut patterns))
                .collect();
            Self {
                index: Index::new(matchers.iter()),
                matchers,
                patterns: patterns.finish(),
            }
        }

        fn find(&self, head: &Head) -> Option<u32> {
            let matcher = |number: u32| self.matchers.get(number as usize);
            self.index.find(&self.patterns, &Request::of(head), matcher)
        }

        /// One route after the other.
        fn find_slowly(&self, head: &Head) -> Option<u32> {
            let request = Request::of(head);
            let found = self.matchers.iter().position(|matcher| {
                matcher.takes_path(&self.patterns, request.path)
                    && matcher.takes_rest(&self.patterns, &request)
            });
            found.map(|at| at as u32)
        }
    }

    #[test]
    fn the_first_route_that_takes_a_request_wins_whatever_its_kind() {
        let table = Table::new(&[
            with_x(exact("/a")),
            regex("/[0-9]+"),
            prefix("/a/b"),
            exact("/a"),
            with_x(prefix("/a")),
            prefix("/a"),
            exact("/a/c"),
            with_x(RouteMatch::default()),
            prefix("/1"),
            exact("/12"),
            RouteMatch::default(),
        ]);
        for (path, x, expected) in [
            ("/a", true, 0),
            ("/a", false, 3),
            ("/a?x", false, 3),
            ("/a/b", true, 2),
            ("/a/c", true, 4),
            ("/a/c", false, 5),
            ("/12", false, 1),
            ("/1x", true, 7),
            ("/1x", false, 8),
            ("*", true, 7),
            ("*", false, 10),
        ] {
            assert_eq!(table.find(&head(path, x)), Some(expected), "{path} {x}");
        }
        let table = Table::new(&[exact("/a"), prefix("/b")]);
        assert_eq!(table.find(&head("/c", false)), None);
        assert_eq!(Table::new(&[]).find(&head("/", false)), None);
    }

    #[test]
    fn the_asterisk_of_options_takes_the_route_for_all_paths() {
        let table = Table::new(&[prefix("/a"), with_x(prefix("/")), prefix("/")]);
        for (path, x, expected) in [
            ("*", true, Some(1)),
            ("*", false, Some(2)),
            ("*a", false, None),
        ] {
            let head = head(path, x);
            assert_eq!(table.find(&head), expected, "{path} {x}");
            assert_eq!(table.find_slowly(&head), expected, "{path} {x}");
        }
        assert_eq!(Table::new(&[prefix("/a")]).find(&head("*", true)), None);
    }

    #[test]
    fn an_index_finds_what_a_look_at_each_route_finds() {
        // Paths over two segments, from a small generator, so that routes overlap in every way.
        let mut state = 1_u32;
        let mut next = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % below
        };
        for _ in 0..40 {
            let mut path = |most: u32| -> String {
                (0..=next(most))
                    .map(|_| ["/a", "/b", "/ab"][next(3) as usize])
                    .collect()
            };
            let paths: Vec<String> = (0..40).map(|_| path(3)).collect();
            let routes: Vec<RouteMatch> = paths
                .iter()
                .take(20)
                .map(|path| {
                    let route = match next(5) {
                        0 | 1 => exact(path),
                        2 | 3 => prefix(path),
                        _ => regex(&format!("{path}.?")),
                    };
                    if next(3) == 0 { with_x(route) } else { route }
                })
                .collect();
            let table = Table::new(&routes);
            for path in &paths {
                for x in [true, false] {
                    let head = head(path, x);
                    assert_eq!(
                        table.find(&head),
                        table.find_slowly(&head),
                        "{path} in {routes:?}"
                    );
                }
            }
        }
    }
}
