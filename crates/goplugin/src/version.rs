//! Which version of the plugin sets the two sides use.

use crate::environment::parse_int;

/// The plugin's choice: its newest version that the host has too, else its **lowest** one, which leaves it to the host to report
/// that they do not fit (and serves hosts that sent no list). `None` only when the plugin has no version at all.
///
/// `own` need not be sorted.
pub fn choose(own: impl IntoIterator<Item = i32>, host: &[i32]) -> Option<i32> {
    let mut own: Vec<i32> = own.into_iter().collect();
    own.sort_unstable_by(|a, b| b.cmp(a));
    own.iter()
        .copied()
        .find(|version| host.contains(version))
        .or_else(|| own.last().copied())
}

/// Reads the host's list. Items that are no numbers are returned beside it, for the plugin's log.
pub fn parse_list(list: &str) -> (Vec<i32>, Vec<&str>) {
    let mut versions = Vec::new();
    let mut wrong = Vec::new();
    if list.is_empty() {
        return (versions, wrong);
    }
    for item in list.split(',') {
        match parse_int(item) {
            Some(version) => versions.push(version),
            None => wrong.push(item),
        }
    }
    (versions, wrong)
}

/// The host's list as it stands in the environment, newest first.
pub fn format_list(versions: impl IntoIterator<Item = i32>) -> String {
    let mut versions: Vec<i32> = versions.into_iter().collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    let texts: Vec<String> = versions.iter().map(ToString::to_string).collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_wins() {
        assert_eq!(choose([1, 2, 3], &[1, 2]), Some(2));
        assert_eq!(choose([3, 1, 2], &[5, 3, 1]), Some(3));
    }

    #[test]
    fn without_a_common_version_the_lowest_is_answered() {
        assert_eq!(choose([2, 3], &[7]), Some(2));
        assert_eq!(choose([2, 3], &[]), Some(2));
        assert_eq!(choose([], &[1]), None);
    }

    #[test]
    fn items_that_are_no_numbers_are_set_aside() {
        assert_eq!(parse_list("5,six, 6,7"), (vec![5, 7], vec!["six", " 6"]));
        assert_eq!(parse_list(""), (vec![], vec![]));
        assert_eq!(format_list([5, 6]), "6,5");
    }
}
