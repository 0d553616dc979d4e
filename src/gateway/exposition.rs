//! The text format of Prometheus, version 0.0.4, as far as jobgate needs it.

use std::fmt::{Display, Write as _};

use crate::domain::counters::{BUCKETS_US, HistogramSnapshot};

/// What a metric is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A page of metrics under construction.
#[derive(Debug, Default)]
pub(super) struct Exposition(String);

impl Exposition {
    /// Begins a metric; its samples must follow at once.
    pub(super) fn metric(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// A sample of the metric that was begun.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels = written(labels);
        self.line(format_args!("{name}{labels} {value}"));
    }

    /// The samples of a histogram, in seconds.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        snapshot: &HistogramSnapshot,
    ) {
        for (bound_us, at_most) in BUCKETS_US.iter().zip(snapshot.at_most) {
            let bound = seconds(*bound_us).to_string();
            let labels: Vec<_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.sample(&format!("{name}_bucket"), &labels, at_most);
        }
        let all: Vec<_> = labels.iter().copied().chain([("le", "+Inf")]).collect();
        self.sample(&format!("{name}_bucket"), &all, snapshot.count);
        self.sample(&format!("{name}_sum"), labels, seconds(snapshot.sum_us));
        self.sample(&format!("{name}_count"), labels, snapshot.count);
    }

    /// The page.
    pub(super) fn into_text(self) -> String {
        self.0
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{line}");
    }
}

#[expect(clippy::cast_precision_loss, reason = "2^53 us are 285 years")]
fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1_000_000.0
}

fn written(labels: &[(&str, &str)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let labels: Vec<String> = labels
        .iter()
        .map(|(name, value)| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{name}=\"{value}\"")
        })
        .collect();
    format!("{{{}}}", labels.join(","))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::counters::Histogram;

    #[test]
    fn a_page_is_what_prometheus_reads() {
        let mut page = Exposition::default();
        page.metric("a_total", Kind::Counter, "What.");
        page.sample("a_total", &[("type", "x\"y")], 3);
        page.sample("a_total", &[], 1);
        let expected = "# HELP a_total What.\n# TYPE a_total counter\n\
                        a_total{type=\"x\\\"y\"} 3\na_total 1\n";
        assert_eq!(page.into_text(), expected);
    }

    #[test]
    fn a_histogram_is_in_seconds_and_ends_with_all() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(2));
        let mut page = Exposition::default();
        page.histogram("t_seconds", &[("type", "a")], &histogram.snapshot());
        let text = page.into_text();
        assert!(text.starts_with("t_seconds_bucket{type=\"a\",le=\"0.001\"} 0\n"), "{text}");
        assert!(text.contains("t_seconds_bucket{type=\"a\",le=\"0.0025\"} 1\n"), "{text}");
        let end =
            "le=\"+Inf\"} 1\nt_seconds_sum{type=\"a\"} 0.002\nt_seconds_count{type=\"a\"} 1\n";
        assert!(text.ends_with(end), "{text}");
    }
}
