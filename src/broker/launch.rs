//! The java command lines: the broker, its storage tool, its other tools.
//!
//! Owns the JVM's flags and the class data archive. Must never know a node's state.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::fetch::Jars;
use super::jars::digest_hex;
use super::java::Java;
use super::{BrokerSettings, Compiler};

/// Chosen by measuring on two cores (seconds from start to serving): Kafka's own choice 3.1, these two 3.0,
/// with the class data archive 1.5 (2.1 with the second compiler). A million records of 300 bytes went through
/// at the same rate with them, for 14 s of CPU time in place of 22 s; the optimizing compiler pays off only
/// in brokers that run for long.
const COLLECTOR: &str = "-XX:+UseSerialGC";
const NO_SECOND_COMPILER: &str = "-XX:TieredStopAtLevel=1";

/// Nothing in the machine's temporary folder, where a kill -9 would leave it. Of the JVM's own messages only
/// errors: it warns about an archive that it cannot use, and then goes on without it.
const TIDY: [&str; 4] = ["-XX:-UsePerfData", "-Xshare:auto", "-Xlog:disable", "-Xlog:all=error"];

/// A broker without memory is half dead and looks alive; one that is gone can be started again.
const BROKER_ONLY: [&str; 2] = ["-Djava.io.tmpdir=tmp", "-XX:+ExitOnOutOfMemoryError"];

/// Tools run for seconds and hold little.
const TOOL_HEAP: &str = "-Xmx256m";

/// Where a node's JVM writes a new archive, in the node's folder.
const FRESH_ARCHIVE: &str = "classes.jsa";

/// How the JVM runs.
fn flags(compiler: Compiler) -> &'static [&'static str] {
    match compiler {
        Compiler::Quick => &[COLLECTOR, NO_SECOND_COMPILER],
        Compiler::Optimizing => &[COLLECTOR],
    }
}

/// Knows how to run Kafka's classes.
#[derive(Debug)]
pub(super) struct Launcher {
    java: PathBuf,
    classpath: OsString,
    heap_mib: u32,
    compiler: Compiler,
    /// The class data archive: the loaded classes in the JVM's own form, which halves the time to start.
    /// Its name changes with the JVM, the jars and the flags, because it is good for exactly these.
    archive: Option<PathBuf>,
}

impl Launcher {
    /// Prepares the command lines.
    ///
    /// # Errors
    /// If a path cannot stand in a class path.
    pub(super) fn new(java: Java, jars: &Jars, settings: &BrokerSettings) -> io::Result<Self> {
        let BrokerSettings { heap_mib, compiler, .. } = *settings;
        let classpath = env::join_paths(&jars.paths).map_err(io::Error::other)?;
        let made_for = format!(
            "{}{}{}{:?}",
            java.version_text,
            java.path.display(),
            classpath.display(),
            flags(compiler)
        );
        let name: String = digest_hex(made_for.as_bytes()).chars().take(16).collect();
        let archive = jars.cache.as_ref().map(|cache| cache.join(format!("classes-{name}.jsa")));
        Ok(Self { java: java.path, classpath, heap_mib, compiler, archive })
    }

    /// The command line of a broker that runs in its node's folder. With `train` and no archive yet, the JVM
    /// writes one when it stops, which takes some 4 s, once.
    pub(super) fn broker(&self, train: bool) -> Vec<OsString> {
        let mut line: Vec<OsString> = vec![self.java.clone().into()];
        line.push(format!("-Xmx{}m", self.heap_mib).into());
        line.extend(
            flags(self.compiler).iter().chain(&TIDY).chain(&BROKER_ONLY).map(OsString::from),
        );
        if let Some(flag) = self.use_archive() {
            line.push(flag);
        } else if train && self.archive.is_some() {
            line.push(format!("-XX:ArchiveClassesAtExit={FRESH_ARCHIVE}").into());
        }
        line.push("-Dlog4j2.configurationFile=log4j2.properties".into());
        line.push("-cp".into());
        line.push(self.classpath.clone());
        line.extend(["kafka.Kafka", "server.properties"].map(OsString::from));
        line
    }

    /// One of Kafka's tools; the caller adds the arguments.
    pub(super) fn tool(&self, main_class: &str) -> Command {
        let mut command = Command::new(&self.java);
        command.arg(TOOL_HEAP).args(flags(Compiler::Quick)).args(TIDY);
        command.args(self.use_archive()).arg("-cp").arg(&self.classpath).arg(main_class);
        command.kill_on_drop(true);
        command
    }

    /// Keeps the archive that a JVM wrote in `node_folder` before it ended cleanly, if there is a new one.
    pub(super) fn keep_archive(&self, node_folder: &Path) -> io::Result<()> {
        let fresh = node_folder.join(FRESH_ARCHIVE);
        let Some(archive) =
            self.archive.as_ref().filter(|archive| fresh.exists() && !archive.exists())
        else {
            return Ok(());
        };
        if let Some(cache) = archive.parent() {
            fs::create_dir_all(cache)?;
        }
        // The cache may be on another disk, so copy; rename, because others may start at this moment.
        let copied = archive.with_extension(format!("{}.new", std::process::id()));
        fs::copy(&fresh, &copied)?;
        fs::rename(&copied, archive)?;
        fs::remove_file(&fresh)
    }

    /// Removes what an earlier JVM left half done in `node_folder`.
    pub(super) fn forget_fresh_archive(node_folder: &Path) -> io::Result<()> {
        match fs::remove_file(node_folder.join(FRESH_ARCHIVE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn use_archive(&self) -> Option<OsString> {
        let archive = self.archive.as_ref().filter(|archive| archive.exists())?;
        let mut flag = OsString::from("-XX:SharedArchiveFile=");
        flag.push(archive);
        Some(flag)
    }
}
