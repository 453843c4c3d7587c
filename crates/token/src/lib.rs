//! Bearer tokens: a JWT and its issuer's published keys in, a verified [`weir_policy::Identity`] out; and the same of a
//! SPIFFE certificate whose chain was verified.
//!
//! Used by the data plane on every protocol and by admin at its own door. It fetches nothing: key sets come from
//! [`weir_control::Issuer`]. It asks no clock: the time is an argument. Every failure has its own [`Refusal`] for the
//! record; the caller of a gateway sees one vague text ([`Refusal::PUBLIC`]).
//!
//! ```text
//! let verifier = Verifier::new(&state.issuers)?;          // once per pushed state
//! match verifier.verify(token_bytes, now) {
//!     Ok(verified) if verified.revoked_by(&state.revocations) => ...refuse...
//!     Ok(verified) => ...verified.identity...
//!     Err(Refusal::UnknownKey { issuer }) => ...ask admin to refetch that issuer's keys, refuse...
//!     Err(refusal) => ...record refusal, answer Refusal::PUBLIC...
//! }
//! ```
//!
//! Signatures are checked by `jsonwebtoken` on a `ring` backend (RS, PS and ES of 256 and 384 bits, RS512, PS512,
//! EdDSA with Ed25519). Symmetric algorithms and `none` do not exist here.
#![forbid(unsafe_code)]

mod claims;
mod keys;
mod refusal;
mod ring_provider;
mod strict;
mod svid;
mod verify;

pub use keys::KeySet;
pub use refusal::{Error, Refusal};
pub use svid::{SvidRefusal, identity as svid_identity, is_trust_domain};
pub use verify::{MAX_TOKEN_BYTES, SKEW_MS, Verified, Verifier};
