//! The pinned jars: which they are, and whether a folder holds exactly these.
//!
//! Owns the checksum list and the check. Must never know where the jars come from.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::error::{BrokerError, IoContext, JarFault};

/// Every jar of the broker with its SHA-256, as `sha256sum` prints it.
const PINNED: &str = include_str!("jars.sha256");

/// The file beside the jars that says they were checked, and how long each was then.
const CHECKED: &str = "checked";

/// SHA-256 (in hex) by the jar's name.
type Pins<'a> = BTreeMap<&'a str, &'a str>;

/// Hashes every jar in `folder` and leaves a note of their sizes if all are as pinned.
///
/// # Errors
/// [`BrokerError::Jars`] names the first jar that is missing, extra or altered.
pub(super) fn check_fully(folder: &Path) -> Result<(), BrokerError> {
    check_hashes(folder, PINNED)
}

/// As [`check_fully`], but compares names and sizes with the note of an earlier full check where there is one.
///
/// Hashing 54 MB took 1.9 s of every start in a debug build (`sha256sum`: 0.3 s). The cache is the
/// user's own, so the checksums guard the download; sizes are enough to find a file that was cut short later.
///
/// # Errors
/// [`BrokerError::Jars`] names the first jar that is missing, extra or altered.
pub(super) fn check_quickly(folder: &Path) -> Result<(), BrokerError> {
    match fs::read_to_string(folder.join(CHECKED)) {
        Ok(note) if note.starts_with(&digest_hex(PINNED.as_bytes())) => {
            check_sizes(folder, PINNED, &note)
        }
        _ => check_fully(folder),
    }
}

fn check_hashes(folder: &Path, pinned: &str) -> Result<(), BrokerError> {
    let pins = parse(pinned);
    let sizes = sizes_of(folder)?;
    let fault = |fault| BrokerError::Jars { folder: folder.to_path_buf(), fault };
    same_names(&pins, &sizes).map_err(fault)?;
    for (name, pin) in &pins {
        let path = folder.join(name);
        if file_digest_hex(&path).context("read", &path)? != *pin {
            return Err(fault(JarFault::Altered((*name).to_owned())));
        }
    }
    let mut note = digest_hex(pinned.as_bytes());
    note.push('\n');
    for (name, size_bytes) in &sizes {
        note.push_str(&format_size(name, *size_bytes));
    }
    let path = folder.join(CHECKED);
    write_durably(&path, &note).context("write", &path)
}

fn check_sizes(folder: &Path, pinned: &str, note: &str) -> Result<(), BrokerError> {
    let fault = |fault| BrokerError::Jars { folder: folder.to_path_buf(), fault };
    let sizes = sizes_of(folder)?;
    same_names(&parse(pinned), &sizes).map_err(fault)?;
    let noted: Vec<&str> = note.lines().collect();
    for (name, size_bytes) in &sizes {
        if !noted.contains(&format_size(name, *size_bytes).trim_end()) {
            return Err(fault(JarFault::Altered(name.clone())));
        }
    }
    Ok(())
}

/// Reads `sha256sum`'s format: the digest, two spaces (or a space and an asterisk), the name.
fn parse(text: &str) -> Pins<'_> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(digest, name)| (name.trim_start_matches([' ', '*']), digest))
        .collect()
}

fn same_names(pins: &Pins<'_>, sizes: &BTreeMap<String, u64>) -> Result<(), JarFault> {
    if let Some(name) = pins.keys().find(|name| !sizes.contains_key(**name)) {
        return Err(JarFault::Missing((*name).to_owned()));
    }
    match sizes.keys().find(|name| !pins.contains_key(name.as_str())) {
        Some(name) => Err(JarFault::Extra(name.clone())),
        None => Ok(()),
    }
}

/// Size in bytes of each file in the folder but the note.
fn sizes_of(folder: &Path) -> Result<BTreeMap<String, u64>, BrokerError> {
    let read = || -> io::Result<BTreeMap<String, u64>> {
        let mut sizes = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Also past the note itself, one may have been half written.
            if !name.starts_with(CHECKED) {
                sizes.insert(name, fs::metadata(entry.path())?.len());
            }
        }
        Ok(sizes)
    };
    read().context("list", folder)
}

