//! Reads a request's head: strictly, once, into what is asked of policy and what is sent upstream.
//!
//! Credentials, hop-by-hop fields, forwarding fields and fields that would change the method or path behind policy's
//! back are left out; the machine adds its own `host`, credential and framing.

use ring::digest;
use zeroize::Zeroizing;

use crate::Limits;
use crate::answer::Refusal;
use crate::head::{BadHead, Declared, Framing, MAX_FIELDS, has_token, is_hop_by_hop};
use crate::machine::KEPT_BYTES;
use crate::reply::{ContentKind, content_kind};
use crate::target::Target;

/// One request's head. Reused for every request of the connection.
#[derive(Debug, Default)]
pub(crate) struct RequestHead {
    pub(crate) method: String,
    pub(crate) target: Target,
    /// Fields to send, names lower case, as `name: value` lines each ended by CRLF.
    pub(crate) lines: Vec<u8>,
    pub(crate) token: Zeroizing<Vec<u8>>,
    /// It has an `Authorization`, whatever that holds.
    pub(crate) authorized: bool,
    pub(crate) role: Option<String>,
    pub(crate) purpose: Option<String>,
    pub(crate) application: Option<String>,
    pub(crate) framing: Framing,
    /// Of the body; rules cannot see through one.
    pub(crate) encoded: bool,
    pub(crate) kind: ContentKind,
    pub(crate) expects_continue: bool,
    /// The client takes "accepted, later" for an answer: `Prefer: respond-async` (RFC 7240).
    pub(crate) responds_async: bool,
    /// The client wants (or can only have) one exchange on this connection.
    pub(crate) close: bool,
    /// 0 or 1, of HTTP/1.x.
    pub(crate) minor: u8,
}

impl RequestHead {
    pub(crate) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// What the session is bound to: the token, and the role and purpose it was admitted for.
    pub(crate) fn binding(&self) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [&self.token, self.role.as_deref().unwrap_or_default().as_bytes()] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        context.update(self.purpose.as_deref().unwrap_or_default().as_bytes());
        let mut binding = [0; 32];
        for (to, from) in binding.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        binding
    }

    /// Reads a complete, line-checked head.
    pub(crate) fn read(&mut self, head: &[u8], limits: &Limits) -> Result<(), Refusal> {
        self.forget();
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let fields = fields.get_mut(..limits.fields.min(MAX_FIELDS)).unwrap_or_default();
        let mut parsed = httparse::Request::new(fields);
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(len)) if len == head.len() => {}
            Ok(_) => return Err(Refusal::bad("the request's head is malformed")),
            Err(error) => return Err(refusal(error)),
        }
        let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(Refusal::bad("the request line is malformed"));
        };
        self.minor = minor;
        self.read_method(method)?;
        if target.len() > limits.target_bytes {
            return Err(Refusal::new(414, "the request target is too long"));
        }
        let host = self.read_fields(parsed.headers)?;
        self.read_target(target, host)
    }

    /// Wipes the last request's token and forgets the rest, keeping buffers of moderate size.
    pub(crate) fn forget(&mut self) {
        let mut kept = Self {
            lines: std::mem::take(&mut self.lines),
            target: std::mem::take(&mut self.target),
            method: std::mem::take(&mut self.method),
            ..Self::default()
        };
        kept.lines.clear();
        kept.lines.shrink_to(KEPT_BYTES);
        kept.method.clear();
        *self = kept;
    }

    fn read_method(&mut self, method: &str) -> Result<(), Refusal> {
        match method {
            "CONNECT" | "TRACE" => return Err(Refusal::new(405, "CONNECT and TRACE are not served")),
            _ if method.len() > 32
                || !method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') =>
            {
                return Err(Refusal::new(501, "methods are upper-case letters"));
            }
            _ => self.method.push_str(method),
        }
        Ok(())
    }

    fn read_fields<'h>(&mut self, fields: &[httparse::Header<'h>]) -> Result<Option<&'h str>, Refusal> {
        let nominated: Vec<&[u8]> = fields
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case("connection"))
            .map(|field| field.value)
            .collect();
        let mut declared = Declared::default();
        let mut host = None;
        for field in fields {
            let value = field.value.trim_ascii();
            match Kind::of(field.name) {
                Kind::Authorization if std::mem::replace(&mut self.authorized, true) => {
                    return Err(Refusal::bad("authorization is repeated"));
                }
                Kind::Authorization => self.read_token(value),
                Kind::Host => {
                    let text = std::str::from_utf8(value).ok().filter(|text| is_authority(text));
                    let text = text.ok_or(Refusal::bad("host is not a host name"))?;
                    if host.replace(text).is_some() {
                        return Err(Refusal::bad("host is repeated"));
                    }
                }
                Kind::ContentLength => declared.length(value).map_err(Refusal::bad)?,
                Kind::TransferEncoding => declared.transfer_encoding(value).map_err(Refusal::bad)?,
                Kind::Expect if value.eq_ignore_ascii_case(b"100-continue") => self.expects_continue = true,
                Kind::Expect => return Err(Refusal::new(417, "only 100-continue can be expected")),
                Kind::Upgrade => return Err(Refusal::new(501, "this connection is not upgraded")),
                Kind::Role if self.role.replace(text(value)?).is_none() => {}
                Kind::Purpose if self.purpose.replace(text(value)?).is_none() => {}
                Kind::Role | Kind::Purpose => return Err(Refusal::bad("a weir- field is repeated")),
                Kind::Withheld => {}
                Kind::Other if is_hop_by_hop(field.name, &nominated) => {}
                Kind::Other => self.keep(field.name, value),
            }
        }
        let asks = |token| nominated.iter().any(|value| has_token(value, token));
        self.close = self.minor == 0 || asks("close");
        self.framing = declared.framing(self.minor).map_err(Refusal::bad)?;
        if host.is_none() && self.minor == 1 {
            return Err(Refusal::bad("host is missing"));
        }
        Ok(host)
    }

    fn keep(&mut self, name: &str, value: &[u8]) {
        if name.eq_ignore_ascii_case("user-agent") {
            self.application = std::str::from_utf8(value).ok().map(str::to_owned);
        }
        if name.eq_ignore_ascii_case("content-encoding") && !value.eq_ignore_ascii_case(b"identity") {
            self.encoded = true;
        }
        if name.eq_ignore_ascii_case("prefer") && has_token(value, "respond-async") {
            self.responds_async = true;
        }
        if name.eq_ignore_ascii_case("content-type") {
            self.kind = content_kind(value);
        }
        self.lines.extend(name.bytes().map(|byte| byte.to_ascii_lowercase()));
        self.lines.extend_from_slice(b": ");
        self.lines.extend_from_slice(value);
        self.lines.extend_from_slice(b"\r\n");
    }

    fn read_token(&mut self, value: &[u8]) {
        let scheme = value.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
        if scheme.is_some() {
            self.token.extend_from_slice(value.get(7..).unwrap_or_default().trim_ascii());
        }
    }

    fn read_target(&mut self, target: &str, host: Option<&str>) -> Result<(), Refusal> {
        let absolute = ["http://", "https://"].iter().find_map(|scheme| {
            let head = target.get(..scheme.len())?;
            if head.eq_ignore_ascii_case(scheme) { target.get(scheme.len()..) } else { None }
        });
        let Some(rest) = absolute else { return self.target.read(target) };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or_default();
        if !host.is_some_and(|host| host.eq_ignore_ascii_case(authority)) {
            return Err(Refusal::bad("the target's authority is not the host field's"));
        }
        if path.is_empty() { self.target.read("/") } else { self.target.read(path) }
    }
}

