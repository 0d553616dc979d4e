//! Kafka's own settings: `server.properties` of one node.
//!
//! Owns every broker setting that differs from Kafka's default, with its reason. Must never know a topic:
//! what a topic needs is set when it is created. Paths are relative to the node's folder, where Kafka runs,
//! so that no path needs escaping and the data directory can be moved.

use super::state::Ports;

/// Settings of every node, whatever their number.
const COMMON: &str = "\
process.roles=broker,controller
log.dirs=data
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
# A topic that nobody created is a mistake.
auto.create.topics.enable=false
# A consumer that is alone need not wait for others.
group.initial.rebalance.delay.ms=0
# Kafka's defaults of 50 serve big clusters; here each partition is a folder to open at every start.
offsets.topic.num.partitions=8
transaction.state.log.num.partitions=4
share.coordinator.state.topic.num.partitions=4
# A week, for topics that do not say.
log.retention.hours=168
# The default takes a quarter of the heap.
log.cleaner.dedupe.buffer.size=16777216
# Nobody reads JMX here.
metric.reporters=
";

/// One node: no copies; written to disk by time, for there is no other copy after a power cut.
const ALONE: &str = "\
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
log.flush.interval.ms=1000
log.flush.scheduler.interval.ms=1000
# After a kill -9 the new broker is refused until the old one's session is over: 9 s by default.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
";

/// Three nodes: a record is acknowledged by two of them, so one may be lost.
const THREE: &str = "\
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
# Quick to notice a lost node, but not so quick that a busy machine looks like a loss.
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=1000
";

/// The whole `server.properties` of node `number` (from 1) in a cluster with these ports.
///
/// The quorum's voters are named here and not in the data, so a node survives a change of ports.
pub(super) fn server_properties(number: usize, own: Ports, cluster: &[Ports]) -> String {
    let voters: Vec<String> = cluster
        .iter()
        .zip(1..)
        .map(|(ports, id)| format!("{id}@127.0.0.1:{}", ports.controller))
        .collect();
    let Ports { broker, controller } = own;
    let replication = if cluster.len() == 1 { ALONE } else { THREE };
    format!(
        "# Written by jobgate at every start; changes are lost.\n\
         node.id={number}\n\
         listeners=BROKER://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=BROKER://127.0.0.1:{broker}\n\
         controller.quorum.voters={}\n\
         {COMMON}{replication}",
        voters.join(",")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: [Ports; 3] = [
        Ports { broker: 20_001, controller: 20_002 },
        Ports { broker: 20_003, controller: 20_004 },
        Ports { broker: 20_005, controller: 20_006 },
    ];

    fn lines(number: usize, nodes: usize) -> Vec<String> {
        let cluster = CLUSTER.get(..nodes).expect("at most three");
        let own = *cluster.get(number - 1).expect("a node");
        server_properties(number, own, cluster).lines().map(str::to_owned).collect()
    }

    #[test]
    fn one_node_listens_on_loopback_and_needs_no_other() {
        let lines = lines(1, 1);
        for line in [
            "node.id=1",
            "listeners=BROKER://127.0.0.1:20001,CONTROLLER://127.0.0.1:20002",
            "controller.quorum.voters=1@127.0.0.1:20002",
            "offsets.topic.replication.factor=1",
            "auto.create.topics.enable=false",
        ] {
            assert!(lines.iter().any(|found| found == line), "{line} is not in {lines:?}");
        }
    }

    #[test]
    fn three_nodes_know_each_other_and_need_two() {
        let lines = lines(2, 3);
        for line in [
            "node.id=2",
            "listeners=BROKER://127.0.0.1:20003,CONTROLLER://127.0.0.1:20004",
            "controller.quorum.voters=1@127.0.0.1:20002,2@127.0.0.1:20004,3@127.0.0.1:20006",
            "default.replication.factor=3",
            "min.insync.replicas=2",
        ] {
            assert!(lines.iter().any(|found| found == line), "{line} is not in {lines:?}");
        }
    }

    #[test]
    fn no_setting_is_given_twice() {
        for nodes in [1, 3] {
            let mut names: Vec<String> = lines(1, nodes)
                .iter()
                .filter_map(|line| line.split_once('='))
                .map(|(name, _)| name.to_owned())
                .collect();
            let all = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), all);
        }
    }
}
