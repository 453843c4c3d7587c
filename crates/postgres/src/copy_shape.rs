//! Reads a `COPY ... TO STDOUT` for its columns and its row format, which its answer does not tell.
//!
//! Only what is understood in full is masked; anything else is refused before it is sent.

use crate::lexer::{Lexer, Token};

/// How a row of text is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TextFormat {
    pub(crate) csv: bool,
    pub(crate) delimiter: u8,
    pub(crate) quote: u8,
    pub(crate) escape: u8,
    pub(crate) null: Vec<u8>,
    pub(crate) header: bool,
}

/// What a COPY to the client will send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CopyShape {
    /// A query with the same output columns, to be described, never run.
    pub(crate) query: Vec<u8>,
    /// `None`: binary.
    pub(crate) text: Option<TextFormat>,
}

impl CopyShape {
    /// Of a `COPY ... TO STDOUT`. `None`: not understood in full, or more than one statement.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        Self::read_toward(b"to", text)
    }

    /// Of a `COPY ... FROM STDIN` that is known to be one statement; what it does with the rows is not looked at.
    pub(crate) fn read_upload(text: &[u8]) -> Option<Self> {
        Self::read_toward(b"from", text)
    }

    fn read_toward(toward: &[u8], text: &[u8]) -> Option<Self> {
        let mut tokens = Tokens { lexer: Lexer::new(text), held: None };
        let mut options = Options { uploads: toward == b"from", ..Options::default() };
        tokens.word(b"copy")?;
        if tokens.take_word(b"binary")? {
            options.binary = true;
        }
        let query = tokens.target(text)?;
        tokens.word(toward)?;
        if !tokens.take_word(b"stdout")? {
            tokens.word(b"stdin")?;
        }
        tokens.take_word(b"with")?;
        if tokens.take_symbol(b'(')? {
            options.read_list(&mut tokens)?;
        } else {
            options.read_legacy(&mut tokens)?;
        }
        if options.uploads && tokens.take_word(b"where")? {
            return Some(Self { query, text: options.format()? });
        }
        while tokens.take_symbol(b';')? {}
        if tokens.next()?.is_some() {
            return None;
        }
        Some(Self { query, text: options.format()? })
    }
}

/// Tokens with one of them held back. An outer `None` is a token that was not expected.
struct Tokens<'a> {
    lexer: Lexer<'a>,
    held: Option<Token<'a>>,
}

impl<'a> Tokens<'a> {
    #[expect(clippy::option_option, reason = "the end of the text is not a failure")]
    fn next(&mut self) -> Option<Option<Token<'a>>> {
        match self.held.take() {
            Some(token) => Some(Some(token)),
            None => self.lexer.next().ok(),
        }
    }

    fn take(&mut self, wanted: impl Fn(&Token<'a>) -> bool) -> Option<bool> {
        let token = self.next()?;
        let found = token.as_ref().is_some_and(wanted);
        if !found {
            self.held = token;
        }
        Some(found)
    }

    fn take_word(&mut self, word: &[u8]) -> Option<bool> {
        self.take(|token| matches!(token, Token::Word(found) if found.eq_ignore_ascii_case(word)))
    }

    fn take_symbol(&mut self, symbol: u8) -> Option<bool> {
        self.take(|token| *token == Token::Symbol(symbol))
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.take_word(word)?.then_some(())
    }

    /// The option's own words, lower case, as far as any option has them.
    fn any_word(&mut self) -> Option<Vec<u8>> {
        match self.next()?? {
            Token::Word(word) => Some(word.to_ascii_lowercase()),
            Token::Quoted(_) | Token::Text(_) | Token::Symbol(_) => None,
        }
    }

    /// A query over the same columns: of `(query)`, itself; of a table, a SELECT of all or the listed columns.
    fn target(&mut self, text: &'a [u8]) -> Option<Vec<u8>> {
        match self.next()?? {
            Token::Symbol(b'(') => {
                let inner = self.balanced()?;
                Some(text.get(inner.0..inner.1)?.to_vec())
            }
            Token::Word(_) | Token::Quoted(_) => self.table(text),
            Token::Text(_) | Token::Symbol(_) => None,
        }
    }

    fn table(&mut self, text: &'a [u8]) -> Option<Vec<u8>> {
        let (start, mut end) = self.lexer.span();
        while self.take_symbol(b'.')? {
            match self.next()?? {
                Token::Word(_) | Token::Quoted(_) => end = self.lexer.span().1,
                Token::Text(_) | Token::Symbol(_) => return None,
            }
        }
        let columns = if self.take_symbol(b'(')? {
            let (start, end) = self.balanced()?;
            text.get(start..end)?
        } else {
            b"*"
        };
        Some([b"select ", columns, b" from ", text.get(start..end)?].concat())
    }

    /// From behind an opening parenthesis past its closing one: where what is between them stands.
    fn balanced(&mut self) -> Option<(usize, usize)> {
        let start = self.lexer.span().1;
        let mut depth = 1_u32;
        loop {
            match self.next()?? {
                Token::Symbol(b'(') => depth += 1,
                Token::Symbol(b')') => {
                    depth -= 1;
                    if depth == 0 {
                        return Some((start, self.lexer.span().0));
                    }
                }
                // A second statement cannot stand inside parentheses.
                Token::Symbol(b';') => return None,
                Token::Word(_) | Token::Quoted(_) | Token::Text(_) | Token::Symbol(_) => {}
            }
        }
    }

    /// A literal's value; of the escapes only those that name a delimiter.
    fn literal(&mut self) -> Option<Vec<u8>> {
        let Token::Text(literal) = self.next()?? else { return None };
        let (body, escapes) = match literal {
            [b'\'', body @ .., b'\''] => (body, false),
            [b'e' | b'E', b'\'', body @ .., b'\''] => (body, true),
            _ => return None,
        };
        let mut out = Vec::new();
        let mut bytes = body.iter().copied();
        while let Some(byte) = bytes.next() {
            out.push(match byte {
                b'\'' => bytes.next()?,
                b'\\' if escapes => match bytes.next()? {
                    b't' => b'\t',
                    b'b' => b'\x08',
                    b'f' => b'\x0c',
                    b'v' => b'\x0b',
                    literal @ (b'\\' | b'\'') => literal,
                    _ => return None,
                },
                byte => byte,
            });
        }
        Some(out)
    }

    fn character(&mut self) -> Option<u8> {
        match self.literal()?.as_slice() {
            [byte] => Some(*byte),
            _ => None,
        }
    }
}

