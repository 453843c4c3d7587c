//! The StartupMessage: who the client says it wants to be, which settings go on, and what is refused.
//!
//! Everything here is a request; identity comes from the token alone. Only allow-listed settings go upstream: a
//! setting may change how the server reads a statement's text, or what it writes to the client.

use std::ops::Range;

use crate::Error;
use crate::codec::Fields;

/// Newest minor version of protocol 3 that the gateway speaks to clients.
const NEWEST_MINOR: u32 = 2;

/// Settings that go upstream, lower case.
const SETTINGS: [&str; 11] = [
    "application_name",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "lock_timeout",
    "search_path",
    "statement_timeout",
    "timezone",
];

/// Our own setting: the purpose of use.
const PURPOSE: &str = "weir.purpose";
/// How a purpose stands in `application_name`, which every client can set.
const PURPOSE_SUFFIX: &str = ";purpose=";

/// What a client asked for before it was known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Startup {
    pub(crate) user: String,
    pub(crate) database: Option<String>,
    pub(crate) purpose: Option<String>,
    pub(crate) application: Option<String>,
    /// Settings for the upstream, in the order in which later ones win.
    pub(crate) settings: Vec<(String, String)>,
    /// Minor version to speak.
    pub(crate) minor: u32,
    /// Protocol options that nobody here knows; the client is told.
    pub(crate) unknown_options: Vec<String>,
    /// The client wanted a newer minor version.
    pub(crate) newer: bool,
}

impl Startup {
    /// Reads the packet behind its length and version.
    pub(crate) fn parse(version: u32, body: &[u8]) -> Result<Self, Error> {
        let wanted = version & 0xffff;
        let mut startup =
            Self { minor: wanted.min(NEWEST_MINOR), newer: wanted > NEWEST_MINOR, ..Self::default() };
        let mut fields = Fields(body);
        loop {
            let name = text(fields.cstr())?;
            if name.is_empty() {
                break;
            }
            let value = text(fields.cstr())?;
            startup.take(name, value)?;
        }
        if !fields.is_empty() {
            return Err(Error::ClientMalformed("startup"));
        }
        if startup.user.is_empty() {
            return Err(Error::Startup(
                "no role requested: the user name must be a role that you were granted",
            ));
        }
        Ok(startup)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), Error> {
        match name {
            "user" => value.clone_into(&mut self.user),
            "database" => self.database = Some(value.to_owned()),
            "replication" => {
                // A walsender session runs plain SQL beside the replication protocol, which is not inspected.
                if !matches!(
                    value.to_ascii_lowercase().as_str(),
                    "false" | "off" | "no" | "0" | "f" | "n" | "of"
                ) {
                    return Err(Error::Startup(
                        "replication connections are not supported through the gateway",
                    ));
                }
            }
            "options" => self.take_options(value),
            _ if name.starts_with("_pq_.") => self.unknown_options.push(name.to_owned()),
            _ => self.set(name, value),
        }
        Ok(())
    }

    /// `-c name=value`, `-cname=value` and `--name=value`; other switches are dropped.
    fn take_options(&mut self, options: &str) {
        let words = split_options(options);
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let setting = match word.strip_prefix("--") {
                Some(setting) => Some(setting),
                None => match word.strip_prefix("-c") {
                    Some("") => words.next(),
                    setting => setting,
                },
            };
            if let Some((name, value)) = setting.and_then(|setting| setting.split_once('=')) {
                self.set(&name.replace('-', "_"), value);
            }
        }
    }

    fn set(&mut self, name: &str, value: &str) {
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            PURPOSE => self.purpose = Some(value.to_owned()),
            "application_name" => {
                let (application, purpose) = match value.rsplit_once(PURPOSE_SUFFIX) {
                    Some((application, purpose)) => (application, Some(purpose)),
                    None => (value, None),
                };
                if let Some(purpose) = purpose.filter(|_| self.purpose.is_none()) {
                    self.purpose = Some(purpose.to_owned());
                }
                self.application = Some(application.to_owned());
                self.settings.push((name, application.to_owned()));
            }
            known if SETTINGS.contains(&known) => self.settings.push((name, value.to_owned())),
            _ => {}
        }
    }

    /// The last value for a setting, by its lower-case name.
    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a NegotiateProtocolVersion is due.
    pub(crate) const fn negotiates(&self) -> bool {
        self.newer || !self.unknown_options.is_empty()
    }
}

fn text(field: Option<&[u8]>) -> Result<&str, Error> {
    let field = field.ok_or(Error::ClientMalformed("startup"))?;
    std::str::from_utf8(field).map_err(|_| Error::Startup("startup parameters must be UTF-8"))
}

