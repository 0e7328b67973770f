//! Prometheus' text format, version 0.0.4.
//!
//! Source of the rules: "Exposition formats" of Prometheus' documentation. One bad line fails the whole scrape, so names
//! are made to fit even if their giver did not check them.

use std::fmt::Write;

use transom_api::control::{MetricFamily, MetricSample, MetricValue};
use transom_api::metrics::MetricKind;

pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All families, in the order they come.
pub(crate) fn render(families: &[MetricFamily]) -> String {
    let mut page = Page::default();
    for family in families {
        page.family(family);
    }
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn family(&mut self, family: &MetricFamily) {
        let name = fitting(&family.name, true);
        let kind = match family.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram | MetricKind::Distribution => "histogram",
        };
        self.text.push_str("# HELP ");
        self.text.push_str(&name);
        self.text.push(' ');
        self.escaped(&family.help, false);
        self.line(format_args!("\n# TYPE {name} {kind}"));
        for sample in &family.samples {
            self.sample(&name, sample);
        }
    }

    fn sample(&mut self, name: &str, sample: &MetricSample) {
        match &sample.value {
            MetricValue::Number(number) => {
                self.series(name, "", &sample.labels, None);
                self.line(format_args!(" {number}"));
            }
            MetricValue::Histogram {
                buckets,
                sum,
                count,
            } => {
                // Counting goes on while the numbers are read, and a bucket above the total is an invalid histogram.
                let total = buckets
                    .iter()
                    .map(|(_, count)| *count)
                    .fold(*count, u64::max);
                for (bound, count) in buckets.iter().filter(|(bound, _)| bound.is_finite()) {
                    self.series(name, "_bucket", &sample.labels, Some(&number(*bound)));
                    self.line(format_args!(" {count}"));
                }
                self.series(name, "_bucket", &sample.labels, Some("+Inf"));
                self.line(format_args!(" {total}"));
                self.series(name, "_sum", &sample.labels, None);
                self.line(format_args!(" {}", number(*sum)));
                self.series(name, "_count", &sample.labels, None);
                self.line(format_args!(" {total}"));
            }
        }
    }

    /// `name_suffix{label="value",…}`
    fn series(&mut self, name: &str, suffix: &str, labels: &[(String, String)], le: Option<&str>) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        let mut before = '{';
        for (label, value) in labels {
            self.text.push(before);
            before = ',';
            // In a histogram the format owns `le`; the prefix is what Prometheus itself uses when names clash.
            if !suffix.is_empty() && label == "le" {
                self.text.push_str("exported_");
            }
            self.text.push_str(&fitting(label, false));
            self.text.push_str("=\"");
            self.escaped(value, true);
            self.text.push('"');
        }
        if let Some(bound) = le {
            self.text.push(before);
            before = ',';
            self.text.push_str("le=\"");
            self.text.push_str(bound);
            self.text.push('"');
        }
        if before == ',' {
            self.text.push('}');
        }
    }

    /// Backslash and line feed are escaped everywhere, quotes only between quotes.
    fn escaped(&mut self, text: &str, quoted: bool) {
        for character in text.chars() {
            match character {
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '"' if quoted => self.text.push_str("\\\""),
                other => self.text.push(other),
            }
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{line}");
    }
}

/// A name of the allowed letters: `[a-zA-Z_][a-zA-Z0-9_]*`, and colons in names of metrics.
fn fitting(name: &str, colons: bool) -> String {
    let mut fitting = String::with_capacity(name.len() + 1);
    if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
        fitting.push('_');
    }
    fitting.extend(name.chars().map(|character| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => character,
        ':' if colons => character,
        _ => '_',
    }));
    fitting
}

