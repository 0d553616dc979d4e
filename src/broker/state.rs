//! What a data directory remembers: the cluster's id, and each node's ports.
//!
//! Owns the file `cluster` in the broker's folder. Must never know how a node is started.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use super::error::{BrokerError, IoContext};
use super::{NodeCount, Progress, jars};

/// Where ports are picked: below what Linux and macOS hand out to outgoing connections, so that a
/// remembered port is still free at the next start.
const PORT_FIRST: u16 = 20_000;
/// The port after the last one that is picked.
const PORT_END: u16 = 30_000;
/// How many ports are tried before giving up; on any usual machine the first one is free.
const PORT_TRIES_MAX: usize = 500;

/// The ports of one node, both on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    /// Where clients and the other brokers connect.
    pub(super) broker: u16,
    /// Where the controllers agree on the cluster's metadata.
    pub(super) controller: u16,
}

/// A cluster's identity over restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// Kafka's name for the cluster: a UUID in URL-safe base64.
    pub(super) cluster_id: String,
    /// One entry per node, node 1 first.
    pub(super) ports: Vec<Ports>,
}

impl State {
    /// Reads the state in `folder`, or makes it at the first start. A port that another process has taken
    /// meanwhile is replaced and reported; the data does not depend on ports.
    ///
    /// # Errors
    /// Another number of nodes, a damaged file, or no free port.
    pub(super) fn load_or_make(
        folder: &Path,
        nodes: NodeCount,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Self, BrokerError> {
        let path = folder.join("cluster");
        let remembered = match fs::read_to_string(&path) {
            Ok(text) => {
                Some(Self::parse(&text).ok_or(BrokerError::StateDamaged { path: path.clone() })?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).context("read", &path),
        };
        let state = match remembered {
            None if folder.join("node-1").exists() => {
                return Err(BrokerError::StateDamaged { path });
            }
            None => Self::make(nodes)?,
            Some(state) => {
                state.same_node_count(folder, nodes)?;
                state.with_free_ports(progress)?
            }
        };
        jars::write_durably(&path, &state.to_text()).context("write", &path)?;
        Ok(state)
    }

    /// The brokers' addresses, comma-separated.
    pub(super) fn bootstrap_servers(&self) -> String {
        let addresses: Vec<String> =
            self.ports.iter().map(|ports| format!("127.0.0.1:{}", ports.broker)).collect();
        addresses.join(",")
    }

    fn make(nodes: NodeCount) -> Result<Self, BrokerError> {
        let mut free = FreePorts::default();
        let mut ports = Vec::new();
        for _ in 0..nodes.get() {
            ports.push(Ports { broker: free.pick()?, controller: free.pick()? });
        }
        Ok(Self { cluster_id: random_id()?, ports })
    }

    fn same_node_count(&self, folder: &Path, asked: NodeCount) -> Result<(), BrokerError> {
        if self.ports.len() == asked.get() {
            return Ok(());
        }
        let remembered = if self.ports.len() == 1 { NodeCount::One } else { NodeCount::Three };
        Err(BrokerError::NodeCountChanged { path: folder.to_path_buf(), remembered, asked })
    }

    fn with_free_ports(
        mut self,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Self, BrokerError> {
        let mut free = FreePorts::default();
        for (ports, node) in self.ports.iter_mut().zip(1..) {
            let now = Ports {
                broker: free.keep(ports.broker)?,
                controller: free.keep(ports.controller)?,
            };
            if now.broker != ports.broker {
                progress(Progress::PortChanged { node, from: ports.broker, to: now.broker });
            }
            *ports = now;
        }
        Ok(self)
    }

    fn to_text(&self) -> String {
        let mut text = format!("{}\n", self.cluster_id);
        for ports in &self.ports {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{} {}", ports.broker, ports.controller);
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let cluster_id = lines.next().filter(|id| !id.is_empty())?.to_owned();
        let ports: Vec<Ports> = lines
            .map(|line| {
                let (broker, controller) = line.split_once(' ')?;
                Some(Ports { broker: broker.parse().ok()?, controller: controller.parse().ok()? })
            })
            .collect::<Option<_>>()?;
        matches!(ports.len(), 1 | 3).then_some(Self { cluster_id, ports })
    }
}

/// Picks free ports; each stays taken until all are picked, so that none is picked twice.
#[derive(Default)]
struct FreePorts {
    taken: Vec<TcpListener>,
}

impl FreePorts {
    /// `port` if it is free, else another one.
    fn keep(&mut self, port: u16) -> Result<u16, BrokerError> {
        if self.take(port) { Ok(port) } else { self.pick() }
    }

    fn pick(&mut self) -> Result<u16, BrokerError> {
        for _ in 0..PORT_TRIES_MAX {
            let port = PORT_FIRST + u16::from_le_bytes(random_bytes()?) % (PORT_END - PORT_FIRST);
            if self.take(port) {
                return Ok(port);
            }
        }
        Err(BrokerError::NoFreePort { from: PORT_FIRST, to: PORT_END })
    }

    fn take(&mut self, port: u16) -> bool {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        listener.map(|listener| self.taken.push(listener)).is_ok()
    }
}

/// A random id in the form that Kafka gives its own: 16 bytes in URL-safe base64 without padding.
fn random_id() -> Result<String, BrokerError> {
    let mut bytes: [u8; 16] = random_bytes()?;
    // With the first six bits below 62 it never starts with `-`, which Kafka's tools would take for an option.
    if let Some(first) = bytes.first_mut() {
        *first &= 0b0111_1111;
    }
    Ok(base64_url(&bytes))
}

fn base64_url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut bits = 0_u32;
        for place in 0..3 {
            bits = (bits << 8) | u32::from(chunk.get(place).copied().unwrap_or(0));
        }
        for place in 0..=chunk.len() {
            let index = (bits >> (18 - 6 * place)) & 0b11_1111;
            text.extend(ALPHABET.get(index as usize).map(|letter| char::from(*letter)));
        }
    }
    text
}

fn random_bytes<const N: usize>() -> Result<[u8; N], BrokerError> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; N];
    File::open(source).and_then(|mut file| file.read_exact(&mut bytes)).context("read", source)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(folder: &Path, nodes: NodeCount) -> (Result<State, BrokerError>, Vec<Progress>) {
        let mut seen = Vec::new();
        let state = State::load_or_make(folder, nodes, &mut |step| seen.push(step));
        (state, seen)
    }