fn format_size(name: &str, size_bytes: u64) -> String {
    format!("{size_bytes} {name}\n")
}

fn file_digest_hex(path: &Path) -> io::Result<String> {
    // The largest jar has 10 MB.
    Ok(digest_hex(&fs::read(path)?))
}

/// SHA-256 in lower-case hex.
pub(super) fn digest_hex(bytes: &[u8]) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(bytes) {
        // Writing into a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Writes a file so that it is either whole or not there, also after a power cut.
pub(super) fn write_durably(path: &Path, text: &str) -> io::Result<()> {
    // Two processes may write the same note.
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "one.jar";
    const TWO: &str = "two.jar";

    fn folder_with_two_jars() -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut pinned = String::new();
        for (name, bytes) in [(ONE, "first"), (TWO, "second")] {
            fs::write(folder.path().join(name), bytes).expect("writable");
            writeln!(pinned, "{}  {name}", digest_hex(bytes.as_bytes())).expect("a string");
        }
        (folder, pinned)
    }

    fn fault_of(result: Result<(), BrokerError>) -> JarFault {
        match result {
            Err(BrokerError::Jars { fault, .. }) => fault,
            other => panic!("expected a fault of a jar, got {other:?}"),
        }
    }

    /// Both checks on the same folder, as it was altered after a full check.
    fn faults_after(alter: impl Fn(&Path)) -> [JarFault; 2] {
        let (folder, pinned) = folder_with_two_jars();
        check_hashes(folder.path(), &pinned).expect("as pinned");
        let note = fs::read_to_string(folder.path().join(CHECKED)).expect("a note");
        check_sizes(folder.path(), &pinned, &note).expect("as pinned");
        alter(folder.path());
        [
            fault_of(check_hashes(folder.path(), &pinned)),
            fault_of(check_sizes(folder.path(), &pinned, &note)),
        ]
    }

    #[test]
    fn the_pinned_list_is_whole() {
        let pins = parse(PINNED);
        assert_eq!(pins.len(), 47);
        assert_eq!(pins.len(), PINNED.lines().count());
        assert!(pins.contains_key("kafka_2.13-4.3.0.jar"));
        for (name, digest) in pins {
            assert_eq!(Path::new(name).extension(), Some("jar".as_ref()), "{name}");
            assert!(
                digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{name}"
            );
        }
    }

    #[test]
    fn both_formats_of_sha256sum_are_read() {
        let pins = parse("aa  text.jar\nbb *binary.jar\n\n");
        assert_eq!(pins, Pins::from([("text.jar", "aa"), ("binary.jar", "bb")]));
    }

    #[test]
    fn a_missing_jar_is_named() {
        let faults = faults_after(|folder| fs::remove_file(folder.join(TWO)).expect("removable"));
        assert_eq!(faults, [JarFault::Missing(TWO.to_owned()), JarFault::Missing(TWO.to_owned())]);
    }

    #[test]
    fn an_extra_jar_is_named() {
        let faults =
            faults_after(|folder| fs::write(folder.join("evil.jar"), "x").expect("writable"));
        assert_eq!(
            faults,
            [JarFault::Extra("evil.jar".to_owned()), JarFault::Extra("evil.jar".to_owned())]
        );
    }

    #[test]
    fn an_altered_jar_is_named() {
        let faults = faults_after(|folder| fs::write(folder.join(ONE), "cut").expect("writable"));
        assert_eq!(faults, [JarFault::Altered(ONE.to_owned()), JarFault::Altered(ONE.to_owned())]);
    }

    #[test]
    fn the_full_check_sees_a_change_that_keeps_the_size() {
        let (folder, pinned) = folder_with_two_jars();
        fs::write(folder.path().join(ONE), "fIrst").expect("writable");
        assert_eq!(
            fault_of(check_hashes(folder.path(), &pinned)),
            JarFault::Altered(ONE.to_owned())
        );
        assert!(!folder.path().join(CHECKED).exists(), "no note of a check that failed");
    }
}
