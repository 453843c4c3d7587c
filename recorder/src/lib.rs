//! The recorder: takes what rings hold, makes segments of it, and says what is on disk.
//!
//! It has no network socket, no policy and no way to change what was recorded. `service` is the loop, `drain` the way
//! from rings to the segment, `store` the files, `disk` the system calls that may fail, `retention` what removes the
//! oldest files, `tally` what shares a sync.

pub mod clock;
pub mod config;
pub mod descriptors;
pub mod disk;
pub mod drain;
pub mod error;
pub mod keys;
pub mod recovery;
pub mod retention;
pub mod service;
pub mod store;
pub mod tally;

pub use error::Error;