    #[test]
    fn base64_is_as_in_rfc_4648() {
        for (bytes, text) in [("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg")] {
            assert_eq!(base64_url(bytes.as_bytes()), text);
        }
        assert_eq!(base64_url(&[0xfb, 0xff]), "-_8");
    }

    #[test]
    fn an_id_has_kafkas_form() {
        let id = random_id().expect("random");
        assert_eq!(id.len(), 22);
        assert!(!id.starts_with('-'));
    }

    #[test]
    fn the_address_is_stable_over_restarts() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (first, _) = load(folder.path(), NodeCount::Three);
        let (second, seen) = load(folder.path(), NodeCount::Three);
        let first = first.expect("made");
        assert_eq!(first, second.expect("read"));
        assert_eq!(first.bootstrap_servers().split(',').count(), 3);
        assert_eq!(seen, []);
    }

    #[test]
    fn a_port_taken_by_another_process_is_replaced_and_reported() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = load(folder.path(), NodeCount::One).0.expect("made");
        let from = first.ports.first().expect("one node").broker;
        let _squatter = TcpListener::bind((Ipv4Addr::LOCALHOST, from)).expect("free until now");
        let (second, seen) = load(folder.path(), NodeCount::One);
        let second = second.expect("read");
        let to = second.ports.first().expect("one node").broker;
        assert_ne!(to, from);
        assert_eq!(second.cluster_id, first.cluster_id);
        assert_eq!(seen, [Progress::PortChanged { node: 1, from, to }]);
    }

    #[test]
    fn another_number_of_nodes_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        load(folder.path(), NodeCount::One).0.expect("made");
        let error = load(folder.path(), NodeCount::Three).0.expect_err("refused");
        assert!(matches!(error, BrokerError::NodeCountChanged { .. }), "{error}");
    }

    #[test]
    fn data_without_its_state_is_not_touched() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("node-1")).expect("writable");
        let error = load(folder.path(), NodeCount::One).0.expect_err("refused");
        assert!(matches!(error, BrokerError::StateDamaged { .. }), "{error}");
    }
}
