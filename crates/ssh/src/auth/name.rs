//! What a caller writes before the `@`: `role+connection`, or a connection alone.

const MOST_BYTES: usize = 256;

/// Role and connection as the caller asked for them. Requests, not evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserName {
    whole: String,
    /// Bytes of the role, where there is one.
    role: Option<usize>,
}

impl UserName {
    /// `None`: too long, not printable, or one half empty.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let whole = std::str::from_utf8(bytes).ok().filter(|it| it.len() <= MOST_BYTES)?;
        if whole.is_empty() || whole.chars().any(|it| it.is_control() || it.is_whitespace()) {
            return None;
        }
        let role = whole.find('+');
        if role == Some(0) || whole.ends_with('+') {
            return None;
        }
        Some(Self { whole: whole.to_owned(), role })
    }

    #[must_use]
    pub fn whole(&self) -> &str {
        &self.whole
    }

    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.whole.get(..self.role?)
    }

    #[must_use]
    pub fn connection(&self) -> &str {
        self.whole.get(self.role.map_or(0, |role| role + 1)..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_role_and_a_connection() {
        let name = UserName::read(b"job+web-1").unwrap();
        assert_eq!((name.role(), name.connection()), (Some("job"), "web-1"));
        let name = UserName::read(b"web-1").unwrap();
        assert_eq!((name.role(), name.connection()), (None, "web-1"));
        let long = [b'a'; 257];
        for wrong in [&b""[..], b"+web", b"job+", b"a b", b"a\nb", b"\xff", &long] {
            assert_eq!(UserName::read(wrong), None, "{wrong:?}");
        }
    }
}
