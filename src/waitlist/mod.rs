//! The built-in catalog: the background work of a waitlist platform.
//!
//! Owns its payload types, one file each: a struct whose declaration is also its
//! validation, its schema and what its handler gets. Stands on `domain` alone where it
//! declares; nothing but `app` names it.
//!
//! To add a type: write its file, then its line in [`catalog`].

pub mod analytics;
mod catalog;
pub mod email;
pub mod events;
mod examples;
pub mod fraud;
mod fraud_signs;
mod handlers;
mod person;
pub mod position;
pub mod reward;
mod site;
pub mod webhook;

pub use catalog::{catalog, dead_letters};
pub use handlers::{Parts, handlers, replay_handlers};
pub use site::{InvalidSite, Site};

#[cfg(test)]
mod tests;
