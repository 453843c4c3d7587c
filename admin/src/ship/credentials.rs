//! The archive's credential: from a file that only ship's user reads, or else from the environment or the machine's role as
//! AWS's own programs find them. Never from the command line, never printed.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use zeroize::Zeroizing;

use super::bucket::Builder;
use crate::keys;

/// A builder that knows the credential.
///
/// # Errors
/// The operator's: the file cannot be read, is readable by others, or holds none.
pub(super) fn into(file: Option<&Path>) -> Result<Builder> {
    let Some(path) = file else { return Ok(Builder::from_env()) };
    let bytes = keys::read_secret(path)?;
    let Ok(text) = std::str::from_utf8(&bytes) else { bail!("{} is no text", path.display()) };
    let found = parse(text).with_context(|| path.display().to_string())?;
    let builder = Builder::new()
        .with_access_key_id(found.access_key_id.as_str())
        .with_secret_access_key(found.secret_access_key.as_str());
    Ok(match &found.session_token {
        Some(token) => builder.with_token(token.as_str()),
        None => builder,
    })
}

#[derive(Default)]
struct Found {
    access_key_id: Zeroizing<String>,
    secret_access_key: Zeroizing<String>,
    session_token: Option<Zeroizing<String>>,
}

/// AWS's shared form: `name = value`, of one profile.
fn parse(text: &str) -> Result<Found> {
    let mut found = Found::default();
    let mut profiles = 0;
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with('[') {
            profiles += 1;
            continue;
        }
        // What a line says is not repeated: it may be the secret.
        let Some((name, value)) = line.split_once('=') else { bail!("line {number} is no `name = value`") };
        let value = Zeroizing::new(value.trim().to_owned());
        match name.trim() {
            "aws_access_key_id" => found.access_key_id = value,
            "aws_secret_access_key" => found.secret_access_key = value,
            "aws_session_token" => found.session_token = Some(value),
            _ => {}
        }
    }
    if profiles > 1 {
        bail!("has several profiles; keep the one that ships");
    }
    if found.access_key_id.is_empty() || found.secret_access_key.is_empty() {
        bail!("needs the lines `aws_access_key_id = …` and `aws_secret_access_key = …`");
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_read_in_awss_own_form_and_no_error_repeats_it() {
        let found =
            parse("[default]\n# x\naws_access_key_id=AK\naws_secret_access_key = sec=ret \n").unwrap();
        assert_eq!((found.access_key_id.as_str(), found.secret_access_key.as_str()), ("AK", "sec=ret"));
        assert!(found.session_token.is_none());
        for bad in ["", "CANARY", "aws_access_key_id = CANARY", "[a]\n[b]\naws_access_key_id = CANARY"] {
            let error = format!("{:#}", parse(bad).err().unwrap());
            assert!(!error.contains("CANARY"), "{error}");
        }
    }
}
