//! Prometheus' text format, read back.

use std::collections::BTreeMap;

/// One scrape.
#[derive(Debug, Clone)]
pub struct Metrics {
    samples: Vec<Sample>,
    /// The text itself, for a message.
    pub text: String,
}

/// One line of a scrape.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The metric's name, with `_bucket`, `_sum` or `_count` in a histogram.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Metrics {
    /// Reads a scrape.
    ///
    /// # Panics
    /// On a line that is not of the format.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Metrics { samples: lines.map(sample).collect(), text: text.to_owned() }
    }

    /// The samples of `name` that carry all of `labels`.
    pub fn samples<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value))
        })
    }

    /// The sum of the samples of `name` that carry all of `labels`; 0 when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.samples(name, labels).map(|sample| sample.value).sum()
    }
}

fn sample(line: &str) -> Sample {
    let (name, rest) = match line.find(['{', ' ']) {
        Some(at) => line.split_at(at),
        None => panic!("not a sample: {line}"),
    };
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => {
            let mut labels = BTreeMap::new();
            let after = read_labels(rest, &mut labels);
            (labels, after)
        }
        None => (BTreeMap::new(), rest),
    };
    let value = value.split_whitespace().next().unwrap_or_default();
    let value = value.parse().unwrap_or_else(|_| panic!("not a number in: {line}"));
    Sample { name: name.to_owned(), labels, value }
}

/// Reads `a="b",c="d"}`, returns what follows.
fn read_labels<'t>(mut text: &'t str, labels: &mut BTreeMap<String, String>) -> &'t str {
    loop {
        text = text.trim_start_matches([',', ' ']);
        if let Some(rest) = text.strip_prefix('}') {
            return rest;
        }
        let (key, rest) = text.split_once("=\"").unwrap_or_else(|| panic!("not a label: {text}"));
        let mut value = String::new();
        let mut characters = rest.char_indices();
        let end = loop {
            match characters.next() {
                Some((_, '\\')) => match characters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, other)) => value.push(other),
                    None => panic!("no closing quote: {rest}"),
                },
                Some((at, '"')) => break at,
                Some((_, other)) => value.push(other),
                None => panic!("no closing quote: {rest}"),
            }
        };
        labels.insert(key.to_owned(), value);
        text = &rest[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_labels_with_escapes_and_sums_what_matches() {
        let metrics = Metrics::parse(concat!(
            "# HELP a Text.\n# TYPE a counter\n",
            "a{b=\"x\",c=\"q\\\"}\"} 2\na{b=\"y\"} 3\nplain 1.5\ninf +Inf\n"
        ));
        assert_eq!(metrics.sum("a", &[]), 5.0);
        assert_eq!(metrics.sum("a", &[("c", "q\"}")]), 2.0);
        assert_eq!(metrics.sum("plain", &[]), 1.5);
        assert_eq!(metrics.sum("absent", &[]), 0.0);
    }
}
