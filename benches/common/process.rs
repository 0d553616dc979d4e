//! What a process, and all of them, take of the machine, as Linux counts it.

use std::fs;
use std::time::Duration;

/// Linux counts in these towards programs, on every architecture that jobgate runs on.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time of all threads of a process, in user and kernel.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The name comes first, in brackets, and may hold anything.
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let ticks: u32 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u32>().expect("a number of ticks"))
        .sum();
    TICK * ticks
}

/// The time that all cores together were at work since the machine started.
pub(crate) fn busy_time() -> Duration {
    let stat = fs::read_to_string("/proc/stat").expect("Linux");
    let fields = stat.lines().next().expect("the sum of all cores").split_whitespace().skip(1);
    let ticks: Vec<u32> =
        fields.map(|ticks| ticks.parse().expect("a number of ticks")).take(8).collect();
    // The fourth and fifth are idle and waiting for disks.
    TICK * (ticks.iter().sum::<u32>() - ticks[3] - ticks[4])
}

/// The memory that a process has in RAM now, MB.
pub(crate) fn resident_mb(pid: u32) -> f64 {
    status_mb(pid, "VmRSS:")
}

/// The most it ever had, MB.
pub(crate) fn peak_mb(pid: u32) -> f64 {
    status_mb(pid, "VmHWM:")
}

fn status_mb(pid: u32, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let kib: u32 = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .expect("a number of KiB");
    f64::from(kib) * 1024.0 / 1e6
}
