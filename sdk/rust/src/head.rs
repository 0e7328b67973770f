//! A header map of a remote message, and the changes that the host is told.

use std::borrow::Cow;

use bytes::Bytes;
use transom_api::field::{self, Pseudo};
use transom_api::headers::HeaderEntry;
use transom_api::{HeaderError, HeaderMap};

use crate::proto::v1::{self, ChangeFields, Field};

/// Where a map stands in its life, as far as the plugin can know: the host has the last word.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Presence {
    #[default]
    Absent,
    Here,
    Released,
}

/// The fields in their order, pseudo-headers first.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) presence: Presence,
    fields: Vec<Field>,
}

impl Head {
    pub(crate) fn arrived(fields: Vec<Field>) -> Self {
        Self {
            presence: Presence::Here,
            fields,
        }
    }

    pub(crate) fn release(&mut self) {
        if self.presence == Presence::Here {
            self.presence = Presence::Released;
        }
    }

    #[cfg(test)]
    pub(crate) fn fields(&self) -> &[Field] {
        &self.fields
    }

    pub(crate) fn get(&self, name: &[u8], nth: usize) -> Option<&[u8]> {
        let name = canonical(name);
        self.fields
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .nth(nth)
            .map(|field| &*field.value)
    }

    pub(crate) fn at(&self, index: usize) -> Option<HeaderEntry<'_>> {
        let field = self.fields.get(index)?;
        Some((Cow::Borrowed(&field.name), Cow::Borrowed(&field.value)))
    }

    /// Replaces all values of `name` by one, in the place of the first.
    pub(crate) fn set(
        &mut self,
        map: HeaderMap,
        name: &[u8],
        value: &[u8],
    ) -> Result<ChangeFields, HeaderError> {
        self.check(map, name, value)?;
        let name = canonical(name);
        let is_it = |field: &Field| field.name.eq_ignore_ascii_case(name);
        let new = owned(name, value);
        match self.fields.iter().position(is_it) {
            Some(first) => {
                let mut index = 0;
                self.fields.retain(|field| {
                    index += 1;
                    index - 1 <= first || !is_it(field)
                });
                if let Some(field) = self.fields.get_mut(first) {
                    field.value = new.value.clone();
                }
            }
            None if name.starts_with(b":") => self.fields.insert(0, new.clone()),
            None => self.fields.push(new.clone()),
        }
        Ok(ChangeFields {
            set: vec![new],
            ..change(map)
        })
    }

    /// Adds a value at the end. A message has each pseudo-header once.
    pub(crate) fn add(
        &mut self,
        map: HeaderMap,
        name: &[u8],
        value: &[u8],
    ) -> Result<ChangeFields, HeaderError> {
        if Pseudo::of(name).is_some() {
            return self.set(map, name, value);
        }
        self.check(map, name, value)?;
        let new = owned(name, value);
        self.fields.push(new.clone());
        Ok(ChangeFields {
            add: vec![new],
            ..change(map)
        })
    }

    /// Removes all values of `name`. The host is told even if there are none here: it may not have sent them.
    pub(crate) fn remove(
        &mut self,
        map: HeaderMap,
        name: &[u8],
    ) -> Result<(usize, ChangeFields), HeaderError> {
        self.check_presence()?;
        field::check_removal(name)?;
        let before = self.fields.len();
        self.fields
            .retain(|field| !field.name.eq_ignore_ascii_case(name));
        let change = ChangeFields {
            remove: vec![Bytes::copy_from_slice(name)],
            ..change(map)
        };
        Ok((before - self.fields.len(), change))
    }

    fn check(&self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), HeaderError> {
        self.check_presence()?;
        field::check(map, name, value)
    }

    fn check_presence(&self) -> Result<(), HeaderError> {
        match self.presence {
            Presence::Here => Ok(()),
            Presence::Absent => Err(HeaderError::Absent),
            Presence::Released => Err(HeaderError::Released),
        }
    }
}

/// `host` means `:authority`.
fn canonical(name: &[u8]) -> &[u8] {
    match Pseudo::of(name) {
        Some(pseudo) => pseudo.name().as_bytes(),
        None => name,
    }
}

fn owned(name: &[u8], value: &[u8]) -> Field {
    Field {
        name: Bytes::copy_from_slice(name),
        value: Bytes::copy_from_slice(value),
    }
}

fn change(map: HeaderMap) -> ChangeFields {
    ChangeFields {
        map: match map {
            HeaderMap::RequestHeaders => v1::HeaderMap::RequestHeaders,
            HeaderMap::RequestTrailers => v1::HeaderMap::RequestTrailers,
            HeaderMap::ResponseHeaders => v1::HeaderMap::ResponseHeaders,
            HeaderMap::ResponseTrailers => v1::HeaderMap::ResponseTrailers,
        }
        .into(),
        ..ChangeFields::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: HeaderMap = HeaderMap::RequestHeaders;

    fn head(fields: &[(&str, &str)]) -> Head {
        let owned = |(name, value): &(&str, &str)| owned(name.as_bytes(), value.as_bytes());
        Head::arrived(fields.iter().map(owned).collect())
    }

    fn shown(head: &Head) -> String {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let lines = head.fields().iter();
        lines
            .map(|field| format!("{}={} ", text(&field.name), text(&field.value)))
            .collect()
    }

    #[test]
    fn values_are_replaced_in_the_place_of_the_first() {
        let mut head = head(&[(":path", "/"), ("A", "1"), ("b", "2"), ("a", "3")]);
        let change = head.set(MAP, b"a", b"4").unwrap();
        assert_eq!(shown(&head), ":path=/ A=4 b=2 ");
        assert_eq!((change.set.len(), change.add.len()), (1, 0));
        head.set(MAP, b"c", b"5").unwrap();
        head.set(MAP, b":path", b"/x").unwrap();
        assert_eq!(shown(&head), ":path=/x A=4 b=2 c=5 ");
    }

    #[test]
    fn host_is_the_authority() {
        let mut head = head(&[(":authority", "a.test")]);
        assert_eq!(head.get(b"Host", 0), Some(&b"a.test"[..]));
        let change = head.set(MAP, b"host", b"b.test").unwrap();
        assert_eq!(change.set[0].name, ":authority");
        assert_eq!(shown(&head), ":authority=b.test ");
    }

    #[test]
    fn doubles_are_kept_and_all_removed() {
        let mut head = head(&[("a", "1")]);
        head.add(MAP, b"A", b"2").unwrap();
        assert_eq!(head.get(b"a", 1), Some(&b"2"[..]));
        let (count, change) = head.remove(MAP, b"a").unwrap();
        assert_eq!((count, change.remove.len()), (2, 1));
        assert_eq!(head.remove(MAP, b"x-unsent").unwrap().0, 0);
    }

    #[test]
    fn what_the_proxy_refuses_is_refused_here() {
        let mut gone = Head::default();
        assert_eq!(gone.set(MAP, b"a", b"b").err(), Some(HeaderError::Absent));
        let mut head = head(&[]);
        assert_eq!(
            head.set(MAP, b"connection", b"x").err(),
            Some(HeaderError::Reserved)
        );
        assert_eq!(
            head.add(MAP, b"a", b"b\r\n").err(),
            Some(HeaderError::InvalidValue)
        );
        head.release();
        assert_eq!(head.set(MAP, b"a", b"b").err(), Some(HeaderError::Released));
    }
}
