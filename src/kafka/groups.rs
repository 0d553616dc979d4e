//! What consumer groups have committed, asked and set from outside, without ever joining.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::consumer::{Commit, commit_of};
use super::convert::reading;
use super::error::KafkaFault;
use super::kept::Kept;
use super::reader::blocking;
use super::settings::KafkaSettings;
use crate::domain::dispatch::PartitionId;

/// How long one question to a group's coordinator may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(4);

/// How Kafka refuses a commit from outside of a group that has members.
const LIVE: [Code; 3] = [Code::UnknownMemberId, Code::IllegalGeneration, Code::RebalanceInProgress];

/// The group has members, so nobody else may set its offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupIsLive;

/// Asks about groups. Cheap to clone.
#[derive(Clone)]
pub struct Groups {
    settings: KafkaSettings,
    /// A client for each group that is asked about all the time. None ever subscribes, so none
    /// joins. Any other group gets a client for the one question.
    kept: Arc<HashMap<String, Kept<BaseConsumer>>>,
}

impl Groups {
    /// Asks this cluster, about these groups again and again.
    pub fn new(settings: KafkaSettings, groups: &[&str]) -> Self {
        let kept = groups.iter().map(|group| ((*group).to_owned(), Kept::default())).collect();
        Self { settings, kept: Arc::new(kept) }
    }

    /// The next offset of each partition for this group; none where it has no commit.
    pub async fn committed(
        &self,
        group: &str,
        partitions: Vec<PartitionId>,
    ) -> Result<HashMap<PartitionId, Option<i64>>, KafkaFault> {
        let commits = self.commits(group, partitions).await?;
        Ok(commits.into_iter().map(|(id, commit)| (id, commit.map(|c| c.offset))).collect())
    }

    /// The last commit of each partition of this group, with what Kafka keeps with it.
    pub async fn commits(
        &self,
        group: &str,
        partitions: Vec<PartitionId>,
    ) -> Result<HashMap<PartitionId, Option<Commit>>, KafkaFault> {
        let (groups, group) = (self.clone(), group.to_owned());
        blocking(move || {
            let action = || format!("tell the offsets of the group {group}");
            let mut list = TopicPartitionList::with_capacity(partitions.len());
            for id in &partitions {
                list.add_partition(&id.topic, id.partition);
            }
            let list = groups.question(&group, |client| {
                client.committed_offsets(list, ASK_TIMEOUT).map_err(KafkaFault::failed(action()))
            })?;
            let mut commits = HashMap::with_capacity(partitions.len());
            for element in list.elements() {
                element.error().map_err(|error| KafkaFault::failed(action())(error))?;
                let id =
                    PartitionId { topic: element.topic().into(), partition: element.partition() };
                commits.insert(id, commit_of(&element).map(|(_, commit)| commit));
            }
            Ok(commits)
        })
        .await
    }

    /// How many members the group has now.
    pub async fn members(&self, group: &str) -> Result<usize, KafkaFault> {
        let (groups, group) = (self.clone(), group.to_owned());
        blocking(move || {
            let found = groups.question(&group, |client| {
                client
                    .fetch_group_list(Some(&group), ASK_TIMEOUT)
                    .map_err(KafkaFault::failed(format!("describe the group {group}")))
            })?;
            Ok(found.groups().iter().filter(|g| g.name() == group).map(|g| g.members().len()).sum())
        })
        .await
    }

    /// Sets the next offsets of a group that has no members. Kafka itself refuses it for
    /// one that has.
    pub async fn set_offsets(
        &self,
        group: &str,
        offsets: Vec<(PartitionId, i64)>,
    ) -> Result<Result<(), GroupIsLive>, KafkaFault> {
        let (groups, group) = (self.clone(), group.to_owned());
        blocking(move || {
            let failed = KafkaFault::failed(format!("set the offsets of the group {group}"));
            let mut list = TopicPartitionList::with_capacity(offsets.len());
            let filled = offsets.iter().try_for_each(|(id, offset)| {
                list.add_partition_offset(&id.topic, id.partition, Offset::Offset(*offset))
            });
            let done = groups.question(&group, |client| {
                filled.and_then(|()| client.commit(&list, CommitMode::Sync)).map_err(failed)
            });
            match done {
                Err(fault) if fault.code().is_some_and(|code| LIVE.contains(&code)) => {
                    Ok(Err(GroupIsLive))
                }
                done => done.map(Ok),
            }
        })
        .await
    }

    /// Asks the client that is kept for this group. Blocks.
    fn question<T>(
        &self,
        group: &str,
        question: impl FnOnce(&BaseConsumer) -> Result<T, KafkaFault>,
    ) -> Result<T, KafkaFault> {
        let make = || {
            let mut config = reading(&self.settings, "groups");
            config.set("group.id", group);
            config.create().map_err(KafkaFault::failed(format!("ask the group {group}")))
        };
        match self.kept.get(group) {
            Some(kept) => kept.ask(make, question),
            None => question(&make()?),
        }
    }
}
