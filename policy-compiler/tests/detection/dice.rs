//! The same throws on every run.

pub(crate) struct Dice(u64);

impl Dice {
    /// `seed` is not zero.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }

    pub(crate) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// As many characters of the alphabet.
    pub(crate) fn text(&mut self, alphabet: &str, count: usize) -> String {
        let alphabet = alphabet.as_bytes();
        (0..count).map(|_| char::from(alphabet[self.below(alphabet.len())])).collect()
    }

    /// Each `#` a digit, each `?` a lower-case letter, each `^` an upper-case one, each `~` any letter or
    /// digit; the rest as it stands.
    pub(crate) fn fill(&mut self, form: &str) -> String {
        form.chars()
            .map(|ch| match ch {
                '#' => self.text("0123456789", 1),
                '?' => self.text("abcdefghijklmnopqrstuvwxyz", 1),
                '^' => self.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 1),
                '~' => self.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", 1),
                other => other.to_string(),
            })
            .collect()
    }
}
