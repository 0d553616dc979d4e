//! The only home of jsonwebtoken: who calls, and what they may do.
//!
//! A caller shows a signed token (JWT, RFC 7519). [`Verifier`] makes a [`Caller`] of it, or
//! says in a sentence why not; [`Minter`] makes tokens. Nothing here knows of HTTP.
//!
//! Two decisions, each against a trap:
//! - The algorithm follows from the key, never from the token ([`VerifyingKey`]).
//! - jsonwebtoken checks the signature and nothing else. Its own checks of the claims read the
//!   machine's clock, and pass a token that lacks a claim or names several issuers; the claims
//!   are checked in one place of ours, against the one clock.
//!
//! Keys come from the settings or, of an issuer that publishes them, from a URL ([`JwksSettings`]):
//! there a token's `kid` chooses the key, while a single key passes over it. A token that was
//! accepted is known again by its hash until it ends.

mod caller;
mod crypto;
mod issuer;
mod jwk;
mod jwks;
mod key;
mod key_set;
mod memory;
mod mint;
mod scope;
mod verify;

#[cfg(test)]
mod forged_test;
#[cfg(test)]
mod tests;

pub use caller::{Caller, CallerName, CallerNameError};
pub use issuer::{IssuerName, IssuerNameError, IssuerSettings, KeySource};
pub use jwks::JwksSettings;
pub use key::{KeyError, SigningKey, VerifyingKey};
pub use mint::{MintError, Minter, TTL_MAX};
pub use scope::{Scope, Scopes, UnknownScope};
pub use verify::{LEEWAY, TOKEN_BYTES_MAX, TokenError, Verifier, VerifyError};
