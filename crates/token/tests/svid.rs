//! Certificates that SPIFFE's rules for a workload's leaf take, and those that they do not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd};
use weir_policy::Timestamp;
use weir_token::{SvidRefusal, is_trust_domain, svid_identity};

const ID: &str = "spiffe://acme.internal/ns/ci/sa/nightly";

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![uri(ID), SanType::DnsName("nightly.ci".try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2026, 1, 2);
    change(&mut params);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

#[test]
fn a_workloads_certificate_is_its_identity() {
    let der = certificate(|_| {});
    let verified = svid_identity(&der).unwrap();
    let identity = &verified.identity;
    assert_eq!((identity.issuer.as_str(), identity.subject.as_str()), ("spiffe://acme.internal", ID));
    assert_eq!(identity.expires, Timestamp::from_unix_seconds(1_767_312_000));
    assert_eq!(verified.issued, Some(Timestamp::from_unix_seconds(1_767_225_600)));
    assert!(identity.groups.is_empty() && identity.run.is_none());
    let digest = ring::digest::digest(&ring::digest::SHA256, &der);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(identity.token_id, Some(hex));
}

#[test]
fn what_is_no_workloads_leaf_names_nobody() {
    type Change = fn(&mut CertificateParams);
    let cases: [(Change, SvidRefusal); 7] = [
        (|p| p.subject_alt_names.push(uri("spiffe://acme.internal/b")), SvidRefusal::Names(2)),
        (|p| p.subject_alt_names.push(uri("https://acme.internal/b")), SvidRefusal::Names(2)),
        (|p| p.subject_alt_names.clear(), SvidRefusal::Names(0)),
        (|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), SvidRefusal::Authority),
        (|p| p.key_usages.clear(), SvidRefusal::KeyUsage),
        (|p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment], SvidRefusal::KeyUsage),
        (|p| p.key_usages.push(KeyUsagePurpose::CrlSign), SvidRefusal::KeyUsage),
    ];
    for (change, expected) in cases {
        assert_eq!(svid_identity(&certificate(change)), Err(expected));
    }
}

#[test]
fn an_id_has_one_form() {
    let long = format!("spiffe://acme.internal/{}", "a".repeat(2_048));
    let wide = format!("spiffe://{}/a", "a".repeat(256));
    for (id, taken) in [
        ("spiffe://a/b", true),
        ("spiffe://a-b_c.1/Path/With-.._dots/and_1", true),
        ("spiffe://10.0.0.1/a", true),
        (long.as_str(), false),
        (wide.as_str(), false),
        ("SPIFFE://a/b", false),
        ("https://a/b", false),
        ("spiffe:/a/b", false),
        ("spiffe://A/b", false),
        ("spiffe://a", false),
        ("spiffe://a/", false),
        ("spiffe:///b", false),
        ("spiffe://a/b/", false),
        ("spiffe://a//b", false),
        ("spiffe://a/./b", false),
        ("spiffe://a/../b", false),
        ("spiffe://a/b?c", false),
        ("spiffe://a/b#c", false),
        ("spiffe://u@a/b", false),
        ("spiffe://a:8443/b", false),
        ("spiffe://a/%2e%2e/b", false),
        ("spiffe://a/b c", false),
    ] {
        let outcome = svid_identity(&certificate(|params| params.subject_alt_names = vec![uri(id)]));
        match outcome {
            Ok(verified) => assert!(taken && verified.identity.subject == id, "{id} was taken"),
            Err(refusal) => assert!(!taken && matches!(refusal, SvidRefusal::Id(_)), "{id}: {refusal}"),
        }
    }
    for (name, good) in
        [("acme.internal", true), ("", false), ("a/b", false), ("spiffe://a", false), ("É", false)]
    {
        assert_eq!(is_trust_domain(name), good, "{name}");
    }
}

#[test]
fn bytes_that_are_no_certificate_or_only_a_part_of_one_name_nobody() {
    let der = certificate(|_| {});
    for end in 0..der.len() {
        assert!(svid_identity(&der[..end]).is_err(), "cut at {end}");
    }
    assert_eq!(
        svid_identity(&[&der[..], b"\0"].concat()),
        Err(SvidRefusal::Malformed("something behind it"))
    );
    // Nothing here may panic, whatever the bytes; what still reads was not signed over anyway.
    for at in 0..der.len() {
        let mut changed = der.clone();
        changed[at] ^= 0xff;
        let _ = svid_identity(&changed);
    }
}
