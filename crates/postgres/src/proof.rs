//! How a client proves who it is: its token as the password, its token by SASL OAUTHBEARER (RFC 7628), or a certificate
//! that TLS has seen already. It reads where the token stands, and verifies none.

use std::ops::Range;
use std::rc::Rc;

use bytes::{BufMut as _, BytesMut};

use crate::Error;
use crate::codec::{Fields, message, put_cstr};

/// Between the parts of RFC 7628's messages; alone, it is a client's answer to an error.
const SEPARATOR: u8 = 0x01;

/// What a client is asked for.
#[derive(Clone, Debug, Default)]
pub enum Proof {
    /// Its token, as the password.
    #[default]
    Password,
    /// Its token, by SASL OAUTHBEARER.
    Bearer(Rc<BearerTerms>),
    /// Nothing: its certificate says who it is.
    Certificate,
}

/// What a client without an accepted token is told, as RFC 7628's JSON.
#[derive(Debug)]
pub struct BearerTerms(String);

impl BearerTerms {
    /// `discovery` is the URL of the issuer's openid-configuration, `scope` what to ask the issuer for.
    #[must_use]
    pub fn new(discovery: &str, scope: Option<&str>) -> Self {
        let mut terms = serde_json::Map::new();
        let said =
            [("status", Some("invalid_token")), ("openid-configuration", Some(discovery)), ("scope", scope)];
        for (name, value) in said {
            if let Some(value) = value {
                terms.insert(name.to_owned(), value.into());
            }
        }
        Self(serde_json::Value::Object(terms).to_string())
    }
}

impl Proof {
    /// The request for it; `false`: nothing is asked.
    pub(crate) fn ask(&self, out: &mut BytesMut) -> bool {
        match self {
            Self::Password => message(out, b'R', |out| out.put_u32(3)),
            Self::Bearer(_) => message(out, b'R', |out| {
                out.put_u32(10);
                put_cstr(out, b"OAUTHBEARER");
                out.put_u8(0);
            }),
            Self::Certificate => return false,
        }
        true
    }

    /// What was wrong, in the client's terms.
    pub(crate) const fn refused(&self) -> &'static str {
        match self {
            Self::Password => {
                "authentication failed: the password must be a valid, unexpired token for this gateway"
            }
            Self::Bearer(_) => "authentication failed: a valid, unexpired token for this gateway is needed",
            Self::Certificate => {
                "authentication failed: the client certificate has expired or is no longer accepted by this gateway"
            }
        }
    }

    /// Where the token stands in a `p` message's body; empty where the client has none and asks what to do.
    pub(crate) fn token(&self, body: &[u8]) -> Result<Range<usize>, Error> {
        match self {
            Self::Password => {
                let mut fields = Fields(body);
                let token = fields.cstr().filter(|_| fields.is_empty());
                token.map(|token| 0..token.len()).ok_or(Error::ClientMalformed("password"))
            }
            Self::Bearer(_) => bearer(body),
            Self::Certificate => Err(Error::Contract("no token was asked for")),
        }
    }

    /// AuthenticationSASLContinue with the reason. True: the client answers it before the end.
    pub(crate) fn tell(&self, out: &mut BytesMut) -> bool {
        let Self::Bearer(terms) = self else { return false };
        message(out, b'R', |out| {
            out.put_u32(11);
            out.extend_from_slice(terms.0.as_bytes());
        });
        true
    }
}

/// Whether a `p` message's body is the answer to the reason.
pub(crate) const fn is_acknowledgement(body: &[u8]) -> bool {
    matches!(body, [SEPARATOR])
}

