//! Splits SQL text into tokens, just far enough to read one COPY statement. It understands nothing of SQL beyond what
//! ends a token; whoever uses it must refuse what it did not expect.
//!
//! Strings are read as `standard_conforming_strings = on` has them, which a session with rules is held to.

/// A piece of text between white space and comments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// An unquoted name, keyword or number.
    Word(&'a [u8]),
    /// A quoted identifier, quotes included.
    Quoted(&'a [u8]),
    /// A string literal of any kind, with its prefix and quotes.
    Text(&'a [u8]),
    /// Any other single byte.
    Symbol(u8),
}

/// Tokens with where they stand; ends at the end of the text, or at `None` for a token that has no end.
pub(crate) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    /// Where the last token began.
    start: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) const fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, start: 0 }
    }

    /// Where the last token began and ended.
    pub(crate) const fn span(&self) -> (usize, usize) {
        (self.start, self.at)
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    /// Skips white space and comments, which nest. False for a comment without an end.
    fn skip(&mut self) -> bool {
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b' ' | b'\t' | b'\n' | b'\r' | b'\x0b' | b'\x0c'), _) => self.at += 1,
                (Some(b'-'), Some(b'-')) => {
                    while self.peek(0).is_some_and(|byte| byte != b'\n' && byte != b'\r') {
                        self.at += 1;
                    }
                }
                (Some(b'/'), Some(b'*')) => {
                    let mut depth = 0_u32;
                    loop {
                        match (self.peek(0), self.peek(1)) {
                            (None, _) => return false,
                            (Some(b'/'), Some(b'*')) => {
                                depth += 1;
                                self.at += 2;
                            }
                            (Some(b'*'), Some(b'/')) => {
                                depth -= 1;
                                self.at += 2;
                                if depth == 0 {
                                    break;
                                }
                            }
                            _ => self.at += 1,
                        }
                    }
                }
                _ => return true,
            }
        }
    }

    /// The next token: `Ok(None)` at the end, `Err` for one without an end.
    pub(crate) fn next(&mut self) -> Result<Option<Token<'a>>, ()> {
        if !self.skip() {
            return Err(());
        }
        self.start = self.at;
        let Some(first) = self.peek(0) else { return Ok(None) };
        let token = match first {
            b'\'' => self.string(false).map(Token::Text),
            b'"' => self.quoted(b'"', false).then(|| Token::Quoted(self.taken())),
            b'e' | b'E' if self.peek(1) == Some(b'\'') => {
                self.at += 1;
                self.string(true).map(Token::Text)
            }
            b'b' | b'B' | b'x' | b'X' | b'n' | b'N' if self.peek(1) == Some(b'\'') => {
                self.at += 1;
                self.string(false).map(Token::Text)
            }
            // U&'...' and U&"...": what UESCAPE says about them is not read here.
            b'u' | b'U' if self.peek(1) == Some(b'&') && matches!(self.peek(2), Some(b'\'' | b'"')) => None,
            b'$' => self.dollar(),
            byte if is_word(byte) => {
                while self.peek(0).is_some_and(|byte| is_word(byte) || byte == b'$') {
                    self.at += 1;
                }
                Some(Token::Word(self.taken()))
            }
            byte => {
                self.at += 1;
                Some(Token::Symbol(byte))
            }
        };
        token.map(Some).ok_or(())
    }

    fn taken(&self) -> &'a [u8] {
        self.text.get(self.start..self.at).unwrap_or_default()
    }

    /// A literal from its opening quote on. Literals that continue after a line break are not read.
    fn string(&mut self, escapes: bool) -> Option<&'a [u8]> {
        if !self.quoted(b'\'', escapes) {
            return None;
        }
        let end = self.at;
        let followed = !self.skip() || self.peek(0) == Some(b'\'');
        self.at = end;
        if followed { None } else { Some(self.taken()) }
    }

    /// From an opening quote past its closing one; a doubled quote is one inside.
    fn quoted(&mut self, quote: u8, escapes: bool) -> bool {
        self.at += 1;
        while let Some(byte) = self.peek(0) {
            self.at += 1;
            if byte == quote {
                if self.peek(0) != Some(quote) {
                    return true;
                }
                self.at += 1;
            } else if escapes && byte == b'\\' {
                self.at += 1;
            }
        }
        false
    }

    /// `$tag$ ... $tag$`, or a lone `$` (a parameter).
    fn dollar(&mut self) -> Option<Token<'a>> {
        let rest = self.text.get(self.at..)?;
        let tag = rest.iter().skip(1).position(|byte| !is_word(*byte)).map(|len| len + 1);
        let is_tag = tag
            .is_some_and(|len| rest.get(len) == Some(&b'$') && !rest.get(1).is_some_and(u8::is_ascii_digit));
        let Some(delimiter) = tag.filter(|_| is_tag).and_then(|len| rest.get(..=len)) else {
            self.at += 1;
            return Some(Token::Symbol(b'$'));
        };
        let body = rest.get(delimiter.len()..)?;
        let end = body.windows(delimiter.len()).position(|window| window == delimiter)?;
        self.at += end + 2 * delimiter.len();
        Some(Token::Text(self.taken()))
    }
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Option<Vec<String>> {
        let mut lexer = Lexer::new(text.as_bytes());
        let mut out = Vec::new();
        loop {
            match lexer.next() {
                Ok(Some(_)) => out.push(String::from_utf8(lexer.taken().to_vec()).unwrap()),
                Ok(None) => return Some(out),
                Err(()) => return None,
            }
        }
    }

    #[test]
    fn tokens_end_where_the_servers_do() {
        for (text, expected) in [
            ("a/*x/*y*/*/b--c\nd", Some(vec!["a", "b", "d"])),
            (
                r#""a""b" 'c''d' E'e\'f' $$g'$$ $t$h$$i$t$ x$1"#,
                Some(vec![r#""a""b""#, "'c''d'", r"E'e\'f'", "$$g'$$", "$t$h$$i$t$", "x$1"]),
            ),
            (r"'\' x", Some(vec![r"'\'", "x"])),
            ("$1", Some(vec!["$", "1"])),
            ("'open", None),
            ("/* /* */", None),
            ("$a$ $b$", None),
            ("U&'d' UESCAPE '!'", None),
            ("'a'\n'b'", None),
        ] {
            let expected = expected.map(|tokens| tokens.into_iter().map(String::from).collect::<Vec<_>>());
            assert_eq!(tokens(text), expected, "{text}");
        }
    }
}
