//! A header map that keeps the rules of the proxy's own.

use std::borrow::Cow;

use crate::field::{self, Pseudo};
use crate::headers::{HeaderEntry, HeaderError, HeaderMap};

/// Where a map stands in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Presence {
    #[default]
    Absent,
    Here,
    Released,
}

/// The proxy's limits for what filters make of a map.
const LARGEST_MAP: usize = 256 << 10;
const MOST_FIELDS: usize = 1_000;

#[derive(Clone, Debug, Default)]
pub(super) struct FakeHead {
    pub(super) presence: Presence,
    pseudo: Vec<(Pseudo, Vec<u8>)>,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes ever put in: the proxy's maps only grow, too.
    used: usize,
}

impl FakeHead {
    /// Puts a field in as the codec would: reserved ones too.
    pub(super) fn put(&mut self, name: &str, value: &[u8]) {
        match Pseudo::of(name.as_bytes()) {
            Some(pseudo) => self.set_pseudo(pseudo, value),
            None => self.fields.push((name.as_bytes().to_vec(), value.to_vec())),
        }
    }

    fn set_pseudo(&mut self, pseudo: Pseudo, value: &[u8]) {
        self.pseudo.retain(|(other, _)| *other != pseudo);
        self.pseudo.push((pseudo, value.to_vec()));
        self.pseudo.sort_by_key(|(pseudo, _)| *pseudo);
    }

    pub(super) fn get(&self, name: &[u8], nth: usize) -> Option<&[u8]> {
        if let Some(pseudo) = Pseudo::of(name) {
            let mut found = self.pseudo.iter().filter(|(other, _)| *other == pseudo);
            return found.nth(nth).map(|(_, value)| value.as_slice());
        }
        self.fields
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .nth(nth)
            .map(|(_, value)| value.as_slice())
    }

    pub(super) fn at(&self, index: usize) -> Option<HeaderEntry<'_>> {
        if let Some((pseudo, value)) = self.pseudo.get(index) {
            return Some((
                Cow::Borrowed(pseudo.name().as_bytes()),
                Cow::Borrowed(value),
            ));
        }
        let (name, value) = self.fields.get(index - self.pseudo.len())?;
        Some((Cow::Borrowed(name), Cow::Borrowed(value)))
    }

    pub(super) fn set(
        &mut self,
        map: HeaderMap,
        name: &[u8],
        value: &[u8],
    ) -> Result<(), HeaderError> {
        self.check(map, name, value)?;
        if let Some(pseudo) = Pseudo::of(name) {
            self.set_pseudo(pseudo, value);
            return Ok(());
        }
        let is_it = |other: &[u8]| other.eq_ignore_ascii_case(name);
        let Some(first) = self.fields.iter().position(|(other, _)| is_it(other)) else {
            self.fields.push((name.to_vec(), value.to_vec()));
            return Ok(());
        };
        self.fields[first].1 = value.to_vec();
        let mut index = 0;
        self.fields.retain(|(other, _)| {
            index += 1;
            index - 1 <= first || !is_it(other)
        });
        Ok(())
    }

    pub(super) fn add(
        &mut self,
        map: HeaderMap,
        name: &[u8],
        value: &[u8],
    ) -> Result<(), HeaderError> {
        self.check(map, name, value)?;
        match Pseudo::of(name) {
            // A message has each pseudo-header once.
            Some(pseudo) => self.set_pseudo(pseudo, value),
            None => self.fields.push((name.to_vec(), value.to_vec())),
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Result<usize, HeaderError> {
        self.check_presence()?;
        field::check_removal(name)?;
        let before = self.fields.len();
        self.fields
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        Ok(before - self.fields.len())
    }

    fn check(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), HeaderError> {
        self.check_presence()?;
        let used = self.used + name.len() + value.len();
        if used > LARGEST_MAP || self.fields.len() >= MOST_FIELDS {
            return Err(HeaderError::TooLarge);
        }
        field::check(map, name, value)?;
        self.used = used;
        Ok(())
    }

    fn check_presence(&self) -> Result<(), HeaderError> {
        match self.presence {
            Presence::Here => Ok(()),
            Presence::Absent => Err(HeaderError::Absent),
            Presence::Released => Err(HeaderError::Released),
        }
    }
}
