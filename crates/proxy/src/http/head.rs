//! The concrete header map of a message: one arena of bytes and spans into it.
//!
//! A head that comes from the codec is copied once, as a whole, and its spans stay good; what filters set is appended.
//! Pseudo-headers stand apart from the fields, so that finding the path of a request is one index.

use std::borrow::Cow;

pub(crate) use transom_api::field::Pseudo;
use transom_api::headers::HeaderEntry;
use transom_api::{HeaderError, HeaderMap, field};
use transom_http1::encode::Line;
use transom_http1::{Field as DecodedField, FieldSink, Known, Span};

/// Filters may let a map grow to this; the codec's own limit for what comes in is lower.
const LARGEST_MAP: usize = 256 << 10;
const MOST_FIELDS: usize = 1_000;

/// Where a map stands in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Presence {
    /// The message has no such map (yet).
    #[default]
    Absent,
    /// It is here and can be changed.
    Here,
    /// It has left.
    Released,
}

/// A header map.
#[derive(Debug, Default)]
pub(crate) struct Head {
    arena: Vec<u8>,
    pseudo: [Option<Range>; 5],
    fields: Vec<Field>,
    presence: Presence,
    /// The path as it came, and the other spelling of it that filters and routes see.
    respelled: Option<(Range, Range)>,
    /// The reason phrase of a response, and whether a filter has set it.
    reason: Range,
    sets_reason: bool,
}

/// A stretch of the arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Range {
    start: u32,
    len: u32,
}

#[derive(Clone, Copy, Debug)]
struct Field {
    name: Range,
    value: Range,
    known: Known,
    /// As the codec gave it: its bytes have been checked, and the arena holds the head that they came in.
    decoded: bool,
}

impl Head {
    /// Empties the map and keeps its memory.
    pub(crate) fn clear(&mut self) {
        // A giant head must not stay in the memory of a stream that is used again.
        const KEPT: usize = 16 << 10;
        self.arena.clear();
        self.arena.shrink_to(KEPT);
        self.fields.clear();
        self.pseudo = [None; 5];
        self.respelled = None;
        self.reason = Range::default();
        self.sets_reason = false;
        self.presence = Presence::Absent;
    }

    pub(crate) fn presence(&self) -> Presence {
        self.presence
    }

    pub(crate) fn set_presence(&mut self, presence: Presence) {
        self.presence = presence;
    }