/// SASLInitialResponse: mechanism, then RFC 7628's `n,,^Aauth=Bearer TOKEN^A^A`.
fn bearer(body: &[u8]) -> Result<Range<usize>, Error> {
    const MALFORMED: Error = Error::ClientMalformed("OAUTHBEARER");
    let mut fields = Fields(body);
    if fields.cstr() != Some(b"OAUTHBEARER") {
        return Err(Error::ClientState("the only SASL mechanism here is OAUTHBEARER"));
    }
    let length = fields.u32().ok_or(MALFORMED)?;
    if usize::try_from(length).ok() != Some(fields.0.len()) {
        return Err(MALFORMED);
    }
    // No channel binding exists for it, and nobody acts for somebody else.
    let said = fields.0.strip_prefix(b"n,,").or_else(|| fields.0.strip_prefix(b"y,,")).ok_or(MALFORMED)?;
    let said = said.strip_prefix(&[SEPARATOR]).ok_or(MALFORMED)?;
    let pairs = said.strip_suffix(&[SEPARATOR, SEPARATOR]).ok_or(MALFORMED)?;
    let mut at = body.len() - said.len();
    let mut found = None;
    for pair in pairs.split(|byte| *byte == SEPARATOR) {
        let equals = pair.iter().position(|byte| *byte == b'=').ok_or(MALFORMED)?;
        let (name, value) = pair.split_at_checked(equals).ok_or(MALFORMED)?;
        if !name.iter().all(u8::is_ascii_alphabetic) || name.is_empty() {
            return Err(MALFORMED);
        }
        if name == b"auth" {
            let start = at + equals + 1;
            let token = scheme_bytes(value.get(1..).unwrap_or_default())?;
            let range = start + token.start..start + token.end;
            if found.replace(range).is_some() {
                return Err(MALFORMED);
            }
        }
        at += pair.len() + 1;
    }
    found.ok_or(MALFORMED)
}

/// Where RFC 6750's token stands in `Bearer TOKEN`; empty in an empty value.
fn scheme_bytes(value: &[u8]) -> Result<Range<usize>, Error> {
    const SCHEME: &[u8] = b"bearer ";
    const MALFORMED: Error = Error::ClientMalformed("OAUTHBEARER");
    if value.is_empty() {
        return Ok(0..0);
    }
    let (scheme, token) = value.split_at_checked(SCHEME.len()).ok_or(MALFORMED)?;
    let spaces = token.iter().take_while(|byte| **byte == b' ').count();
    let token = token.get(spaces..).unwrap_or_default();
    let good = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    if !scheme.eq_ignore_ascii_case(SCHEME) || token.is_empty() || !token.iter().all(good) {
        return Err(MALFORMED);
    }
    Ok(SCHEME.len() + spaces..value.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn initial(mechanism: &str, said: &str) -> Vec<u8> {
        let length = u32::try_from(said.len()).unwrap();
        [mechanism.as_bytes(), b"\0", &length.to_be_bytes(), said.as_bytes()].concat()
    }

    fn read(body: &[u8]) -> Option<&[u8]> {
        body.get(bearer(body).ok()?)
    }

    #[test]
    fn a_bearer_token_is_found_and_nothing_else_is_taken_for_one() {
        for (said, expected) in [
            ("n,,\x01auth=Bearer a.b-c_d~+/=\x01\x01", Some("a.b-c_d~+/=")),
            ("y,,\x01auth=bearer  abc\x01\x01", Some("abc")),
            ("n,,\x01host=h\x01port=1\x01auth=Bearer abc\x01\x01", Some("abc")),
            ("n,,\x01auth=Bearer abc\x01host=h\x01\x01", Some("abc")),
            ("n,,\x01auth=\x01\x01", Some("")),
            ("n,,\x01auth=Bearer \x01\x01", None),
            ("n,,\x01auth=Basic abc\x01\x01", None),
            ("n,,\x01auth=Bearer a b\x01\x01", None),
            ("n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01", None),
            ("n,,\x01auth=Bearer a\x01", None),
            ("n,,\x01auth=Bearer a\x01\x01\x01", None),
            ("n,,\x01host=h\x01\x01", None),
            ("n,,\x01\x01", None),
            ("n,,\x01", None),
            ("n,a=root,\x01auth=Bearer a\x01\x01", None),
            ("p=tls-server-end-point,,\x01auth=Bearer a\x01\x01", None),
            ("", None),
        ] {
            let body = initial("OAUTHBEARER", said);
            assert_eq!(read(&body), expected.map(str::as_bytes), "{said:?}");
            for end in 0..body.len() {
                assert_eq!(read(&body[..end]), None, "{said:?} cut at {end}");
            }
        }
        assert_eq!(read(&initial("SCRAM-SHA-256", "n,,\x01auth=Bearer a\x01\x01")), None);
    }

    #[test]
    fn the_terms_are_json_whatever_stands_in_them() {
        let terms = BearerTerms::new("https://i/.well-known/openid-configuration", Some("a \"b\""));
        let read: serde_json::Value = serde_json::from_str(&terms.0).unwrap();
        assert_eq!(read["openid-configuration"], "https://i/.well-known/openid-configuration");
        assert_eq!(
            (read["status"].as_str(), read["scope"].as_str()),
            (Some("invalid_token"), Some("a \"b\""))
        );
    }
}
