//! Messages as a test writes them.

/// Fields of a message, one after the other.
#[derive(Clone, Default)]
pub(crate) struct Text(pub Vec<u8>);

pub(crate) fn text(number: u8) -> Text {
    Text(vec![number])
}

impl Text {
    pub(crate) fn word(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(crate) fn string(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        let mut out = self.word(u32::try_from(bytes.len()).unwrap());
        out.0.extend_from_slice(bytes);
        out
    }

    pub(crate) fn flag(mut self, flag: bool) -> Self {
        self.0.push(u8::from(flag));
        self
    }
}

pub(crate) fn open(number: u32, window: u32) -> Vec<u8> {
    text(90).string("session").word(number).word(window).word(32768).0
}

pub(crate) fn confirm(to: u32, number: u32, window: u32) -> Vec<u8> {
    text(91).word(to).word(number).word(window).word(32768).0
}

pub(crate) fn exec(channel: u32, command: &str) -> Vec<u8> {
    text(98).word(channel).string("exec").flag(true).string(command).0
}

pub(crate) fn request(channel: u32, name: &str, reply: bool) -> Vec<u8> {
    text(98).word(channel).string(name).flag(reply).0
}

pub(crate) fn data(channel: u32, bytes: &[u8]) -> Vec<u8> {
    text(94).word(channel).string(bytes).0
}

pub(crate) fn adjust(channel: u32, credit: u32) -> Vec<u8> {
    text(93).word(channel).word(credit).0
}

pub(crate) fn plain(number: u8, channel: u32) -> Vec<u8> {
    text(number).word(channel).0
}
