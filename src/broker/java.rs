//! Finding a Java that can run Kafka.
//!
//! Owns the rule which `java` is taken. Must never know what is run with it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::BrokerError;

/// Kafka 4's brokers are compiled for Java 17.
const MAJOR_VERSION_MIN: u32 = 17;

/// `java -version` takes some 50 ms; a minute would mean a broken installation.
const ANSWER_WAIT: Duration = Duration::from_secs(15);

/// A `java` that is new enough.
#[derive(Debug, Clone)]
pub(super) struct Java {
    /// The executable, or `java` if it is to be looked up on the PATH.
    pub(super) path: PathBuf,
    /// Everything that `java -version` says: it changes whenever the JVM does.
    pub(super) version_text: String,
}

/// Takes `$JAVA_HOME/bin/java` if it is new enough, else `java` from the PATH.
///
/// # Errors
/// [`BrokerError::JavaMissing`] with what was found.
pub(super) async fn find() -> Result<Java, BrokerError> {
    let home = std::env::var_os("JAVA_HOME").filter(|home| !home.is_empty());
    // Kafka runs in another folder, so a relative path would not be found there.
    let from_home =
        home.and_then(|home| std::path::absolute(PathBuf::from(home).join("bin/java")).ok());
    choose(from_home.into_iter().chain([PathBuf::from("java")])).await
}

async fn choose(candidates: impl Iterator<Item = PathBuf> + Send) -> Result<Java, BrokerError> {
    let mut found = Vec::new();
    for path in candidates {
        let shown = path.display().to_string();
        let Some(version_text) = ask_version(&path).await else {
            found.push(format!("`{shown}` does not run"));
            continue;
        };
        match major_version(&version_text) {
            Some(major) if major >= MAJOR_VERSION_MIN => return Ok(Java { path, version_text }),
            Some(major) => found.push(format!("`{shown}` is version {major}")),
            None => found.push(format!("`{shown}` names no version")),
        }
    }
    Err(BrokerError::JavaMissing { found: found.join(", ") })
}

async fn ask_version(path: &PathBuf) -> Option<String> {
    let mut command = Command::new(path);
    command.arg("-version").stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(ANSWER_WAIT, command.output()).await.ok()?.ok()?;
    // By tradition it goes to standard error.
    output.status.success().then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The major version in the answer of `java -version`: 8 for `"1.8.0_392"`, 17 for `"17.0.15"`.
fn major_version(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("version \"")?;
    let (version, _) = rest.split_once('"')?;
    let mut numbers = version.split(|letter: char| !letter.is_ascii_digit());
    let first = numbers.next()?.parse().ok()?;
    // Up to Java 8 the major version was the second number.
    if first == 1 { numbers.next()?.parse().ok() } else { Some(first) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_major_version_of_old_and_new_javas() {
        let cases = [
            ("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment", Some(17)),
            ("openjdk version \"21\" 2023-09-19", Some(21)),
            ("openjdk version \"25-ea\" 2025-09-16", Some(25)),
            ("java version \"1.8.0_392\"", Some(8)),
            ("Picked up JAVA_TOOL_OPTIONS: -Dx=y\nopenjdk version \"11.0.2\" 2019-01-15", Some(11)),
            ("openjdk version \"\"", None),
            ("command not found", None),
        ];
        for (text, expected) in cases {
            assert_eq!(major_version(text), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn without_java_the_error_names_the_three_ways_out() {
        let nowhere = [PathBuf::from("/nonexistent/bin/java")].into_iter();
        let error = choose(nowhere).await.expect_err("there is no such java").to_string();
        for way in [
            "openjdk-17-jre-headless",
            "docker-compose.kafka-only.yml",
            "KAFKA_BROKERS",
            "/nonexistent/bin/java",
        ] {
            assert!(error.contains(way), "{way} is not in: {error}");
        }
    }
}
