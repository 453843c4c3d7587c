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
    /// Bytes of a request body that is kept whole, where rules or approvers must see it (413). Others pass as they come.
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

/// The connection a listener stands for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The upstream's `host` or `host:port`, for its `Host` field and for rules.
    pub authority: String,
    pub limits: Limits,
    /// Look for the injected credential in readable bodies of unmasked answers too, at the price of looking at them.
    pub conceal_secret: bool,
    /// The client's certificate says who it is: a request may come without a token.
    pub certified: bool,
}

impl Settings {
    /// Default limits, the credential concealed.
    pub fn new(authority: impl Into<String>) -> Self {
        Self {
            authority: authority.into(),
            limits: Limits::default(),
            conceal_secret: true,
            certified: false,
        }
    }
}
