//! Request targets: what rules see and what is sent come from one strict reading.
//!
//! Anything that servers are known to read in two ways is refused rather than repaired.

use crate::answer::Refusal;

/// A target in its two forms.
#[derive(Debug, Default)]
pub(crate) struct Target {
    /// Decoded path, for rules.
    pub(crate) path: String,
    /// Path and query to send. Triplets for unreserved characters are decoded; the rest keep theirs, since `%2B`
    /// is not `+` to every server.
    pub(crate) sent: String,
    /// Where in `sent` the query begins, after the `?`.
    query: Option<usize>,
    decoded: Vec<u8>,
}

impl Target {
    pub(crate) fn query(&self) -> Option<&str> {
        self.query.and_then(|at| self.sent.get(at..))
    }

    /// Reads an origin-form target.
    pub(crate) fn read(&mut self, target: &str) -> Result<(), Refusal> {
        self.path.clear();
        self.sent.clear();
        self.decoded.clear();
        self.query = None;
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        if !path.starts_with('/') {
            return Err(Refusal::bad("the target must be a path that starts with /"));
        }
        let mut rest = path.as_bytes();
        while let Some(byte) = take(&mut rest)? {
            self.push(byte)?;
        }
        let decoded =
            std::str::from_utf8(&self.decoded).map_err(|_| Refusal::bad("the path is not UTF-8"))?;
        check_segments(decoded)?;
        self.path.push_str(decoded);
        if let Some(query) = query {
            if !query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
                return Err(Refusal::bad("the query has a character that must be percent-encoded"));
            }
            self.sent.push('?');
            self.query = Some(self.sent.len());
            self.sent.push_str(query);
        }
        Ok(())
    }

    fn push(&mut self, byte: PathByte) -> Result<(), Refusal> {
        let (PathByte::Plain(value) | PathByte::Encoded(value)) = byte;
        self.decoded.push(value);
        let plain = match byte {
            PathByte::Plain(b';' | b'\\' | b'#') => {
                return Err(Refusal::bad("the path has ; or \\ or #, which servers read in different ways"));
            }
            PathByte::Encoded(b'/' | b'\\') => {
                return Err(Refusal::bad("the path has an encoded slash or backslash"));
            }
            PathByte::Encoded(0..=0x1f | 0x7f) => {
                return Err(Refusal::bad("the path has an encoded control character"));
            }
            PathByte::Plain(value) if !value.is_ascii_graphic() => {
                return Err(Refusal::bad("the path has a character that must be percent-encoded"));
            }
            PathByte::Plain(value) => is_unreserved(value) || b"/!$&'()*+,=:@".contains(&value),
            PathByte::Encoded(value) => is_unreserved(value),
        };
        if plain {
            self.sent.push(char::from(value));
        } else {
            let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0').to_ascii_uppercase();
            self.sent.extend(['%', digit(value >> 4), digit(value & 15)]);
        }
        Ok(())
    }
}

/// Path and query as rules see them, for whoever asks about a target without a connection: rule samples, `explain`.
///
/// # Errors
/// The machine would refuse it, for the reason given.
pub fn read_target(target: &str) -> Result<(String, Option<String>), &'static str> {
    let mut read = Target::default();
    read.read(target).map_err(|refusal| refusal.message)?;
    let query = read.query().map(str::to_owned);
    Ok((read.path, query))
}

#[derive(Clone, Copy)]
enum PathByte {
    Plain(u8),
    Encoded(u8),
}

fn take(rest: &mut &[u8]) -> Result<Option<PathByte>, Refusal> {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match *rest {
        [] => Ok(None),
        [b'%', high, low, tail @ ..] => {
            let (Some(high), Some(low)) = (hex(*high), hex(*low)) else { return Err(BROKEN_TRIPLET) };
            *rest = tail;
            Ok(Some(PathByte::Encoded(high << 4 | low)))
        }
        [b'%', ..] => Err(BROKEN_TRIPLET),
        [byte, tail @ ..] => {
            *rest = tail;
            Ok(Some(PathByte::Plain(*byte)))
        }
    }
}

const BROKEN_TRIPLET: Refusal = Refusal::bad("the path has a % without two hexadecimal digits");

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn check_segments(path: &str) -> Result<(), Refusal> {
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if segment == "." || segment == ".." {
            return Err(Refusal::bad("the path has a dot segment; send the path it leads to"));
        }
        if segment.is_empty() && segments.peek().is_some() {
            return Err(Refusal::bad("the path has an empty segment (//)"));
        }
    }
    let twice = |window: &[u8]| matches!(window, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
    if path.as_bytes().windows(3).any(twice) {
        return Err(Refusal::bad("the path is percent-encoded twice"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn rules_see_the_decoded_path_and_the_upstream_gets_its_normal_form() {
        for (target, path, sent, query) in [
            ("/", "/", "/", None),
            ("/v1/patients/7/", "/v1/patients/7/", "/v1/patients/7/", None),
            ("/%76%31/a%2db", "/v1/a-b", "/v1/a-b", None),
            ("/a%20b%2bc+d", "/a b+c+d", "/a%20b%2Bc+d", None),
            ("/a\"b|c", "/a\"b|c", "/a%22b%7Cc", None),
            ("/%c3%a9", "/é", "/%C3%A9", None),
            ("/x?a=1&b=%2F;c", "/x", "/x?a=1&b=%2F;c", Some("a=1&b=%2F;c")),
            ("/x?", "/x", "/x?", Some("")),
            ("/100%25", "/100%", "/100%25", None),
        ] {
            let mut read = Target::default();
            read.read(target).unwrap();
            assert_eq!(
                (read.path.as_str(), read.sent.as_str(), read.query()),
                (path, sent, query),
                "{target}"
            );
        }
    }

    #[test]
    fn what_servers_read_in_different_ways_is_refused() {
        for target in [
            "",
            "*",
            "v1",
            "/a//b",
            "//a",
            "/a/../b",
            "/..",
            "/.",
            "/a/.",
            "/%2e%2e/b",
            "/a/%2E",
            "/a%2fb",
            "/a%5Cb",
            "/a\\b",
            "/a;b=1",
            "/a#b",
            "/a?b#c",
            "/%",
            "/%4",
            "/%zz",
            "/%00",
            "/%0d%0a",
            "/%7f",
            "/a b",
            "/é",
            "/x?y z",
            "/%ff",
            "/%c0%ae",
            "/%252e%252e/b",
            "/a\u{7f}",
        ] {
            assert!(Target::default().read(target).is_err(), "{target}");
        }
    }
}
