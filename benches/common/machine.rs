//! What the figures were taken on.

use std::fs;

/// A line for the report: without names, so that it can be published.
pub(crate) fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|rest| rest.trim_start_matches([':', ' ', '\t']).trim().to_owned())
            .unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = value(&read("/proc/cpuinfo"), "model name");
    let memory_kib: u64 = value(&read("/proc/meminfo"), "MemTotal")
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "{cores} cores ({model}), {} GiB, Linux {}; load average at the start {}; {}",
        memory_kib >> 20,
        kernel.trim(),
        load.split_whitespace().next().unwrap_or_default(),
        if cfg!(debug_assertions) {
            "DEV BUILD: these figures mean nothing"
        } else {
            "release build"
        }
    )
}
