//! A shell's words and commands: quotes taken off, substitutions followed, redirections left out.

use super::{Reading, programs};

/// A word after quotes were taken off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: Vec<u8>,
    /// Something in it is computed: `text` is not what the shell will have.
    pub(super) computed: bool,
    quoted: bool,
}

/// A word that is longer behind a brace is taken for a list.
const MOST_BRACES_BYTES: usize = 256;

struct Line<'a> {
    text: &'a [u8],
    at: usize,
    depth: u8,
    facts: &'a mut Reading,
    word: Option<Word>,
    command: Vec<Word>,
    /// The next word is a file's name.
    redirects: bool,
}

pub(super) fn read(text: &[u8], depth: u8, facts: &mut Reading) {
    if text.contains(&0) {
        facts.hide("it holds a NUL");
    }
    let mut line = Line { text, at: 0, depth, facts, word: None, command: Vec::new(), redirects: false };
    while let Some(byte) = line.peek(0) {
        line.at += 1;
        line.take(byte);
    }
    line.end_command();
}

impl Line<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    fn word(&mut self) -> &mut Word {
        self.word.get_or_insert_default()
    }

    fn push(&mut self, byte: u8) {
        self.word().text.push(byte);
    }

    fn take(&mut self, byte: u8) {
        match byte {
            b' ' | b'\t' => self.end_word(),
            b'&' if self.peek(0) == Some(b'>') => self.end_word(),
            b'\n' | b';' | b'&' | b'|' | b'(' | b')' => self.end_command(),
            b'<' | b'>' => self.redirection(byte),
            b'#' if self.word.is_none() => {
                while self.peek(0).is_some_and(|it| it != b'\n') {
                    self.at += 1;
                }
            }
            b'\\' => match self.peek(0) {
                Some(b'\n') => self.at += 1,
                Some(next) => {
                    self.at += 1;
                    self.word().quoted = true;
                    self.push(next);
                }
                None => self.facts.hide("it ends in a backslash"),
            },
            b'\'' => self.single(),
            b'"' => self.double(),
            b'$' => self.dollar(false),
            b'`' => self.backtick(),
            // The program of that name.
            b'[' if self.word.is_none() && self.peek(0).is_none_or(|it| it == b' ') => self.push(byte),
            b'*' | b'?' | b'[' => self.computed(byte),
            b'{' if self.expands_braces() => self.computed(byte),
            b'~' if self.word.is_none() => self.computed(byte),
            // zsh puts the path of a program in its place.
            b'=' if self.word.is_none() => self.computed(byte),
            _ => self.push(byte),
        }
    }

    fn computed(&mut self, byte: u8) {
        self.push(byte);
        self.word().computed = true;
    }

    /// Is there a list or a range before the word's end?
    fn expands_braces(&self) -> bool {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let near = rest.get(..MOST_BRACES_BYTES.min(rest.len())).unwrap_or_default();
        let Some(end) = near
            .iter()
            .position(|it| b" \t\n;&|<>()".contains(it))
            .or((near.len() == rest.len()).then_some(near.len()))
        else {
            return true;
        };
        let rest = near.get(..end).unwrap_or_default();
        rest.contains(&b'}') && (rest.contains(&b',') || rest.windows(2).any(|it| it == b".."))
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        if !std::mem::take(&mut self.redirects) {
            self.command.push(word);
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        self.redirects = false;
        let words = std::mem::take(&mut self.command);
        programs::run(&words, self.depth, self.facts);
    }

    fn redirection(&mut self, byte: u8) {
        // A number before it is a descriptor.
        let descriptor =
            |word: &Word| !word.quoted && !word.computed && word.text.iter().all(u8::is_ascii_digit);
        if self.word.as_ref().is_some_and(descriptor) {
            self.word = None;
        }
        self.end_word();
        if self.peek(0) == Some(b'(') {
            // A process: what is in the parentheses is read as commands of their own.
            return;
        }
        if byte == b'<' && self.peek(0) == Some(b'<') && self.peek(1) != Some(b'<') {
            self.facts.hide("it has a here-document");
        }
        while self.peek(0).is_some_and(|it| b"<>&|-".contains(&it)) {
            self.at += 1;
        }
        self.redirects = true;
    }

    fn single(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let Some(len) = rest.iter().position(|it| *it == b'\'') else {
            self.facts.hide("a quote is not closed");
            self.at = self.text.len();
            return;
        };
        let word = self.word.get_or_insert_default();
        word.quoted = true;
        word.text.extend_from_slice(rest.get(..len).unwrap_or_default());
        self.at += len + 1;
    }

    fn double(&mut self) {
        self.word().quoted = true;
        loop {
            let Some(byte) = self.peek(0) else {
                self.facts.hide("a quote is not closed");
                return;
            };
            self.at += 1;
            match byte {
                b'"' => return,
                b'\\' => match self.peek(0) {
                    Some(b'\n') => self.at += 1,
                    Some(next) if b"$`\"\\".contains(&next) => {
                        self.at += 1;
                        self.push(next);
                    }
                    _ => self.push(b'\\'),
                },
                b'$' => self.dollar(true),
                b'`' => self.backtick(),
                _ => self.push(byte),
            }
        }
    }

    fn dollar(&mut self, in_quotes: bool) {
        match self.peek(0) {
            Some(b'(') => {
                self.at += 1;
                let arithmetic = self.peek(0) == Some(b'(');
                let inner = self.until_closed(b'(', b')');
                // Subscripts in arithmetic are evaluated, quoted or not.
                if arithmetic && inner.iter().any(|it| b"$`[".contains(it)) {
                    self.facts.hide("arithmetic may run a program");
                }
                self.facts.read(&inner, self.depth + 1);
            }
            Some(b'{') => {
                self.at += 1;
                let inner = self.until_closed(b'{', b'}');
                if inner.iter().any(|it| b"`@[".contains(it)) || inner.windows(2).any(|it| it == b"$(") {
                    self.facts.hide("an expansion may run a program");
                }
            }
            // Dialects differ on where these end.
            Some(b'\'') if !in_quotes => self.facts.hide("it has text in $'...'"),
            Some(b'[') => self.facts.hide("it has arithmetic in $[...]"),
            Some(next) if next == b'_' || next.is_ascii_alphanumeric() || b"@*#?-$!".contains(&next) => {}
            Some(b'"') if !in_quotes => {}
            // A dollar alone.
            _ => return self.push(b'$'),
        }
        self.word().computed = true;
        self.push(b'$');
    }

    /// What is in the parentheses or braces, which begin before `at`. Quotes in it hide their own.
    fn until_closed(&mut self, open: u8, close: u8) -> Vec<u8> {
        let start = self.at;
        let mut deep = 1usize;
        while let Some(byte) = self.peek(0) {
            self.at += 1;
            match byte {
                b'\\' => self.at += 1,
                b'\'' | b'"' => {
                    while self.peek(0).is_some_and(|it| it != byte) {
                        self.at += 1 + usize::from(byte == b'"' && self.peek(0) == Some(b'\\'));
                    }
                    self.at += 1;
                }
                // Comments and patterns may hold what does not close anything.
                b'#' | b';' if self.text.get(start..self.at).is_some_and(has_case) => {
                    self.facts.hide("a substitution that may end elsewhere");
                }
                _ if byte == open => deep += 1,
                _ if byte == close => {
                    deep -= 1;
                    if deep == 0 {
                        return self.text.get(start..self.at - 1).unwrap_or_default().to_vec();
                    }
                }
                _ => {}
            }
        }
        self.facts.hide("a substitution is not closed");
        Vec::new()
    }

    fn backtick(&mut self) {
        let mut inner = Vec::new();
        loop {
            let Some(byte) = self.peek(0) else {
                self.facts.hide("a substitution is not closed");
                return;
            };
            self.at += 1;
            match (byte, self.peek(0)) {
                (b'`', _) => break,
                (b'\\', Some(next)) if b"$`\\\"".contains(&next) => {
                    self.at += 1;
                    inner.push(next);
                }
                _ => inner.push(byte),
            }
        }
        self.facts.read(&inner, self.depth + 1);
        self.word().computed = true;
    }
}

fn has_case(text: &[u8]) -> bool {
    text.windows(5).any(|it| it == b"case ") || text.ends_with(b" #") || text.ends_with(b"\n#")
}
