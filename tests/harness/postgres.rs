//! A PostgreSQL server of the tests' own, one for each test process: the Debian packages'
//! programs on a fresh directory, on loopback. It ends with the process, killed or not: a
//! shell reads a pipe from here and stops the server at its end.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Starts the server in a directory of its own and says on which port; stops it and removes
/// the directory at the end of its input. The port is chosen by bind(0) beforehand.
const SCRIPT: &str = r#"
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$1/initdb" -D "$dir/data" -A trust -U jobgate --no-sync -E UTF8 >"$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 1; }
"$1/pg_ctl" -D "$dir/data" -w -l "$dir/log" -o "-p $2 -h 127.0.0.1 -k $dir -F" start >/dev/null || { cat "$dir/log" >&2; exit 1; }
echo ready
read -r _ || true
"$1/pg_ctl" -D "$dir/data" -m immediate stop >/dev/null
"#;

struct Server {
    port: u16,
    _input: ChildStdin,
    _child: Child,
}

static SERVER: OnceLock<Server> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The URL of a fresh, empty database.
pub(crate) fn fresh_database() -> String {
    let server = SERVER.get_or_init(start);
    let name = format!("t{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let made = Command::new(programs().join("createdb"))
        .args(["-h", "127.0.0.1", "-p", &server.port.to_string(), "-U", "jobgate", &name])
        .output()
        .expect("createdb runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    format!("postgres://jobgate@127.0.0.1:{}/{name}", server.port)
}

fn start() -> Server {
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
        .current_dir("/")
        // Ctrl-C is not for the shell: it would be gone before it has stopped the server.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sh runs");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
    if line.trim() != "ready" {
        let mut said = String::new();
        let mut stderr = child.stderr.take().expect("its errors");
        stderr.read_to_string(&mut said).expect("its last words");
        panic!("PostgreSQL did not start: {said}");
    }
    let input = child.stdin.take().expect("its input");
    Server { port, _input: input, _child: child }
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
