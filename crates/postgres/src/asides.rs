//! What the upstream says beside rows: errors, notices, notifications, settings. Each can carry a protected value, so
//! under a mask plan each is written anew from the parts that are known, its free text scrubbed.

use bytes::{BufMut, BytesMut};
use weir_mask::scrub;
use weir_wire::Outbox;

use crate::Error;
use crate::codec::{Fields, message, put_cstr};
use crate::replies::Fate;
use crate::session::Session;
use crate::spoken;

/// Fields of an error or notice that pass as they are: severity, code, position, object names, source place.
const KEPT: &[u8] = b"SVCPstcdnFLR";
const KEPT_OF_CODE: &[u8] = b"SVCPFLR";

/// Settings that the server reports, whose values are free text.
const FREE_SETTINGS: [&[u8]; 4] =
    [b"TimeZone", b"application_name", b"search_path", b"session_authorization"];

/// Client encodings that read no ASCII byte as part of another character.
const ENCODINGS: [&str; 3] = ["UTF8", "UNICODE", "SQL_ASCII"];

pub(crate) fn is_safe_encoding(name: &str) -> bool {
    let plain: String = name.chars().filter(|ch| ch.is_ascii_alphanumeric() || *ch == '_').collect();
    ENCODINGS.iter().any(|safe| safe.eq_ignore_ascii_case(&plain))
}

impl Session {
    pub(crate) fn notice(&mut self, body: &[u8], out: &mut Outbox) -> Result<Fate, Error> {
        if self.is_asking_itself() {
            return Ok(Fate::Replaced);
        }
        if self.plan().is_none() {
            return Ok(Fate::Pass);
        }
        self.filter_response(b'N', body, &mut out.client)?;
        Ok(Fate::Replaced)
    }

    /// Writes an error or notice anew: detail, hint, context and internal query are left out, the message is scrubbed.
    pub(crate) fn filter_response(&mut self, tag: u8, body: &[u8], out: &mut BytesMut) -> Result<(), Error> {
        let mut scrubbed = std::mem::take(&mut self.scratch);
        scrubbed.clear();
        let spoke = self.lineage.spoke();
        let text = if self.plan().is_some_and(|plan| !plan.columns.is_empty()) {
            spoken::told(body, spoke)
        } else {
            response_field(body, b'M').unwrap_or_default().into()
        };
        // Code names whatever it likes as the object that it is about.
        let kept = if spoke && spoken::is_raised(body) { KEPT_OF_CODE } else { KEPT };
        let result = self.scrub(&text, &mut scrubbed);
        message(out, tag, |out| {
            let mut fields = Fields(body);
            while let Some(field) = fields.u8().filter(|field| *field != 0) {
                let Some(text) = fields.cstr() else { break };
                if field == b'M' || kept.contains(&field) {
                    out.put_u8(field);
                    put_cstr(out, if field == b'M' { &scrubbed } else { text });
                }
            }
            out.put_u8(0);
        });
        self.scratch = scrubbed;
        result
    }

    /// Appends `text` without what the plan's patterns find in it.
    fn scrub(&mut self, text: &[u8], out: &mut BytesMut) -> Result<(), Error> {
        let Some(plan) = self.plan().cloned() else {
            out.extend_from_slice(text);
            return Ok(());
        };
        match scrub(&mut self.masker.finder, &plan, &self.shared.key, text, out) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Unmaskable("scan failed")),
        }
    }

    pub(crate) fn notification(&mut self, body: &[u8], out: &mut Outbox) -> Result<Fate, Error> {
        const MALFORMED: Error = Error::UpstreamMalformed("NotificationResponse");
        let mut fields = Fields(body);
        let process = fields.u32().ok_or(MALFORMED)?;
        let channel = fields.cstr().ok_or(MALFORMED)?;
        let payload = fields.cstr().ok_or(MALFORMED)?;
        // The client knows its own backend by the number that it was given.
        let own = self.upstream_key.is_some_and(|key| key.process == process);
        let process = if own { self.own_process } else { process };
        let mut scrubbed = std::mem::take(&mut self.scratch);
        scrubbed.clear();
        let result = self.scrub(payload, &mut scrubbed);
        if result.is_ok() {
            message(&mut out.client, b'A', |out| {
                out.put_u32(process);
                put_cstr(out, channel);
                put_cstr(out, &scrubbed);
            });
        }
        self.scratch = scrubbed;
        result.map(|()| Fate::Replaced)
    }

    /// Also the place where a setting is seen that would make the upstream read text otherwise than its facts say.
    pub(crate) fn parameter_status(&mut self, body: &[u8], out: &mut Outbox) -> Result<Fate, Error> {
        let mut fields = Fields(body);
        let (Some(name), Some(value)) = (fields.cstr(), fields.cstr()) else {
            return Err(Error::UpstreamMalformed("ParameterStatus"));
        };
        if self.obligations.applies {
            check_reading(name, value)?;
        }
        if self.plan().is_none() {
            return Ok(Fate::Pass);
        }
        let mut scrubbed = std::mem::take(&mut self.scratch);
        scrubbed.clear();
        let result = if self.lineage.runs_code() && FREE_SETTINGS.contains(&name) {
            scrubbed.extend_from_slice(b"***");
            Ok(())
        } else {
            self.scrub(value, &mut scrubbed)
        };
        if result.is_ok() {
            message(&mut out.client, b'S', |out| {
                put_cstr(out, name);
                put_cstr(out, &scrubbed);
            });
        }
        self.scratch = scrubbed;
        result.map(|()| Fate::Replaced)
    }
}

/// Where rules apply, text must be read as its facts were.
pub(crate) fn check_reading(name: &[u8], value: &[u8]) -> Result<(), Error> {
    let value = std::str::from_utf8(value).unwrap_or_default();
    match name {
        b"standard_conforming_strings" if value != "on" => {
            Err(Error::Setting("standard_conforming_strings must stay on where rules apply"))
        }
        b"client_encoding" if !is_safe_encoding(value) => {
            Err(Error::Setting("client_encoding must be UTF8 where rules apply"))
        }
        _ => Ok(()),
    }
}

pub(crate) fn response_field(body: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut fields = Fields(body);
    while let Some(field) = fields.u8().filter(|field| *field != 0) {
        let text = fields.cstr()?;
        if field == wanted {
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_encodings_that_cannot_hide_a_quote_are_safe() {
        for (name, safe) in [
            ("UTF8", true),
            ("utf-8", true),
            ("'UTF8'", true),
            ("SQL_ASCII", true),
            ("SJIS", false),
            ("GBK", false),
            ("", false),
        ] {
            assert_eq!(is_safe_encoding(name), safe, "{name}");
        }
    }
}
