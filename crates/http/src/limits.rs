//! Every maximum of the machine, and the settings of the connection it serves.

/// Maxima. Beyond each the client gets the status named, or the upstream is at fault (502).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's or response's head, its empty line included (431, 502).
    pub head_bytes: usize,
    /// Fields of a head, at most 128 whatever is set here (431, 502).
    pub fields: usize,
    /// Bytes of a request target (414).
    pub target_bytes: usize,
    /// Bytes of a request body that is held whole, for rules to see (413).
    pub body_bytes: usize,
    /// A masked answer announced as no longer than this is sent with its length, else in chunks.
    pub small_answer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 32 << 10,
            fields: 100,
            target_bytes: 8 << 10,
            body_bytes: 1 << 20,
            small_answer_bytes: 64 << 10,
        }
    }
}

/// What becomes of request bodies longer than `body_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestBodies {
    /// Refused, and encoded ones too: rules see every byte of every body.
    #[default]
    Whole,
    /// Passed on as they come, seen by no rule and recorded all the same. Such a request cannot be held.
    Stream,
}

/// The connection a listener stands for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The upstream's `host` or `host:port`, for its `Host` field and for rules.
    pub authority: String,
    pub limits: Limits,
    pub request_bodies: RequestBodies,
    /// Look for the injected credential in readable bodies of unmasked answers too, at the price of looking at them.
    pub conceal_secret: bool,
    /// The client's certificate says who it is: a request may come without a token.
    pub certified: bool,
}

impl Settings {
    /// Default limits, whole request bodies, the credential concealed.
    pub fn new(authority: impl Into<String>) -> Self {
        Self {
            authority: authority.into(),
            limits: Limits::default(),
            request_bodies: RequestBodies::default(),
            conceal_secret: true,
            certified: false,
        }
    }
}
