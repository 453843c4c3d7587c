//! Two ends of TLS against each other, without sockets: cuts, names, certificates and what breaks them.

use rcgen::{CertifiedKey, generate_simple_self_signed};

use super::*;

struct Files {
    _folder: tempfile::TempDir,
    cert: PathBuf,
    key: PathBuf,
    pem: String,
}

fn files(name: &str) -> Files {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = Files {
        cert: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
        pem: cert.pem(),
        _folder: folder,
    };
    std::fs::write(&files.cert, cert.pem()).unwrap();
    std::fs::write(&files.key, signing_key.serialize_pem()).unwrap();
    files
}

fn pair(files: &Files, name: &str) -> (Tls, Tls) {
    let certificate = Certificate::load(&files.cert, &files.key).unwrap();
    let server = Tls::server(server_config(certificate, &[POSTGRES_ALPN], None).unwrap()).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    (server, Tls::client(client_config(&files.pem).unwrap(), name).unwrap())
}

/// Feeds `wire` to one end in pieces of `piece` bytes; the answer is its plaintext and what it replies.
fn feed(end: &mut Tls, wire: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let (mut plain, mut reply, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for piece in wire.chunks(piece) {
        kept.extend_from_slice(piece);
        let (used, _) = end.open(&mut kept, &mut plain, &mut reply)?;
        kept.drain(..used);
    }
    Ok((plain, reply))
}

fn shake_hands(server: &mut Tls, client: &mut Tls, piece: usize) -> Result<(), Error> {
    let mut to_server = Vec::new();
    client.open(&mut [], &mut Vec::new(), &mut to_server)?;
    for _ in 0..4 {
        let (_, to_client) = feed(server, &to_server, piece)?;
        to_server = feed(client, &to_client, piece)?.1;
    }
    Ok(())
}

#[test]
fn what_is_sealed_opens_the_same_in_any_cut() {
    let files = files("gateway.test");
    for piece in [1, 7, 4096, usize::MAX] {
        let (mut server, mut client) = pair(&files, "gateway.test");
        shake_hands(&mut server, &mut client, piece).unwrap();
        let message: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        let mut wire = Vec::new();
        let mut sealed = vec![0; SEALED_BYTES];
        for chunk in message.chunks(MAX_SEAL_BYTES) {
            let length = client.seal(&mut Vec::new(), chunk, &mut sealed).unwrap();
            wire.extend_from_slice(&sealed[..length]);
        }
        let (plain, _) = feed(&mut server, &wire, piece.max(64)).unwrap();
        assert!(plain == message, "pieces of {piece}");
    }
}

#[test]
fn a_server_of_another_name_or_root_is_refused() {
    let files = files("gateway.test");
    let (mut server, mut client) = pair(&files, "other.test");
    assert!(shake_hands(&mut server, &mut client, usize::MAX).is_err());
    let (mut server, _) = pair(&files, "gateway.test");
    let (_, mut client) = pair(&self::files("gateway.test"), "gateway.test");
    assert!(shake_hands(&mut server, &mut client, usize::MAX).is_err());
}

#[test]
fn the_channel_binding_is_the_hash_of_the_upstreams_certificate() {
    let files = files("gateway.test");
    let (mut server, mut client) = pair(&files, "gateway.test");
    shake_hands(&mut server, &mut client, usize::MAX).unwrap();
    let der = CertificateDer::from_pem_slice(files.pem.as_bytes()).unwrap();
    let expected = digest::digest(&digest::SHA256, &der).as_ref().to_vec();
    assert_eq!(client.server_end_point(), Some(expected));
    assert_eq!(server.server_end_point(), None);
}

#[test]
fn the_binding_hashes_as_the_certificate_was_signed() {
    let signed = |algorithm| {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        rcgen::CertificateParams::default().self_signed(&key).unwrap().der().clone()
    };
    for (algorithm, hash) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, Some(&digest::SHA256)),
        (&rcgen::PKCS_ECDSA_P384_SHA384, Some(&digest::SHA384)),
        (&rcgen::PKCS_ED25519, None),
    ] {
        let certificate = signed(algorithm);
        let expected = hash.map(|hash| digest::digest(hash, &certificate).as_ref().to_vec());
        assert_eq!(end_point_hash(&certificate), expected, "{algorithm:?}");
    }
    // RFC 4055's parameters, and how none (SHA-1) are written.
    let sha = |last: u8| {
        let oid = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last];
        [&[0x30, 0x11, 0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09][..], &oid, &[0x05, 0x00]].concat()
    };
    for (parameters, expected) in [
        (sha(1), Some(&digest::SHA256)),
        (sha(2), Some(&digest::SHA384)),
        (sha(3), Some(&digest::SHA512)),
        (sha(4), None),
        (vec![0x30, 0x00], Some(&digest::SHA256)),
        (Vec::new(), None),
    ] {
        assert_eq!(pss_hash(&parameters), expected, "{parameters:?}");
    }
    for cut in 0..40 {
        assert_eq!(end_point_hash(&CertificateDer::from(vec![0x30; cut])), None);
    }
}

