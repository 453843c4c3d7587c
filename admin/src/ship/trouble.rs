//! What the store says when it refuses, in one line. Answers' bodies repeat what was signed and by which key, so of those only
//! the code is told.

use std::error::Error as StdError;

use object_store::Error;

/// Longer texts are cut.
const MAX_CHARS: usize = 200;

pub(super) fn told(error: &Error) -> anyhow::Error {
    let whole = error.to_string();
    let code = whole.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    let code = code.map(|(code, _)| code.chars().filter(char::is_ascii_alphanumeric).take(64).collect());
    let why = code.unwrap_or_else(|| root_cause(error));
    if matches!(error, Error::NotFound { .. }) {
        return anyhow::anyhow!("there is no such bucket ({why})");
    }
    if matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) {
        return anyhow::anyhow!("the archive refuses the credential ({why})");
    }
    anyhow::Error::msg(why)
}

fn root_cause(error: &Error) -> String {
    let mut cause: &dyn StdError = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    // A body begins where markup does.
    let text = cause.to_string();
    let text = text.split('<').next().unwrap_or_default();
    text.chars().filter(|ch| !ch.is_control()).take(MAX_CHARS).collect::<String>().trim().to_owned()
}
