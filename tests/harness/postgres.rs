//! A PostgreSQL server of the tests' own, one for each test process, or one that a test may
//! kill: the Debian packages' programs on a fresh directory, on loopback. It ends with the
//! process, killed or not: a shell reads a pipe from here and stops the server at its end.
#![allow(dead_code, reason = "each test crate uses its own part")]
#![allow(clippy::allow_attributes, reason = "an expectation of dead code fails where all is used")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Starts the server in a directory of its own and says when it is ready; then kills and
/// starts it as it is told, and says when that is done; stops it and removes the directory at
/// the end of its input. The port is chosen by bind(0) beforehand. All of the server's
/// processes, and no others, run in its data directory.
const SCRIPT: &str = r#"
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
data=$(cd "$dir" && pwd -P)/data
start() {
    "$1/pg_ctl" -D "$data" -w -l "$dir/log" -o "-p $2 -h 127.0.0.1 -k $dir $3" start >/dev/null || { cat "$dir/log" >&2; exit 1; }
    echo ready
}
kill_all() {
    found=yes
    while [ -n "$found" ]; do
        found=
        for process in /proc/[0-9]*; do
            [ "$(readlink "$process/cwd" 2>/dev/null)" = "$data" ] || continue
            kill -9 "${process#/proc/}" 2>/dev/null || true
            found=yes
        done
    done
    # A dead server that init has not buried yet would count as another one that runs.
    rm -f "$data/postmaster.pid" "$dir"/.s.PGSQL.*.lock
    echo killed
}
"$1/initdb" -D "$data" -A trust -U jobgate --no-sync -E UTF8 >"$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 1; }
start "$1" "$2" "$3"
while read -r order; do
    case $order in
        start) start "$1" "$2" "$3" ;;
        kill) kill_all ;;
    esac
done
"$1/pg_ctl" -D "$data" -m immediate stop >/dev/null
"#;

/// A server.
pub(crate) struct Postgres {
    port: u16,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    errors: ChildStderr,
    _child: Child,
}

static SHARED: OnceLock<Postgres> = OnceLock::new();
static DURABLE: OnceLock<Postgres> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The URL of a fresh, empty database on the server that all tests share.
pub(crate) fn fresh_database() -> String {
    SHARED.get_or_init(Postgres::start).fresh_database()
}

/// The same, on a server with the settings of production.
pub(crate) fn durable_database() -> String {
    DURABLE.get_or_init(Postgres::start_durable).fresh_database()
}

impl Postgres {
    /// Starts one that does not wait for the disk.
    pub(crate) fn start() -> Self {
        Self::start_with("-F")
    }

    /// Starts one with the settings of production: a commit is on the disk before it is
    /// reported.
    pub(crate) fn start_durable() -> Self {
        Self::start_with("")
    }

    fn start_with(option: &str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        drop(listener);
        // PostgreSQL refuses to run as root.
        let is_root = rustix::process::geteuid().is_root();
        let mut command = if is_root {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", "sh"]);
            command
        } else {
            Command::new("sh")
        };
        let mut child = command
            .args(["-c", SCRIPT, "postgres"])
            .arg(programs())
            .arg(port.to_string())
            .arg(option)
            .current_dir("/")
            // Ctrl-C is not for the shell: it would be gone before it has stopped the server.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let mut server = Self {
            port,
            orders: child.stdin.take().expect("its input"),
            answers: BufReader::new(child.stdout.take().expect("its output")),
            errors: child.stderr.take().expect("its errors"),
            _child: child,
        };
        server.wait_for("ready");
        server
    }

    /// The URL of a fresh, empty database.
    pub(crate) fn fresh_database(&self) -> String {
        let name = format!("t{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let made = Command::new(programs().join("createdb"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "jobgate", &name])
            .output()
            .expect("createdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        format!("postgres://jobgate@127.0.0.1:{}/{name}", self.port)
    }

    /// SIGKILL to all of its processes. Blocks until none is left.
    pub(crate) fn kill(&mut self) {
        self.order("kill", "killed");
    }

    /// Starts it again, on its data and its port. Blocks until it serves.
    pub(crate) fn start_again(&mut self) {
        self.order("start", "ready");
    }

    fn order(&mut self, order: &str, done: &str) {
        writeln!(self.orders, "{order}").expect("the shell reads");
        self.wait_for(done);
    }

    fn wait_for(&mut self, word: &str) {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("a line");
        if line.trim() != word {
            let mut said = String::new();
            self.errors.read_to_string(&mut said).expect("its last words");
            panic!("PostgreSQL is not {word}: {said}");
        }
    }
}

/// Where the newest PostgreSQL's programs are, as Debian has them.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .expect("the Debian package postgresql (scripts/test installs it)");
    versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| Path::new(bin).join("initdb").exists())
        .max()
        .expect("initdb")
}
