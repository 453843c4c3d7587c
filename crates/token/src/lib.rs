//! Bearer tokens: a JWT and its issuer's published keys in, a verified `weir_policy::Identity` out.
//!
//! Used by the data plane on every protocol and by admin at its own door. It fetches nothing: key sets come from
//! `weir_control::Issuer`. One refusal reason a failure for the record; the caller of a gateway sees one vague text.
#![forbid(unsafe_code)]
