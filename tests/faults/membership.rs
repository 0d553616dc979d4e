//! Who has which partitions of a group, as its coordinator says.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

/// How long one question may take; the coordinator may have just been started.
const ASK: Duration = Duration::from_secs(5);

/// A topic and a partition of it.
pub(crate) type Partition = (String, i32);

/// What each member of a group has, once the group has settled: not while it is shared out
/// anew, nor while Kafka does not answer.
pub(crate) async fn settled(brokers: &str, group: &str) -> Option<Vec<BTreeSet<Partition>>> {
    let (brokers, group) = (brokers.to_owned(), group.to_owned());
    tokio::task::spawn_blocking(move || {
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", &brokers).create().ok()?;
        let list = client.fetch_group_list(Some(&group), ASK).ok()?;
        let found = list.groups().iter().find(|found| found.name() == group)?;
        let members = found.members().iter().map(|member| parse(member.assignment()?));
        (found.state() == "Stable").then(|| members.collect()).flatten()
    })
    .await
    .expect("it was asked")
}

/// Reads an assignment as every consumer of Kafka does (`ConsumerProtocolAssignment`): a
/// version, then the topics, each with its partitions.
fn parse(assignment: &[u8]) -> Option<BTreeSet<Partition>> {
    let mut bytes = Bytes(assignment);
    let mut partitions = BTreeSet::new();
    bytes.take::<2>()?;
    for _ in 0..i32::from_be_bytes(bytes.take()?) {
        let length = u16::from_be_bytes(bytes.take()?);
        let topic = std::str::from_utf8(bytes.many(usize::from(length))?).ok()?;
        for _ in 0..i32::from_be_bytes(bytes.take()?) {
            partitions.insert((topic.to_owned(), i32::from_be_bytes(bytes.take()?)));
        }
    }
    Some(partitions)
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn many(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.many(N)?.try_into().ok()
    }
}
