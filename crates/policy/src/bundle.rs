//! The bundle: one signed file that carries rules and pattern databases from the compiler to the data plane.
//!
//! Layout, little-endian: a fixed header ([`HEADER_BYTES`]), sections that begin at multiples of 16 (tables, command
//! database, mask database, database of those mask patterns that have no filter), and the signature. The signature covers everything before it, and is checked
//! before anything else is believed: a pattern database is as good as code.

use std::sync::Arc;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rkyv::util::AlignedVec;

use crate::rule::Ruleset;
use crate::table::{self, Tables};
use crate::{Error, Scanner, Timestamp};

const MAGIC: [u8; 8] = *b"WEIRPOL\0";
const FORMAT: u32 = 5;
const NAME_BYTES: usize = 64;
const SECTIONS: usize = 4;
/// Magic, format, section count, generation, time, compiler, engine, and offset and length of each section.
pub const HEADER_BYTES: usize = 8 + 4 + 4 + 8 + 8 + 2 * NAME_BYTES + SECTIONS * 16;
const SIGNATURE_BYTES: usize = 64;

/// What a bundle says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Higher is newer. Chosen by whoever compiles.
    pub generation: u64,
    pub created: Timestamp,
    /// Name and version of the compiler, at most 64 bytes.
    pub compiler: String,
    /// Version and platform of the pattern engine, at most 64 bytes.
    pub engine: String,
}

/// A public key whose bundles are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedKey(pub [u8; 32]);

impl std::str::FromStr for TrustedKey {
    type Err = Error;

    /// Reads `ed25519:` and 64 hexadecimal digits, surrounding white space ignored.
    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = text.trim().strip_prefix("ed25519:").ok_or(Error::Key)?;
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::Key);
        }
        let mut key = [0; 32];
        for (at, byte) in key.iter_mut().enumerate() {
            let pair = digits.get(2 * at..2 * at + 2).ok_or(Error::Key)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| Error::Key)?;
        }
        Ok(Self(key))
    }
}

impl std::fmt::Display for TrustedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ed25519:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A serialised pattern database and what its scanner must know of each pattern, in the database's order.
#[derive(Clone, Copy, Debug)]
pub struct Database<'a> {
    pub bytes: &'a [u8],
    /// The same of those patterns only that are not `filtered`; empty where these are all or none.
    pub unfiltered: &'a [u8],
    pub patterns: &'a [table::Pattern],
}

/// Makes a scanner of a database: `weir_scan::load` in every program. Never called with an empty database.
pub type LoadScanner<'a> =
    &'a dyn Fn(Database<'_>) -> Result<Arc<dyn Scanner>, Box<dyn std::error::Error + Send + Sync>>;

/// Rules ready to decide with. Immutable, shared by all cores; each core makes a [`crate::Policy`] of it.
#[derive(Debug)]
pub struct Bundle {
    pub(crate) about: About,
    pub(crate) rules: Ruleset,
    pub(crate) command_scanner: Option<Arc<dyn Scanner>>,
    pub(crate) mask_scanner: Option<Arc<dyn Scanner>>,
}

impl Bundle {
    /// Verifies `bytes` against the trusted keys, checks every offset and table, and loads both databases.
    ///
    /// # Errors
    /// The operator's to mend: see [`Error`]. Nothing of a refused bundle is kept.
    pub fn load(
        bytes: &[u8],
        trusted: &[TrustedKey],
        load_scanner: LoadScanner<'_>,
    ) -> Result<Arc<Self>, Error> {
        let (about, [tables, command_database, mask_database, unfiltered]) =
            sections(verified(bytes, trusted)?)?;
        let tables = read_tables(tables)?;
        let command =
            Database { bytes: command_database, unfiltered: &[], patterns: &tables.command_patterns };
        let mask = Database { bytes: mask_database, unfiltered, patterns: &tables.mask_patterns };
        let command_scanner = scanner(command, load_scanner)?;
        let mask_scanner = scanner(mask, load_scanner)?;
        Self::from_tables(about, &tables, command_scanner, mask_scanner)
    }

    /// Rules that no one signed: for the compiler's samples, `explain` and tests. The data plane never calls this.
    ///
    /// # Errors
    /// The tables use unknown words, or name patterns that they do not list.
    pub fn from_tables(
        about: About,
        tables: &Tables,
        command_scanner: Option<Arc<dyn Scanner>>,
        mask_scanner: Option<Arc<dyn Scanner>>,
    ) -> Result<Arc<Self>, Error> {
        let rules = Ruleset::new(tables)?;
        Ok(Arc::new(Self { about, rules, command_scanner, mask_scanner }))
    }

    pub const fn about(&self) -> &About {
        &self.about
    }
}

/// What a bundle says of itself, and its sections.
fn sections(body: &[u8]) -> Result<(About, [&[u8]; SECTIONS]), Error> {
    let mut header = Reader(body);
    if header.array::<8>()? != MAGIC {
        return Err(Error::Layout("it does not begin as one"));
    }
    let found = header.u32()?;
    if found != FORMAT {
        return Err(Error::Version { found, expected: FORMAT });
    }
    if header.u32()? != SECTIONS as u32 {
        return Err(Error::Layout("wrong number of sections"));
    }
    let about = About {
        generation: header.u64()?,
        created: Timestamp::from_unix_ms(header.u64()?),
        compiler: header.name()?,
        engine: header.name()?,
    };
    let mut sections: [&[u8]; SECTIONS] = [&[]; SECTIONS];
    for place in &mut sections {
        *place = section(body, &mut header)?;
    }
    Ok((about, sections))
}