    /// A sink for the fields of a head that is being decoded. Their spans are good once the decoded bytes were taken
    /// over by [`Head::adopt`].
    pub(crate) fn filler(&mut self) -> HeadFiller<'_> {
        let base = self.arena.len() as u32;
        HeadFiller { head: self, base }
    }

    /// Takes over the bytes of the decoded head that the filler's spans point into.
    pub(crate) fn adopt(&mut self, bytes: &[u8]) -> u32 {
        let base = self.arena.len() as u32;
        self.arena.extend_from_slice(bytes);
        self.presence = Presence::Here;
        base
    }

    /// Makes a span of the bytes adopted at `base` a pseudo-header.
    pub(crate) fn adopt_pseudo(&mut self, base: u32, pseudo: Pseudo, span: Span) {
        let range = Range {
            start: base + span.start,
            len: span.len,
        };
        if let Some(slot) = self.pseudo.get_mut(pseudo as usize) {
            *slot = Some(range);
        }
    }

    /// The value of a pseudo-header.
    pub(crate) fn pseudo(&self, pseudo: Pseudo) -> Option<&[u8]> {
        self.pseudo
            .get(pseudo as usize)
            .copied()
            .flatten()
            .map(|range| self.bytes(range))
    }

    /// Sets a pseudo-header without a check: for what comes from the codec or the proxy itself.
    pub(crate) fn set_pseudo(&mut self, pseudo: Pseudo, value: &[u8]) {
        let range = self.append(value);
        if let Some(slot) = self.pseudo.get_mut(pseudo as usize) {
            *slot = Some(range);
        }
    }

    /// Shows filters and routes the path in another spelling; [`Head::restore_path`] undoes it.
    pub(crate) fn respell_path(&mut self, path: &[u8]) {
        let came = self.pseudo.get(Pseudo::Path as usize).copied().flatten();
        self.set_pseudo(Pseudo::Path, path);
        let shown = self.pseudo.get(Pseudo::Path as usize).copied().flatten();
        self.respelled = came.zip(shown);
    }

    /// Puts the path back as it came, unless somebody has set another one.
    pub(crate) fn restore_path(&mut self) {
        if let Some((came, shown)) = self.respelled.take()
            && let Some(slot) = self.pseudo.get_mut(Pseudo::Path as usize)
            && *slot == Some(shown)
        {
            *slot = Some(came);
        }
    }

    /// The status of a response; 0 when there is none.
    pub(crate) fn status(&self) -> u16 {
        match self.pseudo(Pseudo::Status) {
            Some([hundreds, tens, ones]) => {
                [hundreds, tens, ones].iter().fold(0, |status, digit| {
                    status * 10 + u16::from(digit.wrapping_sub(b'0'))
                })
            }
            _ => 0,
        }
    }

    /// The fields that go on the wire: without pseudo-headers and without those that the codec writes itself.
    pub(crate) fn wire_fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields
            .iter()
            .filter(|field| field.known != Known::ContentLength)
            .map(|field| (self.bytes(field.name), self.bytes(field.value)))
    }

    /// The same for encoders: lines that nobody has changed since they were decoded go on as they stand, as many at once
    /// as stand together.
    pub(crate) fn wire_lines(&self) -> impl Iterator<Item = Line<'_>> {
        let mut rest = self.fields.iter().as_slice();
        std::iter::from_fn(move || {
            let field = loop {
                let (field, behind) = rest.split_first()?;
                rest = behind;
                if field.known != Known::ContentLength {
                    break field;
                }
            };
            let Some(mut end) = self.decoded_line_end(field) else {
                return Some(Line::Field(self.bytes(field.name), self.bytes(field.value)));
            };
            while let Some((next, behind)) = rest.split_first()
                && next.name.start == end
                && next.known != Known::ContentLength
                && let Some(next_end) = self.decoded_line_end(next)
            {
                end = next_end;
                rest = behind;
            }
            Some(Line::Decoded(self.bytes(Range {
                start: field.name.start,
                len: end - field.name.start,
            })))
        })
    }

    /// Where the line of a field ends, if it stands in the arena as it would be written.
    #[inline]
    fn decoded_line_end(&self, field: &Field) -> Option<u32> {
        if !field.decoded {
            return None;
        }
        let between = field.name.start + field.name.len;
        let end = field.value.start + field.value.len;
        let stands = field.value.start == between + 2
            && self.two_bytes(between) == *b": "
            && self.two_bytes(end) == *b"\r\n";
        stands.then_some(end + 2)
    }

    #[inline]
    fn two_bytes(&self, at: u32) -> [u8; 2] {
        self.arena
            .get(at as usize..)
            .and_then(|rest| rest.first_chunk())
            .copied()
            .unwrap_or_default()
    }

    /// True when there are no fields.
    pub(crate) fn has_no_fields(&self) -> bool {
        self.fields.is_empty()
    }

    /// The `nth` value of `name`.
    pub(crate) fn get(&self, name: &[u8], nth: usize) -> Option<&[u8]> {
        if let Some(pseudo) = Pseudo::of(name) {
            return if nth == 0 { self.pseudo(pseudo) } else { None };
        }
        self.fields
            .iter()
            .filter(|field| self.bytes(field.name).eq_ignore_ascii_case(name))
            .nth(nth)
            .map(|field| self.bytes(field.value))
    }

    /// The values of a field that is no pseudo-header.
    pub(crate) fn values<'h>(&'h self, name: &[u8]) -> impl DoubleEndedIterator<Item = &'h [u8]> {
        self.fields
            .iter()
            .filter(move |field| self.bytes(field.name).eq_ignore_ascii_case(name))
            .map(|field| self.bytes(field.value))
    }

    /// The entry at `index`, pseudo-headers first.
    pub(crate) fn at(&self, index: usize) -> Option<HeaderEntry<'_>> {
        let present = self.pseudo.iter().flatten().count();
        if index < present {
            let mut pseudo = Pseudo::ALL
                .into_iter()
                .filter_map(|pseudo| Some((pseudo.name(), self.pseudo(pseudo)?)));
            let (name, value) = pseudo.nth(index)?;
            return Some((Cow::Borrowed(name.as_bytes()), Cow::Borrowed(value)));
        }
        let field = self.fields.get(index - present)?;
        Some((
            Cow::Borrowed(self.bytes(field.name)),
            Cow::Borrowed(self.bytes(field.value)),
        ))
    }

    /// Replaces all values of `name` by one, for a filter.
    pub(crate) fn set(
        &mut self,
        map: HeaderMap,
        name: &[u8],
        value: &[u8],
    ) -> Result<(), HeaderError> {
        let pseudo = self.check(map, name, value)?;
        if let Some(pseudo) = pseudo {
            self.set_pseudo(pseudo, value);
            return Ok(());
        }
        let value = self.append(value);
        self.put(name, value);
        Ok(())
    }

    /// Replaces all values of a field by one in the place of the first.
    fn put(&mut self, name: &[u8], value: Range) {
        let mut first = true;
        let arena = &self.arena;
        self.fields.retain_mut(|field| {
            if !slice(arena, field.name).eq_ignore_ascii_case(name) {
                return true;
            }
            field.value = value;
            field.decoded = false;
            std::mem::replace(&mut first, false)
        });
        if first {
            self.push(name, value);
        }
    }

    /// Adds a value of `name` at the end, for a filter.
    pub(crate) fn add(
        &mut self,
        map: HeaderMap,
        name: &[u8],
        value: &[u8],
    ) -> Result<(), HeaderError> {
        let pseudo = self.check(map, name, value)?;
        if let Some(pseudo) = pseudo {
            // A message has each pseudo-header once.
            self.set_pseudo(pseudo, value);
            return Ok(());
        }
        let value = self.append(value);
        self.push(name, value);
        Ok(())
    }

    /// Removes all values of `name`, for a filter.
    pub(crate) fn remove(&mut self, name: &[u8]) -> Result<usize, HeaderError> {
        self.check_presence()?;
        field::check_removal(name)?;
        let before = self.fields.len();
        let arena = &self.arena;
        self.fields
            .retain(|field| !slice(arena, field.name).eq_ignore_ascii_case(name));
        Ok(before - self.fields.len())
    }

    /// Adds a field without a check: for the proxy's own.
    pub(crate) fn push_own(&mut self, name: &[u8], value: &[u8]) {
        let value = self.append(value);
        self.push(name, value);
    }

    /// Puts the proxy's own value in the place of those of `name`, without a check.
    pub(crate) fn put_own(&mut self, name: &[u8], value: &[u8]) {
        let value = self.append(value);
        self.put(name, value);
    }

    /// Puts the proxy's own value behind those of `name`, as the last of one list, without a check.
    pub(crate) fn append_own(&mut self, name: &[u8], value: &[u8]) {
        if self.get(name, 0).is_none() {
            return self.push_own(name, value);
        }
        let mut list = self.values(name).collect::<Vec<_>>().join(&b", "[..]);
        list.extend_from_slice(b", ");
        list.extend_from_slice(value);
        self.put_own(name, &list);
    }

    /// Drops the fields of all names that are not to stay.
    pub(crate) fn retain_fields(&mut self, mut stays: impl FnMut(&[u8]) -> bool) {
        let arena = &self.arena;
        self.fields.retain(|field| stays(slice(arena, field.name)));
    }

    /// Whether any field says something of a client: who it is, or what certificate it has.
    #[inline]
    pub(crate) fn tells_of_client(&self) -> bool {
        let mut fields = self.fields.iter();
        fields.any(|field| match field.known {
            Known::XForwardedFor | Known::XForwardedProto => true,
            // The shortest are `forwarded` and `x-real-ip`.
            Known::Other => {
                field.name.len >= 9 && crate::stream::tells_of_client(self.bytes(field.name))
            }
            _ => false,
        })
    }

    /// The reason phrase of a response, as it came or was set.
    pub(crate) fn reason(&self) -> Option<&[u8]> {
        (self.presence != Presence::Absent).then(|| self.bytes(self.reason))
    }

    /// The reason phrase that a filter has set.
    #[inline]
    pub(crate) fn own_reason(&self) -> Option<&[u8]> {
        self.sets_reason.then(|| self.bytes(self.reason))
    }

    /// Makes a span of the bytes adopted at `base` the reason phrase.
    pub(crate) fn adopt_reason(&mut self, base: u32, span: Span) {
        self.reason = Range {
            start: base + span.start,
            len: span.len,
        };
    }

    /// Sets the reason phrase, for a filter.
    pub(crate) fn set_reason(&mut self, phrase: &[u8]) -> Result<(), HeaderError> {
        self.check_presence()?;
        if self.arena.len() + phrase.len() > LARGEST_MAP {
            return Err(HeaderError::TooLarge);
        }
        field::check_reason(phrase)?;
        self.reason = self.append(phrase);
        self.sets_reason = true;
        Ok(())
    }

    fn push(&mut self, name: &[u8], value: Range) {
        let name = self.append(name);
        self.fields.push(Field {
            name,
            value,
            known: Known::Other,
            decoded: false,
        });
    }

    fn check(
        &self,
        map: HeaderMap,
        name: &[u8],
        value: &[u8],
    ) -> Result<Option<Pseudo>, HeaderError> {
        self.check_presence()?;
        if self.arena.len() + name.len() + value.len() > LARGEST_MAP
            || self.fields.len() >= MOST_FIELDS
        {
            return Err(HeaderError::TooLarge);
        }
        field::check(map, name, value)?;
        Ok(Pseudo::of(name))
    }

    fn check_presence(&self) -> Result<(), HeaderError> {
        match self.presence {
            Presence::Here => Ok(()),
            Presence::Absent => Err(HeaderError::Absent),
            Presence::Released => Err(HeaderError::Released),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Range {
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(bytes);
        Range {
            start,
            len: bytes.len() as u32,
        }
    }

    fn bytes(&self, range: Range) -> &[u8] {
        slice(&self.arena, range)
    }
}

/// Receives the fields of a head from the codec.
#[derive(Debug)]
pub(crate) struct HeadFiller<'h> {
    head: &'h mut Head,
    base: u32,
}

