//! Other processes, found by the folder they run in.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// A process that runs in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) name: String,
}

impl Process {
    pub(crate) fn kill(&self) {
        kill_process(self.pid, Signal::KILL).expect("it could be killed");
    }
}

/// Every process whose working directory is inside.
pub(crate) fn processes_in(folder: &Path) -> Vec<Process> {
    let folder = folder.canonicalize().expect("it exists");
    std::fs::read_dir("/proc")
        .expect("Linux")
        .flatten()
        .filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            let cwd = std::fs::read_link(entry.path().join("cwd")).ok()?;
            let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
            cwd.starts_with(&folder).then(|| Process { pid, name: name.trim().to_owned() })
        })
        .collect()
}

/// The JVM of the local Kafka of a data directory.
pub(crate) fn java_in(folder: &Path) -> Option<Process> {
    processes_in(folder).into_iter().find(|process| process.name == "java")
}
