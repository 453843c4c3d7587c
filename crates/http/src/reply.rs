//! Reads a response's head and settles how its body goes to the client: passed by count, relayed, or masked.

use weir_policy::MaskPlan;

use crate::Limits;
use crate::head::{Declared, Framing, MAX_FIELDS, has_token, is_hop_by_hop};

/// One response's head. Reused for every response of the connection.
#[derive(Debug, Default)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    /// Fields to send, names lower case, as `name: value` lines each ended by CRLF.
    pub(crate) lines: Vec<u8>,
    /// Where each value lies in `lines`.
    pub(crate) values: Vec<std::ops::Range<usize>>,
    pub(crate) framing: Framing,
    pub(crate) close: bool,
    /// A content coding other than identity: its name, or several.
    pub(crate) coding: Option<Vec<u8>>,
    pub(crate) kind: ContentKind,
    typed: bool,
}

/// What a body is made of, as far as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentKind {
    Binary,
    /// Pictures, sound, film and fonts, which hold no text.
    Media,
    /// A text in a character set that patterns cannot be looked for in.
    Illegible,
    /// Bytes that patterns can be looked for in.
    Text(Format),
}

impl Default for ContentKind {
    fn default() -> Self {
        Self::Text(Format::Unknown)
    }
}

/// How values stand in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Server-sent events.
    Events,
    Json,
    /// JSON, a document a line.
    Lines,
    /// As they are.
    Text,
    /// JSON if it begins so.
    Unknown,
}

impl ResponseHead {
    /// Reads a complete, line-checked head. `masked`: fields that tell of the unmasked body are left out.
    pub(crate) fn read(&mut self, head: &[u8], limits: &Limits, masked: bool) -> Result<(), &'static str> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let fields = fields.get_mut(..limits.fields.min(MAX_FIELDS)).unwrap_or_default();
        let mut parsed = httparse::Response::new(fields);
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(len)) if len == head.len() => {}
            Ok(_) | Err(_) => return Err("its head is malformed or has too many fields"),
        }
        let (Some(status), Some(minor)) = (parsed.code, parsed.version) else {
            return Err("its status line is malformed");
        };
        self.clear(status);
        let nominated: Vec<&[u8]> = parsed
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case("connection"))
            .map(|field| field.value)
            .collect();
        let mut declared = Declared::default();
        for field in parsed.headers.iter() {
            let value = field.value.trim_ascii();
            if field.name.eq_ignore_ascii_case("content-length") {
                declared.length(value)?;
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                declared.transfer_encoding(value)?;
            } else if !is_hop_by_hop(field.name, &nominated) {
                self.keep(field.name, value, masked);
            }
        }
        self.framing = declared.framing(minor)?;
        let asks = |token| nominated.iter().any(|value| has_token(value, token));
        self.close = if minor == 0 { !asks("keep-alive") } else { asks("close") };
        Ok(())
    }

    fn clear(&mut self, status: u16) {
        self.status = status;
        self.lines.clear();
        self.values.clear();
        self.coding = None;
        self.kind = ContentKind::default();
        self.typed = false;
    }

    fn keep(&mut self, name: &str, value: &[u8], masked: bool) {
        /// A way around the gateway, or the gateway's own session with the upstream.
        const NEVER: [&str; 3] = ["alt-svc", "set-cookie", "set-cookie2"];
        /// Digests and identities of the unmasked body, which also tell it apart from guesses.
        const NOT_MASKED: [&str; 8] = [
            "accept-ranges",
            "content-digest",
            "content-md5",
            "content-range",
            "digest",
            "etag",
            "repr-digest",
            "x-content-digest",
        ];
        let is = |known: &&str| name.eq_ignore_ascii_case(known);
        if NEVER.iter().any(is) || (masked && NOT_MASKED.iter().any(is)) {
            return;
        }
        if is(&"content-encoding") && !value.eq_ignore_ascii_case(b"identity") && !value.is_empty() {
            let coding = self.coding.get_or_insert_default();
            if !coding.is_empty() {
                coding.push(b',');
            }
            coding.extend_from_slice(value);
            // It is undone, or the answer refused.
            if masked {
                return;
            }
        }
        // A second type does not make the first one legible.
        if is(&"content-type") {
            let first = !std::mem::replace(&mut self.typed, true);
            self.kind = if first { content_kind(value) } else { ContentKind::Illegible };
        }
        self.lines.extend(name.bytes().map(|byte| byte.to_ascii_lowercase()));
        self.lines.extend_from_slice(b": ");
        let start = self.lines.len();
        self.lines.extend_from_slice(value);
        self.values.push(start..self.lines.len());
        self.lines.extend_from_slice(b"\r\n");
    }

    /// Whether the status or the request's method means that no body follows, whatever the head declares.
    pub(crate) const fn has_no_body(&self, to_head: bool) -> bool {
        to_head || matches!(self.status, 204 | 304)
    }

    /// Why this body cannot be masked; `None`: it can.
    pub(crate) fn unmaskable(&self, plan: &MaskPlan) -> Option<&'static str> {
        match self.kind {
            ContentKind::Media if plan.patterns.is_empty() => None,
            _ if self.status == 206 => Some("the answer is a part of a body"),
            ContentKind::Binary | ContentKind::Media => Some("the answer's content type is not a text"),
            ContentKind::Illegible => Some("the answer's character set is not known"),
            ContentKind::Text(_) => None,
        }
    }
}

