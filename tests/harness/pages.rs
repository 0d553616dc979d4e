//! Pages whose commands are run as they are printed: the blocks that a comment marks, and the
//! shell that a reader types them into.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// The one line that is not taken word for word: the test's jobgate has a port of its own.
const ADDRESS: &str = "JOBGATE=http://127.0.0.1:8088\n";
/// How long a block may take. Kafka's tools take seconds, and more on a busy machine.
const BLOCK_DEADLINE: Duration = Duration::from_secs(60);

/// The blocks of a page by name, in their order: each stands after `<!-- mark: name -->`, and
/// the first one starts with jobgate's address, which becomes `base`.
pub(crate) fn blocks(page: &str, mark: &str, base: &str) -> Vec<(String, String)> {
    let mut blocks: Vec<(String, String)> = page
        .split(&format!("<!-- {mark}: "))
        .skip(1)
        .map(|part| {
            let (name, rest) = part.split_once(" -->\n").expect("the mark's end");
            let (indent, rest) = rest.split_once("```sh\n").expect("a block after its mark");
            assert!(indent.trim().is_empty(), "{name}: a block right after its mark");
            let (block, _) = rest.split_once("```").expect("the block's end");
            let lines = block.lines().map(|line| line.strip_prefix(indent).unwrap_or(line));
            (name.to_owned(), lines.flat_map(|line| [line, "\n"]).collect())
        })
        .collect();
    let first = &mut blocks.first_mut().expect("a block").1;
    let rest = first.strip_prefix(ADDRESS).expect("the page starts with the address");
    *first = format!("JOBGATE={base}\n{rest}");
    blocks
}

/// A shell that a reader types into.
pub(crate) struct Shell(Child);

impl Shell {
    /// Starts one in this directory, with `jobgate` on its path.
    pub(crate) fn start(directory: &Path) -> Self {
        let jobgate = Path::new(env!("CARGO_BIN_EXE_jobgate")).parent().expect("its directory");
        let path = std::env::var("PATH").expect("a PATH");
        let child = Command::new("bash")
            .current_dir(directory)
            .env("PATH", format!("{}:{path}", jobgate.display()))
            .env_remove("KAFKA_BROKERS")
            .env_remove("SMTP_URL")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("bash");
        Self(child)
    }

    /// Types a block and reads what it prints.
    pub(crate) async fn run(&mut self, block: &str) -> String {
        let typed = format!("{block}\nprintf '\\0'\n");
        let stdin = self.0.stdin.as_mut().expect("its input");
        stdin.write_all(typed.as_bytes()).await.expect("the shell reads");
        stdin.flush().await.expect("the shell reads");
        let stdout = self.0.stdout.as_mut().expect("its output");
        let mut printed = Vec::new();
        loop {
            match tokio::time::timeout(BLOCK_DEADLINE, stdout.read_u8()).await {
                Ok(Ok(0)) => return String::from_utf8(printed).expect("UTF-8"),
                Ok(Ok(byte)) => printed.push(byte),
                ended => panic!("the block did not end ({ended:?}):\n{block}"),
            }
        }
    }
}
