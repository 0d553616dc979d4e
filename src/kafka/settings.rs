//! How every client of the cluster is configured.

use std::time::Duration;

use rdkafka::ClientConfig;
use thiserror::Error;

use super::stranded::TELLS_EVERY;

/// The cluster, and how to talk to it.
#[derive(Clone)]
pub struct KafkaSettings {
    /// `host:port` of the first brokers to ask, comma-separated.
    pub brokers: String,
    /// Any librdkafka property, for SASL and TLS above all. They win over jobgate's own; those
    /// that the promises need are [refused](Self::check).
    pub properties: Vec<(String, String)>,
}

/// Values of properties may be secrets, so only their names are shown.
impl std::fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.properties.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("KafkaSettings")
            .field("brokers", &self.brokers)
            .field("properties", &names)
            .finish()
    }
}

/// A property that would break a promise, whoever sets it.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[error("the Kafka property {name} cannot be set: {why}")]
pub struct InvalidProperty {
    /// The property.
    pub name: String,
    /// What depends on it.
    pub why: &'static str,
}

/// The properties on which the promises stand, also by their other names.
const RESERVED: [(&str, &str); 22] = [
    ("enable.idempotence", "a retry inside the producer must not write a record twice"),
    ("acks", "an accepted record is on every in-sync replica"),
    ("request.required.acks", "an accepted record is on every in-sync replica"),
    ("partitioner", "keys go where every Java client puts them"),
    ("delivery.report.only.error", "a request is answered when its record is acknowledged"),
    ("transactional.id", "a transaction that is never committed is never read"),
    ("enable.auto.commit", "offsets are committed after the effect"),
    ("auto.commit.enable", "offsets are committed after the effect"),
    ("enable.auto.offset.store", "offsets are committed after the effect"),
    ("auto.offset.reset", "records must not be skipped"),
    ("isolation.level", "a record of a transaction that was given up is none"),
    ("enable.partition.eof", "the end of a partition is told where it is asked for"),
    ("group.id", "the groups are those of the catalog"),
    ("group.instance.id", "CONSUMER_INSTANCE sets it, for each group its own"),
    ("group.protocol", "workers hand partitions over by the classic protocol"),
    ("group.remote.assignor", "workers hand partitions over by the classic protocol"),
    ("partition.assignment.strategy", "a rebalance takes away only what another worker gets"),
    ("allow.auto.create.topics", "topics are created with the catalog's settings"),
    (TELLS_EVERY.0, "it shows whether a client has lost its brokers"),
    ("bootstrap.servers", "KAFKA_BROKERS sets it"),
    ("metadata.broker.list", "KAFKA_BROKERS sets it"),
    ("test.mock.num.brokers", "records would be kept by no broker"),
];

/// How long librdkafka tries to deliver a record, milliseconds. Longer than any HTTP deadline, so
/// that a broker's restart costs no record; a short time would make more unknown outcomes.
pub(super) const DELIVERY_TIMEOUT: (&str, u64) = ("message.timeout.ms", 30_000);

/// Other names of properties that jobgate sets itself: librdkafka takes either, and of two
/// values under two names it is not said which one wins.
const ALIASES: [(&str, &str); 3] = [
    ("compression.codec", "compression.type"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("delivery.timeout.ms", "message.timeout.ms"),
];

impl KafkaSettings {
    /// Refuses properties that would break a promise.
    pub fn check(properties: &[(String, String)]) -> Result<(), InvalidProperty> {
        for (name, _) in properties {
            if let Some((_, why)) = RESERVED.iter().find(|(reserved, _)| reserved == name) {
                return Err(InvalidProperty { name: name.clone(), why });
            }
        }
        Ok(())
    }

    /// How long the producer tries to write a record; what it has not written by then it gives up.
    pub fn gives_up_after(&self) -> Duration {
        let of_user = self.properties.iter().rev().find_map(|(name, value)| {
            let is_it = name == DELIVERY_TIMEOUT.0 || name == "delivery.timeout.ms";
            is_it.then(|| value.parse().ok()).flatten()
        });
        match of_user.unwrap_or(DELIVERY_TIMEOUT.1) {
            // librdkafka's word for never.
            0 => Duration::MAX,
            ms => Duration::from_millis(ms),
        }
    }

    /// The configuration of a client: what every client starts from, then the settings of its
    /// kind, then the user's properties. After it, a client may set what is reserved.
    pub(super) fn client(&self, name: &str, of_its_kind: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", format!("jobgate-{name}"))
            .set("allow.auto.create.topics", "false")
            // A broker that restarts is found again within a second.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("topic.metadata.refresh.interval.ms", "30000");
        for (name, value) in of_its_kind {
            config.set(*name, *value);
        }
        for (name, value) in &self.properties {
            let alias = ALIASES.iter().find(|(alias, _)| alias == name);
            config.set(alias.map_or(name.as_str(), |(_, name)| name), value);
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_tried_for_as_long_as_the_user_says() {
        let of = |name: &str, value: &str| {
            let properties = vec![(name.to_owned(), value.to_owned())];
            KafkaSettings { brokers: String::new(), properties }.gives_up_after()
        };
        assert_eq!(of("linger.ms", "5"), Duration::from_secs(30));
        assert_eq!(of("message.timeout.ms", "7000"), Duration::from_secs(7));
        assert_eq!(of("delivery.timeout.ms", "8000"), Duration::from_secs(8));
        assert_eq!(of("message.timeout.ms", "0"), Duration::MAX, "for ever");
    }

    fn settings(name: &str) -> KafkaSettings {
        KafkaSettings {
            brokers: "127.0.0.1:9092".into(),
            properties: vec![(name.into(), "hush".into())],
        }
    }

    #[test]
    fn a_property_that_would_break_a_promise_is_refused() {
        let error = KafkaSettings::check(&settings("acks").properties).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the Kafka property acks cannot be set: an accepted record is on every in-sync replica"
        );
        assert_eq!(KafkaSettings::check(&settings("sasl.password").properties), Ok(()));
    }

    #[test]
    fn a_user_s_property_wins_under_each_of_its_names() {
        for name in ["linger.ms", "queue.buffering.max.ms"] {
            let config = settings(name).client("x", &[("linger.ms", "1"), ("acks", "all")]);
            assert_eq!((config.get("linger.ms"), config.get("acks")), (Some("hush"), Some("all")));
        }
        let config = settings("reconnect.backoff.ms").client("x", &[]);
        assert_eq!(config.get("reconnect.backoff.ms"), Some("hush"));
    }

    #[test]
    fn values_of_properties_are_never_shown() {
        let shown = format!("{:?}", settings("sasl.password"));
        assert!(shown.contains("sasl.password") && !shown.contains("hush"), "{shown}");
    }
}
