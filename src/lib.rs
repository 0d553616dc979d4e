//! jobgate: background jobs and events over HTTP, kept by Apache Kafka.
//!
//! The map, floor by floor; a module may name only those on floors below its own
//! (`tests/architecture` reads the sources and fails on an import that does not):
//!
//! | floor | module | what it owns |
//! |---|---|---|
//! | 0 | [`domain`] | the words: record, catalog, key, retry policy, dead letter, offsets, lanes; no IO |
//! | 1 | [`kafka`] | the only home of rdkafka: producer, consumer, reader, admin |
//! | 1 | [`store`] | the only home of sqlx: one file per aggregate |
//! | 1 | [`mail`] | the only home of lettre: SMTP or outbox, templates |
//! | 1 | [`auth`] | the only home of jsonwebtoken: verifier, scopes, token minting |
//! | 1 | [`outbound`] | the only home of reqwest and hickory: requests to others, the guard of their addresses, signatures, DNS |
//! | 2 | [`operations`] | the use cases: enqueue, schedule, status, dead letters, replay, lag, stats, topics, audit |
//! | 2 | [`waitlist`] | the built-in catalog: payload types and their handlers |
//! | 3 | [`gateway`] | the only home of axum: the HTTP surface |
//! | 3 | [`worker`] | the pool that runs the jobs; it never names the gateway, nor the gateway it |
//! | 4 | [`app`] | settings, wiring, lifecycle: the only module that knows all |
//! | leaf | [`broker`] | the local Apache Kafka as a child process |
//! | leaf | [`telemetry`] | logs |

pub mod app;
pub mod auth;
pub mod broker;
pub mod domain;
pub mod gateway;
pub mod kafka;
pub mod mail;
pub mod operations;
pub mod outbound;
pub mod store;
pub mod telemetry;
pub mod waitlist;
pub mod worker;