/// COPY's options as far as they were given.
#[derive(Default)]
struct Options {
    uploads: bool,
    binary: bool,
    csv: bool,
    header: bool,
    delimiter: Option<u8>,
    quote: Option<u8>,
    escape: Option<u8>,
    null: Option<Vec<u8>>,
}

impl Options {
    /// `( option [ value ] , ... )`
    fn read_list(&mut self, tokens: &mut Tokens<'_>) -> Option<()> {
        loop {
            match tokens.any_word()?.as_slice() {
                b"format" => self.set_format(tokens)?,
                b"delimiter" => self.delimiter = Some(tokens.character()?),
                b"null" => self.null = Some(tokens.literal()?),
                b"quote" => self.quote = Some(tokens.character()?),
                b"escape" => self.escape = Some(tokens.character()?),
                b"header" if self.uploads && tokens.take_word(b"match")? => self.header = true,
                b"header" => self.header = Self::boolean(tokens)?,
                b"force_quote" => Self::skip_columns(tokens)?,
                b"force_not_null" | b"force_null" if self.uploads => Self::skip_columns(tokens)?,
                b"freeze" if self.uploads => {
                    Self::boolean(tokens)?;
                }
                _ => return None,
            }
            if tokens.take_symbol(b')')? {
                return Some(());
            }
            if !tokens.take_symbol(b',')? {
                return None;
            }
        }
    }

    /// The order-free list of releases before 9.0.
    fn read_legacy(&mut self, tokens: &mut Tokens<'_>) -> Option<()> {
        loop {
            if tokens.take_word(b"binary")? {
                self.binary = true;
            } else if tokens.take_word(b"csv")? {
                self.csv = true;
            } else if tokens.take_word(b"header")? {
                self.header = true;
            } else if tokens.take_word(b"delimiter")? {
                tokens.take_word(b"as")?;
                self.delimiter = Some(tokens.character()?);
            } else if tokens.take_word(b"null")? {
                tokens.take_word(b"as")?;
                self.null = Some(tokens.literal()?);
            } else if tokens.take_word(b"quote")? {
                tokens.take_word(b"as")?;
                self.quote = Some(tokens.character()?);
            } else if tokens.take_word(b"escape")? {
                tokens.take_word(b"as")?;
                self.escape = Some(tokens.character()?);
            } else {
                return Some(());
            }
        }
    }

    fn set_format(&mut self, tokens: &mut Tokens<'_>) -> Option<()> {
        let word = match tokens.next()?? {
            Token::Word(word) => word.to_ascii_lowercase(),
            Token::Text([b'\'', word @ .., b'\'']) => word.to_ascii_lowercase(),
            Token::Text(_) | Token::Quoted(_) | Token::Symbol(_) => return None,
        };
        match word.as_slice() {
            b"text" => {}
            b"csv" => self.csv = true,
            b"binary" => self.binary = true,
            _ => return None,
        }
        Some(())
    }