/// A missing type is looked through as a text.
pub(crate) fn content_kind(value: &[u8]) -> ContentKind {
    let Ok(value) = std::str::from_utf8(value) else { return ContentKind::Illegible };
    let value = value.to_ascii_lowercase();
    let mut parts = value.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let (kind, sub) = media.split_once('/').unwrap_or((media, ""));
    let textual = kind == "text"
        || ["+json", "+xml", "+yaml"].iter().any(|suffix| sub.ends_with(suffix))
        || (kind == "application"
            && [
                "graphql",
                "javascript",
                "json",
                "jsonl",
                "ndjson",
                "sql",
                "toml",
                "x-ndjson",
                "x-www-form-urlencoded",
                "x-yaml",
                "xml",
                "yaml",
            ]
            .contains(&sub));
    if matches!(kind, "audio" | "font" | "image" | "video") && !sub.ends_with("+xml") {
        return ContentKind::Media;
    }
    if !textual {
        return ContentKind::Binary;
    }
    let format = match (kind, sub) {
        ("text", "event-stream") => Format::Events,
        (_, "jsonl" | "ndjson" | "x-ndjson" | "json-seq") => Format::Lines,
        (_, "json") => Format::Json,
        _ if sub.ends_with("+json") => Format::Json,
        ("text", "plain") => Format::Unknown,
        _ => Format::Text,
    };
    let charset = parts
        .find_map(|part| part.strip_prefix("charset"))
        .map_or("utf-8", |rest| rest.trim_start().trim_start_matches('=').trim().trim_matches('"'));
    match charset {
        "utf-8" | "utf8" | "us-ascii" | "ascii" | "iso-8859-1" | "latin1" | "iso-8859-15"
        | "windows-1252" => ContentKind::Text(format),
        _ => ContentKind::Illegible,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_from_what_cannot_be_read() {
        for (value, expected) in [
            ("text/plain", ContentKind::Text(Format::Unknown)),
            ("text/event-stream", ContentKind::Text(Format::Events)),
            ("application/x-ndjson", ContentKind::Text(Format::Lines)),
            ("TEXT/HTML; Charset=\"UTF-8\"", ContentKind::Text(Format::Text)),
            ("application/json", ContentKind::Text(Format::Json)),
            ("application/problem+json; charset=utf-8", ContentKind::Text(Format::Json)),
            ("text/csv; header=present; charset = iso-8859-1", ContentKind::Text(Format::Text)),
            ("text/plain; charset=utf-16", ContentKind::Illegible),
            ("application/json; charset=utf-7", ContentKind::Illegible),
            ("application/octet-stream", ContentKind::Binary),
            ("image/png", ContentKind::Media),
            ("image/svg+xml", ContentKind::Text(Format::Text)),
            ("multipart/byteranges; boundary=x", ContentKind::Binary),
            ("application/grpc", ContentKind::Binary),
        ] {
            assert_eq!(content_kind(value.as_bytes()), expected, "{value}");
        }
    }
}
