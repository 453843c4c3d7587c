//! The Postgres protocol machine: client and upstream bytes in, actions out.
//!
//! Pure: no socket, clock, thread or SQL parser. [`Prelude`] reads what comes before TLS, [`PostgresMachine`] holds the
//! conversation inside it, [`upstream`] has the few bytes the driver itself exchanges with an upstream, and [`Probe`]
//! with [`scram::derive`] are what the admin service needs to prepare a credential, [`Clerk`] to make and drop roles.
//!
//! It parses no SQL (a [`FactsSource`] does), decides nothing (the driver does), and verifies no token.
#![forbid(unsafe_code)]

mod answers;
mod asides;
mod asking;
mod catalog;
mod catalog_memory;
mod catalog_question;
mod catalog_rows;
mod clerk;
mod client;
mod codec;
mod column_rows;
mod copy_shape;
mod copy_text;
mod error;
mod escapes;
mod expected;
mod extended;
mod facts_source;
mod function_call;
mod guard;
mod layout;
mod lexer;
mod limits;
mod lineage;
mod login;
mod lookup;
mod machine;
mod masker;
mod md5;
mod names;
mod own_question;
mod pieces;
mod portal;
mod prelude;
mod probe;
mod proof;
mod refusal;
mod replies;
mod row_writer;
pub mod scram;
mod session;
mod spoken;
mod startup;
mod upload;
mod upload_rows;
pub mod upstream;
mod values;

pub use catalog::{Catalog, CatalogSource, Catalogs};
pub use catalog_memory::{CatalogMemory, Pin};
pub use clerk::{Clerk, ClerkLogin, ClerkStep, ServerSaid, TextRow, quoted_name, quoted_text};
pub use error::Error;
pub use facts_source::FactsSource;
pub use limits::Limits;
pub use machine::PostgresMachine;
pub use prelude::{ALPN, CancelKey, First, Layer, Prelude, starting, too_many_connections};
pub use probe::{Probe, ProbeStep, Wants, md5_secret};
pub use proof::{BearerTerms, Proof};
pub use refusal::{CANCELLED, UNKNOWN_CONNECTION};
pub use weir_wire::{ScramKeys, UpstreamSecret};