/// Splits as the server does: at white space, with a backslash before any character meant literally.
fn split_options(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = options.chars();
    while let Some(ch) = chars.next() {
        match ch {
            ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' => words.extend(word.take()),
            '\\' => {
                if let Some(literal) = chars.next() {
                    word.get_or_insert_default().push(literal);
                }
            }
            _ => word.get_or_insert_default().push(ch),
        }
    }
    words.extend(word);
    words
}

/// A startup packet once it is there whole: its version, and where its parameters stand.
pub(crate) fn packet(input: &[u8], limit: usize) -> Result<Option<(u32, Range<usize>)>, Error> {
    let mut fields = Fields(input);
    let Some(length) = fields.u32() else { return Ok(None) };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length < 8 {
        return Err(Error::ClientLength);
    }
    if length > limit {
        return Err(Error::ClientTooLong(limit));
    }
    let Some(version) = fields.u32() else { return Ok(None) };
    if version >> 16 != 3 {
        return Err(Error::Startup("unsupported protocol version: the gateway speaks 3.0 and 3.2"));
    }
    if input.len() < length { Ok(None) } else { Ok(Some((version, 8..length))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(version: u32, parameters: &[(&str, &str)]) -> Result<Startup, Error> {
        let mut body: Vec<u8> =
            parameters.iter().flat_map(|(name, value)| format!("{name}\0{value}\0").into_bytes()).collect();
        body.push(0);
        Startup::parse(version, &body)
    }

    #[test]
    fn allow_listed_settings_go_on_from_wherever_they_come() {
        let startup = parse(
            0x0003_0000,
            &[
                ("user", "job"),
                ("database", "clinic"),
                ("options", r"-c datestyle=Postgres,\ MDY -c work_mem=1GB --intervalstyle=postgres_verbose -cTimeZone=PST8PDT -d 5 -c"),
                ("DateStyle", "ISO"),
                ("session_authorization", "postgres"),
                ("application_name", "psql"),
            ],
        )
        .unwrap();
        let expected = [
            ("datestyle", "Postgres, MDY"),
            ("intervalstyle", "postgres_verbose"),
            ("timezone", "PST8PDT"),
            ("datestyle", "ISO"),
            ("application_name", "psql"),
        ];
        assert_eq!(startup.settings, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!((startup.user.as_str(), startup.database.as_deref()), ("job", Some("clinic")));
        assert_eq!(startup.setting("datestyle"), Some("ISO"));
    }

    #[test]
    fn a_purpose_is_taken_out_of_what_goes_upstream() {
        for (parameters, purpose, application) in [
            (&[("weir.purpose", "billing")][..], Some("billing"), None),
            (&[("options", "-c weir.purpose=night\\ run")], Some("night run"), None),
            (&[("application_name", "etl;purpose=billing")], Some("billing"), Some("etl")),
            (&[("application_name", "etl;purpose=x"), ("weir.purpose", "y")], Some("y"), Some("etl")),
            (&[("weir.purpose", "y"), ("application_name", "etl;purpose=x")], Some("y"), Some("etl")),
            (&[("application_name", "etl")], None, Some("etl")),
        ] {
            let startup = parse(0x0003_0000, &[&[("user", "u")], parameters].concat()).unwrap();
            assert_eq!((startup.purpose.as_deref(), startup.application.as_deref()), (purpose, application));
            assert_eq!(startup.setting("application_name"), application);
            assert!(startup.setting("weir.purpose").is_none());
        }
    }

    #[test]
    fn newer_versions_and_unknown_protocol_options_are_negotiated() {
        for (version, options, minor, negotiates) in [
            (0x0003_0000, &[][..], 0, false),
            (0x0003_0002, &[], 2, false),
            (0x0003_0063, &[], 2, true),
            (0x0003_0000, &[("_pq_.grease", "1")], 0, true),
        ] {
            let startup = parse(version, &[&[("user", "u")], options].concat()).unwrap();
            assert_eq!((startup.minor, startup.negotiates()), (minor, negotiates));
        }
    }

    #[test]
    fn what_is_refused_says_why() {
        for (parameters, expected) in [
            (
                &[("user", "u"), ("replication", "database")][..],
                "replication connections are not supported through the gateway",
            ),
            (
                &[("user", "u"), ("replication", "on")],
                "replication connections are not supported through the gateway",
            ),
            (&[("database", "d")], "no role requested: the user name must be a role that you were granted"),
        ] {
            assert_eq!(parse(0x0003_0000, parameters).unwrap_err().to_string(), expected);
        }
        assert!(parse(0x0003_0000, &[("user", "u"), ("replication", "off")]).is_ok());
        for malformed in [&b""[..], b"user", b"user\0u\0", b"user\0u\0\0extra", b"user\0\xff\0\0"] {
            assert!(Startup::parse(0x0003_0000, malformed).is_err(), "{malformed:?}");
        }
    }
}
