//! Questions of the gateway's own, asked in the client's session by named statement and portal, so that the client's unnamed
//! ones stay what they are. It does not know what is asked, nor what becomes of the answer.

use bytes::{BufMut as _, BytesMut};

use crate::codec::{message, put_cstr, put_empty};
use crate::expected::{Expected, Own};
use crate::session::Session;

impl Session {
    /// Sends `text` in a sync group of its own; every column of the answer comes as text. Nothing else may be unanswered.
    pub(crate) fn put_question(&mut self, name: &[u8], text: &str, upstream: &mut BytesMut) {
        // Closed first: an error may have kept an earlier one from being closed.
        close(b'P', name, upstream);
        close(b'S', name, upstream);
        message(upstream, b'P', |out| {
            put_cstr(out, name);
            put_cstr(out, text.as_bytes());
            out.put_i16(0);
        });
        message(upstream, b'B', |out| {
            put_cstr(out, name);
            put_cstr(out, name);
            // No parameters, and every column as text.
            out.put_bytes(0, 6);
        });
        message(upstream, b'E', |out| {
            put_cstr(out, name);
            out.put_i32(0);
        });
        close(b'P', name, upstream);
        close(b'S', name, upstream);
        put_empty(upstream, b'S');
        for own in
            [Own::Close, Own::Close, Own::Parse, Own::Bind, Own::Execute, Own::Close, Own::Close, Own::Sync]
        {
            self.expect(Expected::Own(own));
        }
        self.end_group();
    }
}

/// Closes our own portal (`P`) or statement (`S`).
pub(crate) fn close(kind: u8, name: &[u8], upstream: &mut BytesMut) {
    message(upstream, b'C', |out| {
        out.put_u8(kind);
        put_cstr(out, name);
    });
}
