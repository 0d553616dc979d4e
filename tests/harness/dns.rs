//! A DNS server of the test's own, over UDP on loopback: it says what it is told to say, with no
//! time to live, so that each question is asked anew.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, MX};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

/// How often it is looked whether it is to end.
const LOOKS: Duration = Duration::from_millis(50);

/// What a question is answered with.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// These addresses.
    Addresses(Vec<IpAddr>),
    /// These mail servers.
    Mail(Vec<&'static str>),
    /// The name is there, with nothing of this kind.
    Nothing,
    /// There is no such name.
    NoSuchName,
    /// The server has a fault.
    Fault,
    /// No answer at all.
    Silence,
}

/// What it knows: by name, without the dot at the end, and kind of record. Of several replies each
/// is given once, and the last one for ever.
type Zone = Mutex<HashMap<(String, RecordType), Vec<Reply>>>;

/// The server; it ends when it is dropped.
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    zone: Arc<Zone>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(LOOKS)).expect("a time limit");
        let address = socket.local_addr().expect("an address");
        let (zone, stop) = (Arc::<Zone>::default(), Arc::<AtomicBool>::default());
        let (its_zone, its_stop) = (Arc::clone(&zone), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while !its_stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let Some(question) = buffer.get(..length) else { continue };
                if let Some(answer) = answer(&its_zone, question) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { address, zone, stop, thread: Some(thread) }
    }

    /// From now on it says this.
    pub(crate) fn says(&self, name: &str, kind: RecordType, replies: &[Reply]) {
        let mut zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
        zone.insert((name.to_owned(), kind), replies.to_vec());
    }

    /// The addresses of a name, one after the other; the last one stays.
    pub(crate) fn leads(&self, name: &str, addresses: &[&str]) {
        let reply = |text: &&str| Reply::Addresses(vec![text.parse().expect("an address")]);
        let replies: Vec<Reply> = addresses.iter().map(reply).collect();
        self.says(name, RecordType::A, &replies);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(zone: &Zone, question: &[u8]) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).ok()?;
    let query = question.queries.first()?.clone();
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.add_query(query.clone());
    let name = query.name().to_ascii().to_lowercase();
    let reply = reply(zone, name.trim_end_matches('.'), query.query_type());
    let record = |data| Record::from_rdata(query.name().clone(), 0, data);
    match reply {
        Reply::Silence => return None,
        Reply::Nothing => {}
        Reply::NoSuchName => answer.metadata.response_code = ResponseCode::NXDomain,
        Reply::Fault => answer.metadata.response_code = ResponseCode::ServFail,
        Reply::Addresses(addresses) => {
            answer.add_answers(addresses.into_iter().map(|address| match address {
                IpAddr::V4(address) => record(RData::A(A(address))),
                IpAddr::V6(address) => record(RData::AAAA(AAAA(address))),
            }));
        }
        Reply::Mail(exchanges) => {
            answer.add_answers(exchanges.into_iter().map(|exchange| {
                let exchange = Name::from_ascii(exchange).expect("a name");
                record(RData::MX(MX::new(10, exchange)))
            }));
        }
    }
    answer.to_vec().ok()
}

fn reply(zone: &Zone, name: &str, kind: RecordType) -> Reply {
    let mut zone = zone.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(replies) = zone.get_mut(&(name.to_owned(), kind)) {
        let first = replies.first().cloned().unwrap_or(Reply::Nothing);
        if replies.len() > 1 {
            replies.remove(0);
        }
        return first;
    }
    let is_known = zone.keys().any(|(known, _)| known == name);
    if is_known { Reply::Nothing } else { Reply::NoSuchName }
}
