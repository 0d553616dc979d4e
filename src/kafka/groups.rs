//! What consumer groups have committed, asked and set from outside, without ever joining.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::consumer::{Commit, commit_of};
use super::convert::reading;
use super::error::KafkaFault;
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
    kept: Arc<HashMap<String, OnceLock<Arc<BaseConsumer>>>>,
}

impl Groups {
    /// Asks this cluster, about these groups again and again.
    pub fn new(settings: KafkaSettings, groups: &[&str]) -> Self {
        let kept = groups.iter().map(|group| ((*group).to_owned(), OnceLock::new())).collect();
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
            let client = groups.client(&group)?;
            let action = || format!("tell the offsets of the group {group}");
            let mut list = TopicPartitionList::with_capacity(partitions.len());
            for id in &partitions {
                list.add_partition(&id.topic, id.partition);
            }
            let list = client
                .committed_offsets(list, ASK_TIMEOUT)
                .map_err(|error| KafkaFault::failed(action())(error))?;
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
            let found = groups
                .client(&group)?
                .fetch_group_list(Some(&group), ASK_TIMEOUT)
                .map_err(KafkaFault::failed(format!("describe the group {group}")))?;
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
            let client = groups.client(&group)?;
            let mut list = TopicPartitionList::with_capacity(offsets.len());
            let mut filled = Ok(());
            for (id, offset) in &offsets {
                filled = filled.and_then(|()| {
                    list.add_partition_offset(&id.topic, id.partition, Offset::Offset(*offset))
                });
            }
            let done = filled.and_then(|()| client.commit(&list, CommitMode::Sync));
            let Err(error) = done else { return Ok(Ok(())) };
            let code = error.rdkafka_error_code();
            let is_live = code.is_some_and(|code| LIVE.contains(&code));
            if is_live {
                return Ok(Err(GroupIsLive));
            }
            Err(KafkaFault::failed(format!("set the offsets of the group {group}"))(error))
        })
        .await
    }

    fn client(&self, group: &str) -> Result<Arc<BaseConsumer>, KafkaFault> {
        let kept = self.kept.get(group);
        if let Some(client) = kept.and_then(OnceLock::get) {
            return Ok(Arc::clone(client));
        }
        let mut config = reading(&self.settings, "groups");
        config.set("group.id", group);
        let client: BaseConsumer =
            config.create().map_err(KafkaFault::failed(format!("ask the group {group}")))?;
        let client = Arc::new(client);
        // Two questions at once may make two: the first is kept.
        Ok(Arc::clone(kept.map_or(&client, |kept| kept.get_or_init(|| Arc::clone(&client)))))
    }
}
