//! What the tests of this folder share: messages, a driver without sockets, a small upstream, a policy by keyword.
#![allow(unreachable_pub, reason = "these are the suite's own words")]

pub mod driver;
pub mod policy;
pub mod upstream;
pub mod wire;