    fn boolean(tokens: &mut Tokens<'_>) -> Option<bool> {
        for (word, value) in [
            (&b"true"[..], true),
            (b"on", true),
            (b"1", true),
            (b"false", false),
            (b"off", false),
            (b"0", false),
        ] {
            if tokens.take_word(word)? {
                return Some(value);
            }
        }
        // Alone it means true; any other value ends in a token that no option begins with.
        Some(true)
    }

    fn skip_columns(tokens: &mut Tokens<'_>) -> Option<()> {
        if tokens.take_symbol(b'*')? {
            return Some(());
        }
        if !tokens.take_symbol(b'(')? {
            return None;
        }
        tokens.balanced().map(|_| ())
    }

    #[expect(clippy::option_option, reason = "binary is a format, refusal is none")]
    fn format(self) -> Option<Option<TextFormat>> {
        if self.binary {
            return (!self.csv).then_some(None);
        }
        let quote = self.quote.unwrap_or(b'"');
        let format = TextFormat {
            csv: self.csv,
            delimiter: self.delimiter.unwrap_or(if self.csv { b',' } else { b'\t' }),
            quote,
            escape: self.escape.unwrap_or(quote),
            null: self.null.unwrap_or(if self.csv { Vec::new() } else { b"\\N".to_vec() }),
            header: self.header,
        };
        // The server refuses these too; here they would make a row mean two things.
        let bad = |byte: u8| byte == b'\n' || byte == b'\r' || byte >= 0x80;
        let clash = bad(format.delimiter)
            || format.null.iter().any(|byte| bad(*byte) || *byte == format.delimiter)
            || (format.csv && (format.delimiter == quote || bad(quote) || bad(format.escape)))
            || (!format.csv
                && (format.delimiter == b'\\'
                    || format.delimiter.is_ascii_alphanumeric()
                    || format.delimiter == b'.'));
        (!clash).then_some(Some(format))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, Option<TextFormat>)> {
        CopyShape::read(text.as_bytes()).map(|shape| (String::from_utf8(shape.query).unwrap(), shape.text))
    }

    fn text() -> TextFormat {
        TextFormat {
            csv: false,
            delimiter: b'\t',
            quote: b'"',
            escape: b'"',
            null: b"\\N".to_vec(),
            header: false,
        }
    }

    fn csv() -> TextFormat {
        TextFormat { csv: true, delimiter: b',', null: Vec::new(), ..text() }
    }

    #[test]
    fn columns_and_format_are_read_from_every_spelling() {
        for (copy, query, format) in [
            ("COPY patients TO STDOUT", "select * from patients", Some(text())),
            (
                "copy public . \"Pat ients\" (id, \"s)n\") to stdout;",
                "select id, \"s)n\" from public . \"Pat ients\"",
                Some(text()),
            ),
            ("COPY (SELECT ')' AS a, (1) FROM t) TO STDOUT", "SELECT ')' AS a, (1) FROM t", Some(text())),
            (
                "copy t to stdout csv header delimiter as ';' null 'x'",
                "select * from t",
                Some(TextFormat { delimiter: b';', header: true, null: b"x".to_vec(), ..csv() }),
            ),
            (
                "copy t to stdout with (format csv, header, quote '''', force_quote (a, b))",
                "select * from t",
                Some(TextFormat { header: true, quote: b'\'', escape: b'\'', ..csv() }),
            ),
            (
                "copy t to stdout (header off, format 'text', delimiter E'\\t')",
                "select * from t",
                Some(text()),
            ),
            ("copy binary t to stdout", "select * from t", None),
            ("/* c */ copy t -- x\n to stdin with (format binary)", "select * from t", None),
        ] {
            assert_eq!(read(copy), Some((query.to_owned(), format)), "{copy}");
        }
    }

    #[test]
    fn what_is_not_understood_in_full_is_no_shape() {
        for copy in [
            "copy t to stdout; copy u to stdout",
            "copy t to '/tmp/x'",
            "copy t to program 'cat'",
            "copy t from stdin",
            "copy t to stdout (format xml)",
            "copy t to stdout (encoding 'latin1')",
            "copy t to stdout (header match)",
            "copy t to stdout csv encoding 'sjis'",
            "copy (select 1; select 2) to stdout",
            "copy (select U&'\\0041') to stdout",
            "copy t to stdout delimiter 'ab'",
            "copy t to stdout delimiter '\\'",
            "copy t to stdout where x",
            "copy t (a to stdout",
            "select 1",
            "",
        ] {
            assert_eq!(read(copy), None, "{copy}");
        }
    }
}
