//! A proof as a file: JSON, every byte string in lower-case hexadecimal. FORMAT.md, "Proof files", has the fields.
//!
//! Strict, so that a changed file is never a good one: no field but the known ones, none twice, one spelling of each.

use serde::{Deserialize, Serialize};

use crate::event::HEAD_LEN;
use crate::hash::{Digest, from_hex, to_hex};
use crate::proof::Proof;
use crate::seal::Seal;
use crate::{Error, MAX_EVENT_LEN, public_key_text};

/// What a proof file says that it is.
pub(crate) const PROOF_FORMAT: &str = "weir-proof-1";
/// No proof file is longer: the longest event in hexadecimal, and room for the rest.
pub const MAX_PROOF_FILE_LEN: usize = 2 * MAX_EVENT_LEN + (1 << 20);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    format: String,
    public_key: String,
    statement: String,
    signature: String,
    index: u64,
    salt: String,
    previous: String,
    head: String,
    body: String,
    path: Vec<String>,
}

impl Proof {
    /// The proof as the text of a file.
    ///
    /// # Errors
    /// The caller's: `event` is shorter than a head.
    pub fn to_json(&self) -> Result<String, Error> {
        let (head, body) =
            self.event.split_first_chunk::<HEAD_LEN>().ok_or(Error::Short { len: self.event.len() })?;
        let fields = Fields {
            format: PROOF_FORMAT.to_owned(),
            public_key: public_key_text(&self.seal.public_key()).trim_end().to_owned(),
            statement: to_hex(&self.seal.statement),
            signature: to_hex(&self.seal.signature),
            index: self.index,
            salt: to_hex(&self.salt),
            previous: self.previous.to_string(),
            head: to_hex(head),
            body: to_hex(body),
            path: self.path.iter().map(ToString::to_string).collect(),
        };
        let text =
            serde_json::to_string_pretty(&fields).map_err(|error| Error::ProofFile(error.to_string()))?;
        Ok(text + "\n")
    }

    /// Reads a proof file. Nothing of it is checked yet but its form: see [`Proof::verify`].
    ///
    /// # Errors
    /// The input's: not a proof file, or of a later version.
    pub fn from_json(text: &[u8]) -> Result<Self, Error> {
        if text.len() > MAX_PROOF_FILE_LEN {
            return Err(bad("it is longer than any proof"));
        }
        let fields: Fields =
            serde_json::from_slice(text).map_err(|error| Error::ProofFile(error.to_string()))?;
        if fields.format != PROOF_FORMAT {
            return Err(bad("its format is not weir-proof-1"));
        }
        let statement = array(&fields.statement, "statement")?;
        let seal = Seal { statement, signature: array(&fields.signature, "signature")? };
        if public_key_text(&seal.public_key()).trim_end() != fields.public_key {
            return Err(bad("its public key is not the one in its statement"));
        }
        let mut event = array::<HEAD_LEN>(&fields.head, "head")?.to_vec();
        event.extend(from_hex(&fields.body).ok_or_else(|| bad("its body is not hexadecimal"))?);
        let path = fields.path.iter().map(|hash| array(hash, "path").map(Digest));
        Ok(Self {
            event,
            salt: array(&fields.salt, "salt")?,
            previous: Digest(array(&fields.previous, "previous leaf")?),
            index: fields.index,
            path: path.collect::<Result<_, _>>()?,
            seal,
        })
    }
}

fn array<const N: usize>(text: &str, what: &str) -> Result<[u8; N], Error> {
    let bytes = from_hex(text).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| Error::ProofFile(format!("its {what} is not {N} bytes in lower-case hexadecimal")))
}

fn bad(what: &str) -> Error {
    Error::ProofFile(what.to_owned())
}