/// The tables of a bundle that somebody trusted signed.
pub(crate) fn verified_tables(bytes: &[u8], trusted: &[TrustedKey]) -> Result<Tables, Error> {
    let (_, [tables, ..]) = sections(verified(bytes, trusted)?)?;
    read_tables(tables)
}

/// The serialised pattern databases of a bundle; empty where there is nothing to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Databases {
    /// Of `Tables::command_patterns`.
    pub command: Vec<u8>,
    /// Of `Tables::mask_patterns`.
    pub mask: Vec<u8>,
    /// Of those mask patterns that are not `filtered`, where some are and some are not.
    pub mask_unfiltered: Vec<u8>,
}

/// Lays out and signs a bundle. The same input gives the same bytes.
///
/// # Errors
/// A name in `about` is too long, or rkyv cannot lay the tables out.
pub fn write_bundle(
    about: &About,
    tables: &Tables,
    databases: &Databases,
    key: &Ed25519KeyPair,
) -> Result<Vec<u8>, Error> {
    let tables =
        rkyv::to_bytes::<rkyv::rancor::Error>(tables).map_err(|error| Error::Tables(error.to_string()))?;
    let sections: [&[u8]; SECTIONS] =
        [&tables, &databases.command, &databases.mask, &databases.mask_unfiltered];
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&(SECTIONS as u32).to_le_bytes());
    bytes.extend_from_slice(&about.generation.to_le_bytes());
    bytes.extend_from_slice(&about.created.unix_ms().to_le_bytes());
    for name in [&about.compiler, &about.engine] {
        if name.len() > NAME_BYTES {
            return Err(Error::Layout("a version name is longer than 64 bytes"));
        }
        bytes.extend_from_slice(name.as_bytes());
        bytes.resize(bytes.len() + NAME_BYTES - name.len(), 0);
    }
    let mut offset = HEADER_BYTES.next_multiple_of(16);
    for section in sections {
        bytes.extend_from_slice(&(offset as u64).to_le_bytes());
        bytes.extend_from_slice(&(section.len() as u64).to_le_bytes());
        offset = (offset + section.len()).next_multiple_of(16);
    }
    for section in sections {
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        bytes.extend_from_slice(section);
    }
    let signature = key.sign(&bytes);
    bytes.extend_from_slice(signature.as_ref());
    Ok(bytes)
}

/// The public half of a signing key, as the data plane trusts it.
pub fn trusted_key(key: &Ed25519KeyPair) -> Result<TrustedKey, Error> {
    key.public_key().as_ref().try_into().map(TrustedKey).map_err(|_| Error::Key)
}

fn verified<'a>(bytes: &'a [u8], trusted: &[TrustedKey]) -> Result<&'a [u8], Error> {
    let body_len = bytes.len().checked_sub(SIGNATURE_BYTES).ok_or(Error::Layout("too short"))?;
    let (body, signature) = bytes.split_at_checked(body_len).ok_or(Error::Layout("too short"))?;
    if !body.starts_with(&MAGIC) {
        return Err(Error::Layout("it does not begin as one"));
    }
    let fits = |key: &TrustedKey| UnparsedPublicKey::new(&ED25519, key.0).verify(body, signature).is_ok();
    if trusted.iter().any(fits) { Ok(body) } else { Err(Error::Signature) }
}

fn section<'a>(body: &'a [u8], header: &mut Reader<'_>) -> Result<&'a [u8], Error> {
    const OUTSIDE: Error = Error::Layout("a section lies outside the file");
    let offset = usize::try_from(header.u64()?).map_err(|_| OUTSIDE)?;
    let len = usize::try_from(header.u64()?).map_err(|_| OUTSIDE)?;
    let end = offset.checked_add(len).ok_or(OUTSIDE)?;
    if offset < HEADER_BYTES {
        return Err(OUTSIDE);
    }
    body.get(offset..end).ok_or(OUTSIDE)
}

fn read_tables(section: &[u8]) -> Result<Tables, Error> {
    // The map's alignment is the caller's; rkyv needs its own.
    let mut aligned: AlignedVec = AlignedVec::with_capacity(section.len());
    aligned.extend_from_slice(section);
    rkyv::from_bytes::<Tables, rkyv::rancor::Error>(&aligned)
        .map_err(|error| Error::Tables(error.to_string()))
}

fn scanner(database: Database<'_>, load_scanner: LoadScanner<'_>) -> Result<Option<Arc<dyn Scanner>>, Error> {
    match (database.bytes.is_empty(), database.patterns.is_empty()) {
        (true, true) if database.unfiltered.is_empty() => Ok(None),
        (false, false) => load_scanner(database).map(Some).map_err(Error::Database),
        _ => Err(Error::Layout("patterns without a database, or a database without patterns")),
    }
}

/// Takes fixed-size fields off the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Error::Layout("the header is cut short"))?;
        self.0 = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    fn name(&mut self) -> Result<String, Error> {
        let field = self.array::<NAME_BYTES>()?;
        let text = std::str::from_utf8(&field).map_err(|_| Error::Layout("a version name is not UTF-8"))?;
        Ok(text.trim_end_matches('\0').to_owned())
    }
}