/// A number as Go reads it.
fn number(number: f64) -> String {
    if number == f64::INFINITY {
        "+Inf".to_owned()
    } else if number == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        // Finite ones need no exponent to be exact, and NaN is spelt alike.
        number.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(
        name: &str,
        help: &str,
        kind: MetricKind,
        labels: &[(&str, &str)],
        value: MetricValue,
    ) -> String {
        render(&[MetricFamily {
            name: name.to_owned(),
            help: help.to_owned(),
            kind,
            samples: vec![MetricSample {
                labels: labels
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
                value,
            }],
        }])
    }

    #[test]
    fn a_counter_with_labels() {
        let page = one(
            "transom_requests_total",
            "Requests.",
            MetricKind::Counter,
            &[("listener", "ingress"), ("code", "200")],
            MetricValue::Number(i64::MAX),
        );
        assert_eq!(
            page,
            "# HELP transom_requests_total Requests.\n\
             # TYPE transom_requests_total counter\n\
             transom_requests_total{listener=\"ingress\",code=\"200\"} 9223372036854775807\n"
        );
    }

    #[test]
    fn help_and_label_values_are_escaped_each_by_its_own_rule() {
        let page = one(
            "transom_a",
            "a \"b\" \\ c\nd",
            MetricKind::Gauge,
            &[("path", "C:\\\"x\"\ny\u{e4}")],
            MetricValue::Number(-1),
        );
        assert_eq!(
            page,
            "# HELP transom_a a \"b\" \\\\ c\\nd\n\
             # TYPE transom_a gauge\n\
             transom_a{path=\"C:\\\\\\\"x\\\"\\ny\u{e4}\"} -1\n"
        );
    }

    #[test]
    fn a_histogram_ends_in_infinity_whether_or_not_it_was_given() {
        let with = vec![(0.0005, 1), (2.5, 3), (f64::INFINITY, 4)];
        let without = vec![(0.0005, 1), (2.5, 3)];
        for buckets in [with, without] {
            let page = one(
                "transom_time_seconds",
                "Time.",
                MetricKind::Histogram,
                &[("a", "b")],
                MetricValue::Histogram {
                    buckets,
                    sum: 12.25,
                    count: 4,
                },
            );
            assert_eq!(
                page,
                "# HELP transom_time_seconds Time.\n\
                 # TYPE transom_time_seconds histogram\n\
                 transom_time_seconds_bucket{a=\"b\",le=\"0.0005\"} 1\n\
                 transom_time_seconds_bucket{a=\"b\",le=\"2.5\"} 3\n\
                 transom_time_seconds_bucket{a=\"b\",le=\"+Inf\"} 4\n\
                 transom_time_seconds_sum{a=\"b\"} 12.25\n\
                 transom_time_seconds_count{a=\"b\"} 4\n"
            );
        }
    }

    #[test]
    fn a_histogram_read_while_it_is_counted_stays_valid() {
        let page = one(
            "transom_time_seconds",
            "",
            MetricKind::Histogram,
            &[],
            MetricValue::Histogram {
                buckets: vec![(1.0, 7)],
                sum: 1.0,
                count: 6,
            },
        );
        assert!(page.contains("_bucket{le=\"1\"} 7\n"), "{page}");
        assert!(page.contains("_bucket{le=\"+Inf\"} 7\n"), "{page}");
        assert!(page.contains("_count 7\n"), "{page}");
    }

    #[test]
    fn names_that_do_not_fit_are_made_to() {
        let page = one(
            "9 lives:of\na-cat",
            "",
            MetricKind::Gauge,
            &[("le:x\"}", "1")],
            MetricValue::Number(9),
        );
        assert!(
            page.ends_with("\n_9_lives:of_a_cat{le_x__=\"1\"} 9\n"),
            "{page}"
        );
        let page = one(
            "h",
            "",
            MetricKind::Histogram,
            &[("le", "mine")],
            MetricValue::Histogram {
                buckets: vec![],
                sum: 0.0,
                count: 0,
            },
        );
        assert!(page.contains("h_sum{exported_le=\"mine\"} 0\n"), "{page}");
        assert!(
            page.contains("h_bucket{exported_le=\"mine\",le=\"+Inf\"} 0\n"),
            "{page}"
        );
    }
}