impl HeadFiller<'_> {
    fn range(&self, span: Span) -> Range {
        Range {
            start: self.base + span.start,
            len: span.len,
        }
    }
}

impl FieldSink for HeadFiller<'_> {
    #[inline]
    fn field(&mut self, field: DecodedField) {
        // Connection fields concern one hop (RFC 9110 section 7.6.1); Host is the authority, which the decoder names.
        if field.hop_by_hop || field.known == Known::Host {
            return;
        }
        self.head.fields.push(Field {
            name: self.range(field.name),
            value: self.range(field.value),
            known: field.known,
            decoded: true,
        });
    }
}

fn slice(arena: &[u8], range: Range) -> &[u8] {
    let start = range.start as usize;
    arena
        .get(start..start + range.len as usize)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Head {
        let mut head = Head::default();
        head.set_presence(Presence::Here);
        head.set_pseudo(Pseudo::Method, b"GET");
        head.set_pseudo(Pseudo::Path, b"/a?b");
        head.set_pseudo(Pseudo::Authority, b"example.org");
        head.push_own(b"User", b"admin");
        head.push_own(b"Accept", b"*/*");
        head.push_own(b"user", b"other");
        head
    }

    const MAP: HeaderMap = HeaderMap::RequestHeaders;

    fn shown(head: &Head) -> Vec<String> {
        (0..)
            .map_while(|index| head.at(index))
            .map(|(name, value)| {
                format!(
                    "{}={}",
                    String::from_utf8_lossy(&name),
                    String::from_utf8_lossy(&value)
                )
            })
            .collect()
    }

    #[test]
    fn names_have_no_case_and_keep_their_spelling() {
        let head = request();
        assert_eq!(head.get(b"USER", 0), Some(&b"admin"[..]));
        assert_eq!(head.get(b"USER", 1), Some(&b"other"[..]));
        assert_eq!(head.get(b"USER", 2), None);
        assert_eq!(head.get(b"host", 0), Some(&b"example.org"[..]));
        assert_eq!(
            shown(&head),
            [
                ":method=GET",
                ":path=/a?b",
                ":authority=example.org",
                "User=admin",
                "Accept=*/*",
                "user=other"
            ]
        );
    }

    #[test]
    fn set_takes_the_place_of_the_first_and_removes_the_others() {
        let mut head = request();
        head.set(MAP, b"user", b"x").unwrap();
        head.set(MAP, b":path", b"/new").unwrap();
        head.set(MAP, b"Host", b"other").unwrap();
        head.add(MAP, b"X-New", b"1").unwrap();
        assert_eq!(head.remove(b"accept"), Ok(1));
        assert_eq!(
            shown(&head),
            [
                ":method=GET",
                ":path=/new",
                ":authority=other",
                "User=x",
                "X-New=1"
            ]
        );
    }

    #[test]
    fn a_path_comes_back_as_it_came_unless_it_was_set() {
        let mut head = request();
        head.restore_path();
        assert_eq!(head.pseudo(Pseudo::Path), Some(&b"/a?b"[..]));
        head.respell_path(b"/other");
        assert_eq!(head.pseudo(Pseudo::Path), Some(&b"/other"[..]));
        head.restore_path();
        assert_eq!(head.pseudo(Pseudo::Path), Some(&b"/a?b"[..]));
        head.respell_path(b"/other");
        head.set(MAP, b":path", b"/other").unwrap();
        head.restore_path();
        assert_eq!(head.pseudo(Pseudo::Path), Some(&b"/other"[..]));
    }

    /// What an encoder is given, with a mark for lines that are copied unseen.
    fn wire(head: &Head) -> Vec<String> {
        head.wire_lines()
            .map(|line| match line {
                Line::Field(name, value) => {
                    format!("{}={}", name.escape_ascii(), value.escape_ascii())
                }
                Line::Decoded(lines) => format!("| {}", lines.escape_ascii()),
            })
            .collect()
    }

    fn decoded(text: &str) -> Head {
        let mut head = Head::default();
        head.set_pseudo(Pseudo::Scheme, b"http");
        let limits = transom_http1::Limits {
            allow_bare_lf_in_head: true,
            ..transom_http1::Limits::default()
        };
        let mut decoder = transom_http1::RequestDecoder::new(limits);
        let (consumed, _) = decoder.decode(text.as_bytes(), &mut head.filler()).unwrap();
        head.adopt(&text.as_bytes()[..consumed]);
        head
    }

    #[test]
    fn unchanged_lines_go_on_together() {
        let head = decoded(
            "POST / HTTP/1.1\r\nA: 1\r\nHost: x\r\nb: 2\r\nC:  3 \r\nd: \r\nE: 5\r\nf: 6\r\n\
             Content-Length: 0\r\ng: 7\nTE: x\r\nh: 8\r\n\r\nnext: 9\r\n",
        );
        assert_eq!(
            wire(&head),
            [
                r"| A: 1\r\n",
                r"| b: 2\r\n",
                "C=3",
                r"| d: \r\nE: 5\r\nf: 6\r\n",
                "g=7",
                r"| h: 8\r\n",
            ]
        );
    }

    #[test]
    fn changed_lines_are_looked_at_again() {
        let mut head = decoded("GET / HTTP/1.1\r\nHost: x\r\nA: 1\r\nb: 2\r\nC: 3\r\nd: 4\r\n\r\n");
        head.set(MAP, b"b", b"new").unwrap();
        head.add(MAP, b"a", b"more").unwrap();
        head.remove(b"d").unwrap();
        head.push_own(b"e", b"5");
        assert_eq!(
            wire(&head),
            [r"| A: 1\r\n", "b=new", r"| C: 3\r\n", "a=more", "e=5"]
        );
    }

    #[test]
    fn what_could_split_a_message_is_refused() {
        let mut head = request();
        for (name, value, error) in [
            (&b"x"[..], &b"a\r\nb: c"[..], HeaderError::InvalidValue),
            (b"x", b"a\0", HeaderError::InvalidValue),
            (b"x", b" a", HeaderError::InvalidValue),
            (b"x y", b"a", HeaderError::InvalidName),
            (b"", b"a", HeaderError::InvalidName),
            (b":status", b"200", HeaderError::InvalidName),
            (b":unknown", b"a", HeaderError::InvalidName),
            (b":path", b"/ b", HeaderError::InvalidValue),
            (b":path", b"b", HeaderError::InvalidValue),
            (b":method", b"G T", HeaderError::InvalidValue),
            (b":authority", b"a/b", HeaderError::InvalidValue),
            (b"Content-Length", b"5", HeaderError::Reserved),
            (b"transfer-encoding", b"chunked", HeaderError::Reserved),
            (b"connection", b"close", HeaderError::Reserved),
        ] {
            assert_eq!(
                head.set(MAP, name, value),
                Err(error),
                "{}",
                String::from_utf8_lossy(name)
            );
            assert_eq!(
                head.add(MAP, name, value),
                Err(error),
                "{}",
                String::from_utf8_lossy(name)
            );
        }
        assert_eq!(head.remove(b":path"), Err(HeaderError::Reserved));
        assert_eq!(shown(&head), shown(&request()));
    }

    #[test]
    fn a_map_that_is_absent_or_left_says_so() {
        let mut head = Head::default();
        assert_eq!(head.set(MAP, b"a", b"b"), Err(HeaderError::Absent));
        head.set_presence(Presence::Released);
        assert_eq!(head.set(MAP, b"a", b"b"), Err(HeaderError::Released));
    }

    #[test]
    fn a_filter_cannot_grow_a_map_without_end() {
        let mut head = request();
        let value = vec![b'x'; 60 << 10];
        let refused = (0..10)
            .map(|_| head.set(MAP, b"x", &value))
            .find(Result::is_err);
        assert_eq!(refused, Some(Err(HeaderError::TooLarge)));
    }
}
