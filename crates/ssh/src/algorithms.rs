//! The one table of algorithms: wire names, what they need, and which library computes each.
//!
//! | algorithm | library |
//! |---|---|
//! | curve25519, nistp256, nistp384 | ring |
//! | ML-KEM-768 | aws-lc-rs (ring has none) |
//! | SHA-256, SHA-384, HMAC | ring |
//! | aes128/256-gcm@openssh.com | ring |
//! | aes128/256-ctr | aws-lc-rs (ring has none) |
//! | chacha20-poly1305@openssh.com | aws-lc-rs (ring takes 1.3 to 1.7 times the CPU) |
//! | ed25519, ecdsa, rsa-sha2 signatures | ring |
//! | random bytes, ephemeral keys | ring's `SystemRandom` (ML-KEM's: aws-lc-rs's own) |
//!
//! Ring and aws-lc-rs take randomness from the system alone, so it is no argument here as elsewhere; nothing that a machine decides
//! depends on it. There is no CBC, SHA-1, `none` or compression to be switched on.

/// Key exchange methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kex {
    MlKem768X25519,
    Curve25519,
    /// The name that Curve25519 had before RFC 8731.
    Curve25519Libssh,
    NistP256,
    NistP384,
}

impl Kex {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MlKem768X25519 => "mlkem768x25519-sha256",
            Self::Curve25519 => "curve25519-sha256",
            Self::Curve25519Libssh => "curve25519-sha256@libssh.org",
            Self::NistP256 => "ecdh-sha2-nistp256",
            Self::NistP384 => "ecdh-sha2-nistp384",
        }
    }

    pub(crate) fn hash(self) -> &'static ring::digest::Algorithm {
        match self {
            Self::MlKem768X25519 | Self::Curve25519 | Self::Curve25519Libssh | Self::NistP256 => {
                &ring::digest::SHA256
            }
            Self::NistP384 => &ring::digest::SHA384,
        }
    }
}

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    Ed25519,
    EcdsaP256,
    /// Verified in user certificates; no host key of ours.
    EcdsaP384,
    RsaSha512,
    RsaSha256,
}

impl SignatureAlgorithm {
    pub const ALL: [Self; 5] =
        [Self::Ed25519, Self::EcdsaP256, Self::EcdsaP384, Self::RsaSha512, Self::RsaSha256];

    /// The name inside a signature, and of the algorithm that uses a plain key.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
            Self::RsaSha512 => "rsa-sha2-512",
            Self::RsaSha256 => "rsa-sha2-256",
        }
    }

    /// The name of the algorithm that uses a certificate.
    #[must_use]
    pub const fn certified_name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519-cert-v01@openssh.com",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256-cert-v01@openssh.com",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384-cert-v01@openssh.com",
            Self::RsaSha512 => "rsa-sha2-512-cert-v01@openssh.com",
            Self::RsaSha256 => "rsa-sha2-256-cert-v01@openssh.com",
        }
    }
}

/// What a server proves itself by: a plain key, or one with a host certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostKeyAlgorithm {
    pub signature: SignatureAlgorithm,
    pub certified: bool,
}

impl HostKeyAlgorithm {
    #[must_use]
    pub const fn name(self) -> &'static str {
        if self.certified { self.signature.certified_name() } else { self.signature.name() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cipher {
    Aes256Gcm,
    Aes128Gcm,
    ChaCha20Poly1305,
    Aes256Ctr,
    Aes128Ctr,
}

impl Cipher {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes256-gcm@openssh.com",
            Self::Aes128Gcm => "aes128-gcm@openssh.com",
            Self::ChaCha20Poly1305 => "chacha20-poly1305@openssh.com",
            Self::Aes256Ctr => "aes256-ctr",
            Self::Aes128Ctr => "aes128-ctr",
        }
    }

    /// It authenticates by itself, so the negotiated MAC is none.
    #[must_use]
    pub const fn is_aead(self) -> bool {
        matches!(self, Self::Aes256Gcm | Self::Aes128Gcm | Self::ChaCha20Poly1305)
    }

    pub(crate) const fn key_bytes(self) -> usize {
        match self {
            Self::ChaCha20Poly1305 => 64,
            Self::Aes256Gcm | Self::Aes256Ctr => 32,
            Self::Aes128Gcm | Self::Aes128Ctr => 16,
        }
    }

    pub(crate) const fn iv_bytes(self) -> usize {
        match self {
            Self::ChaCha20Poly1305 => 0,
            Self::Aes256Gcm | Self::Aes128Gcm => 12,
            Self::Aes256Ctr | Self::Aes128Ctr => 16,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mac {
    Sha256Etm,
    Sha512Etm,
    Sha256,
    Sha512,
}

impl Mac {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256Etm => "hmac-sha2-256-etm@openssh.com",
            Self::Sha512Etm => "hmac-sha2-512-etm@openssh.com",
            Self::Sha256 => "hmac-sha2-256",
            Self::Sha512 => "hmac-sha2-512",
        }
    }

    /// The MAC is over the ciphertext, and the length goes in the clear.
    #[must_use]
    pub const fn is_etm(self) -> bool {
        matches!(self, Self::Sha256Etm | Self::Sha512Etm)
    }

    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Sha256Etm | Self::Sha256 => 32,
            Self::Sha512Etm | Self::Sha512 => 64,
        }
    }
}

/// What one side offers, best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithms {
    pub kex: Vec<Kex>,
    /// A client's order. A server offers what its keys can do, in this order.
    pub host_keys: Vec<HostKeyAlgorithm>,
    pub ciphers: Vec<Cipher>,
    pub macs: Vec<Mac>,
}

impl Default for Algorithms {
    fn default() -> Self {
        use SignatureAlgorithm::{EcdsaP256, Ed25519, RsaSha256, RsaSha512};
        let plain = [Ed25519, EcdsaP256, RsaSha512, RsaSha256];
        let certified = plain.map(|signature| HostKeyAlgorithm { signature, certified: true });
        let host_keys =
            certified.into_iter().chain(certified.map(|it| HostKeyAlgorithm { certified: false, ..it }));
        Self {
            kex: vec![
                Kex::MlKem768X25519,
                Kex::Curve25519,
                Kex::Curve25519Libssh,
                Kex::NistP256,
                Kex::NistP384,
            ],
            host_keys: host_keys.collect(),
            ciphers: vec![
                Cipher::Aes256Gcm,
                Cipher::Aes128Gcm,
                Cipher::ChaCha20Poly1305,
                Cipher::Aes256Ctr,
                Cipher::Aes128Ctr,
            ],
            macs: vec![Mac::Sha256Etm, Mac::Sha512Etm, Mac::Sha256, Mac::Sha512],
        }
    }
}

impl Algorithms {
    /// Without chacha20-poly1305, which stock clients put first and which costs three times as much as AES-GCM.
    #[must_use]
    pub fn fast() -> Self {
        let mut algorithms = Self::default();
        algorithms.ciphers.retain(|cipher| *cipher != Cipher::ChaCha20Poly1305);
        algorithms
    }
}
