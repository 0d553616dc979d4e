//! Figures: the middle of several rounds, and tables to paste.

use std::time::Duration;

use super::Scale;

/// What one round saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Records.
    pub(crate) count: usize,
    /// From the first record to the end of the last one.
    pub(crate) took: Duration,
    /// The CPU time of this process meanwhile.
    pub(crate) cpu: Duration,
}

impl Sample {
    /// Records a second.
    pub(crate) fn rate(&self) -> f64 {
        per_second(self.count, self.took)
    }

    /// CPU of each record, µs.
    pub(crate) fn cpu_us(&self) -> f64 {
        micros_each(self.cpu, self.count)
    }

    /// Prints it, for whoever doubts the table.
    pub(crate) fn print_raw(&self, name: &str) {
        println!("raw {name}: {} records in {:?}, cpu {:?}", self.count, self.took, self.cpu);
    }
}

/// The middle one of a figure over all rounds.
pub(crate) fn median<T>(rounds: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 {
        figures[middle]
    } else {
        f64::midpoint(figures[middle - 1], figures[middle])
    }
}

/// How many in a second.
pub(crate) fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// Microseconds for each of so many.
pub(crate) fn micros_each(spent: Duration, count: usize) -> f64 {
    spent.as_secs_f64() * 1e6 / count as f64
}

/// A number of three digits or more in groups of three; a smaller one with a decimal.
pub(crate) fn number(value: f64) -> String {
    if value < 99.95 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A ratio.
pub(crate) fn ratio(value: f64) -> String {
    format!("{value:.2}")
}

/// Prints a Markdown table.
pub(crate) fn table(title: &str, rows: &[Vec<String>]) {
    println!("\n{title}\n");
    for (at, row) in rows.iter().enumerate() {
        println!("| {} |", row.join(" | "));
        if at == 0 {
            println!("|---|{}", "---:|".repeat(row.len() - 1));
        }
    }
}

/// Prints whether a target is met, where the figures are worth a judgement.
pub(crate) fn target(scale: Scale, what: &str, is_met: bool, figure: &str) {
    if scale == Scale::Short || cfg!(debug_assertions) {
        println!("\nTarget: {what}: not judged by a run like this.");
    } else {
        println!("\nTarget: {what}: {} ({figure}).", if is_met { "met" } else { "not met" });
    }
}

/// A row of a table.
pub(crate) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}