pub(crate) fn head_refusal(bad: BadHead) -> Refusal {
    match bad {
        BadHead::TooLong => Refusal::new(431, "the request's head is too long"),
        BadHead::Line(message) => Refusal::bad(message),
    }
}

fn refusal(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::new(431, "the request has too many fields"),
        httparse::Error::Version => Refusal::new(505, "only HTTP/1.1 and HTTP/1.0 are served"),
        httparse::Error::HeaderName => Refusal::bad("a field's name is malformed"),
        httparse::Error::HeaderValue => Refusal::bad("a field's value is malformed"),
        httparse::Error::NewLine | httparse::Error::Status | httparse::Error::Token => {
            Refusal::bad("the request line is malformed")
        }
    }
}

fn text(value: &[u8]) -> Result<String, Refusal> {
    let text = std::str::from_utf8(value).map_err(|_| Refusal::bad("a weir- field is not UTF-8"))?;
    Ok(text.to_owned())
}

/// A host name or address with an optional port; no user information.
fn is_authority(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
}

/// What a request field is to the machine.
#[derive(Clone, Copy)]
enum Kind {
    Authorization,
    ContentLength,
    Expect,
    Host,
    Other,
    Purpose,
    Role,
    TransferEncoding,
    Upgrade,
    /// Not sent on: another way to authenticate, a forwarder's claim, or a request to mean something else.
    Withheld,
}

impl Kind {
    fn of(name: &str) -> Self {
        const NAMES: [(&str, Kind); 8] = [
            ("authorization", Kind::Authorization),
            ("content-length", Kind::ContentLength),
            ("expect", Kind::Expect),
            ("host", Kind::Host),
            ("transfer-encoding", Kind::TransferEncoding),
            ("upgrade", Kind::Upgrade),
            ("weir-purpose", Kind::Purpose),
            ("weir-role", Kind::Role),
        ];
        const WITHHELD: [&str; 9] = [
            "cookie",
            "cookie2",
            "forwarded",
            "via",
            "x-http-method",
            "x-http-method-override",
            "x-method-override",
            "x-original-url",
            "x-rewrite-url",
        ];
        let starts =
            |prefix: &str| name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
        if let Some((_, kind)) = NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)) {
            return *kind;
        }
        // Gateways that turn names into variables read `_` as `-`, so such a name could pass for any other.
        let withheld = WITHHELD.iter().any(|known| name.eq_ignore_ascii_case(known))
            || name.contains('_')
            || ["x-forwarded-", "x-real-ip", "x-original-", "weir-"].into_iter().any(starts);
        if withheld { Self::Withheld } else { Self::Other }
    }
}