#[test]
fn a_reloaded_certificate_serves_new_handshakes_and_a_broken_one_changes_nothing() {
    let (old, new) = (files("gateway.test"), files("gateway.test"));
    let certificate = Certificate::load(&old.cert, &old.key).unwrap();
    let config = server_config(Arc::clone(&certificate), &[], None).unwrap();
    let accepted_by = |roots: &Files| {
        let mut server = Tls::server(Arc::clone(&config)).unwrap();
        let name = ServerName::try_from("gateway.test").unwrap();
        let mut client = Tls::client(client_config(&roots.pem).unwrap(), name).unwrap();
        shake_hands(&mut server, &mut client, usize::MAX).is_ok()
    };
    assert!(accepted_by(&old) && !accepted_by(&new));
    std::fs::copy(&new.cert, &old.cert).unwrap();
    assert!(certificate.reload().is_err(), "a key that is not the certificate's");
    assert!(accepted_by(&old) && !accepted_by(&new));
    std::fs::copy(&new.key, &old.key).unwrap();
    certificate.reload().unwrap();
    assert!(!accepted_by(&old) && accepted_by(&new));
}

/// Every prefix of a client's bytes, then an answer of the server's: no place that rustls kept may be lost.
#[test]
fn sealing_between_two_halves_of_a_record_disturbs_nothing() {
    let files = files("gateway.test");
    let (mut server, mut client) = pair(&files, "gateway.test");
    shake_hands(&mut server, &mut client, usize::MAX).unwrap();
    let mut sealed = vec![0; SEALED_BYTES];
    let length = client.seal(&mut Vec::new(), b"select 1", &mut sealed).unwrap();
    let wire = sealed[..length].to_vec();
    let (mut cut, mut plain) = (Vec::new(), Vec::new());
    for byte in wire {
        cut.push(byte);
        let (used, _) = server.open(&mut cut, &mut plain, &mut Vec::new()).unwrap();
        cut.drain(..used);
        let mut answer = vec![0; SEALED_BYTES];
        let length = server.seal(&mut cut, b"x", &mut answer).unwrap();
        assert_eq!(feed(&mut client, &answer[..length], usize::MAX).unwrap().0, b"x");
    }
    assert_eq!(plain, b"select 1");
}

#[test]
fn garbage_is_answered_with_an_alert() {
    let (mut server, _) = pair(&files("gateway.test"), "gateway.test");
    let mut reply = Vec::new();
    let mut garbage = b"\x16\x03\x01\x00\x04\x01\x00\x00\x00".to_vec();
    assert!(server.open(&mut garbage, &mut Vec::new(), &mut reply).is_err());
    assert_eq!(reply.first(), Some(&0x15));
}
