//! Clients that say by certificate who they are: SPIFFE's X.509-SVIDs instead of a token, with psql, curl and by hand;
//! certificates that must name nobody; and what ends their sessions.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use ring::digest::{SHA256, digest};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::appliance::{Appliance, PATIENCE, Who, text};
use crate::raw::{Raw, Said, startup, tls_as, told_to_begin};

const DOMAIN: &str = "acme.internal";
const WORKLOAD: &str = "spiffe://acme.internal/ns/ci/sa/nightly";

/// Seconds since 1970 as certificates are made with: their type has a name in another crate only.
macro_rules! at {
    ($seconds:expr) => {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs($seconds)
    };
}

/// An authority of a trust domain.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(domain: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = vec![uri(&format!("spiffe://{domain}"))];
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate that is in order but for what `change` does to it.
    fn issue(&self, file: &Path, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![uri(WORKLOAD)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = at!(now_s() - 60);
        params.not_after = at!(now_s() + 3_600);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (cert, key_file) = (file.with_extension("crt"), file.with_extension("key"));
        std::fs::write(&cert, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
        Certificate { cert, key: key_file }
    }
}

struct Certificate {
    cert: PathBuf,
    key: PathBuf,
}

impl Certificate {
    fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(&self.cert).unwrap()
    }

    fn pair(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (vec![self.der()], PrivateKeyDer::from_pem_file(&self.key).unwrap())
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// An appliance with two more listeners, whose clients may show certificates of `acme.internal` and of a partner.
struct Trusting {
    appliance: Appliance,
    folder: tempfile::TempDir,
    acme: Authority,
    partner: Authority,
    postgres: u16,
    http: u16,
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Trusting {
    fn start() -> Self {
        let appliance = Appliance::start();
        let folder = tempfile::tempdir().unwrap();
        let (acme, partner) = (Authority::new(DOMAIN), Authority::new("partner.example"));
        let bundle = |name: &str, authority: &Authority| {
            let path = folder.path().join(name);
            std::fs::write(&path, &authority.pem).unwrap();
            path.display().to_string()
        };
        let spiffe = format!(
            "spiffe = [{{ trust_domain = \"{DOMAIN}\", bundle = \"{}\" }}, \
             {{ trust_domain = \"partner.example\", bundle = \"{}\" }}]",
            bundle("acme.pem", &acme),
            bundle("partner.pem", &partner)
        );
        let (postgres, http) = (free_port(), free_port());
        let tls = appliance.dir.join("tls").display().to_string();
        let listener = |protocol: &str, port: u16, more: &str| {
            format!(
                "[[listener]]\nprotocol = \"{protocol}\"\naddress = \"127.0.0.1:{port}\"\n\
                 cert = \"{tls}/listener.pem\"\nkey = \"{tls}/listener.key\"\n{spiffe}\n{more}\n"
            )
        };
        let listeners =
            [listener("postgres", postgres, ""), listener("http", http, "connection = \"clinic-api\"")];
        appliance.add_to_config(&listeners.concat());
        let grant = |connection: &str| {
            format!(
                "[[grant]]\nconnection = \"{connection}\"\nrole = \"job\"\nissuer = \"spiffe://{DOMAIN}\"\n\
                 subjects = [\"{WORKLOAD}\"]\n"
            )
        };
        let access = [grant("clinic"), grant("clinic-api")].concat();
        std::fs::write(appliance.dir.join("access/workloads.toml"), access).unwrap();
        let applied = appliance.admin(&["apply", "--config", appliance.var("WEIR_CONFIG")]);
        assert!(applied.status.success(), "{}", text(&applied.stderr));
        let trusting = Self { appliance, folder, acme, partner, postgres, http };
        let first = trusting.acme.issue(&trusting.file("first"), |_| {});
        Appliance::until("the grant to be in force", || {
            trusting.psql(Some(&first), "job", "", "SELECT 1").status.success().then_some(())
        });
        trusting
    }

    fn shared() -> &'static Self {
        static SHARED: OnceLock<Trusting> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn psql(
        &self,
        certificate: Option<&Certificate>,
        role: &str,
        token: &str,
        sql: &str,
    ) -> std::process::Output {
        let mut psql = self.appliance.client("psql", "clinic", role, token);
        psql.env("PGPORT", self.postgres.to_string());
        match certificate {
            Some(own) => psql.env("PGSSLCERT", &own.cert).env("PGSSLKEY", &own.key),
            // Whoever runs this may have one of their own.
            None => psql.env("PGSSLCERT", "/nowhere"),
        };
        psql.args(["-wXAtq", "-v", "VERBOSITY=verbose", "-c", sql]).output().unwrap()
    }

    /// The status that curl is answered with, 0 where there was no answer.
    fn curl(&self, certificate: Option<&Certificate>, role: &str, authorization: Option<&str>) -> String {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", self.appliance.var("WEIR_CA")]);
        if let Some(own) = certificate {
            curl.arg("--cert").arg(&own.cert).arg("--key").arg(&own.key);
        }
        if let Some(authorization) = authorization {
            curl.args(["-H", &format!("Authorization: {authorization}")]);
        }
        curl.args([
            "-H",
            &format!("weir-role: {role}"),
            &format!("https://localhost:{}/v1/patients/1", self.http),
        ]);
        text(&curl.output().unwrap().stdout)
    }

    /// Logs in by hand and by certificate.
    fn log_in(&self, certificate: &Certificate) -> Result<Raw, Said> {
        let stream = TcpStream::connect(("127.0.0.1", self.postgres)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let tls = tls_as(&self.appliance, Some(certificate.pair()));
        let mut raw = Raw::over(tls, told_to_begin(stream));
        raw.send(&startup("job", "clinic"));
        loop {
            match raw.next().expect("an answer") {
                (b'Z', _) => return Ok(raw),
                (b'R', body) => assert_eq!(body, [0; 4], "nothing is asked for"),
                refusal @ (b'E', _) => return Err(Said::of(&refusal)),
                _ => {}
            }
        }
    }
}

#[test]
fn a_client_certificate_with_a_spiffe_id_is_who_psql_and_curl_are() {
    let trusting = Trusting::shared();
    let appliance = &trusting.appliance;
    let own = trusting.acme.issue(&trusting.file("own"), |_| {});
    let canary = appliance.direct("SELECT ssn FROM patients WHERE id = 1");
    let done = trusting.psql(Some(&own), "job", "", "SELECT ssn FROM patients WHERE id = 1");
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_ne!(text(&done.stdout), canary, "the role's masks apply");
    let refused = trusting.psql(Some(&own), "analyst", "", "SELECT 1");
    assert!(text(&refused.stderr).contains("not granted"), "{}", text(&refused.stderr));
    assert_eq!(trusting.curl(Some(&own), "job", None), "200");
    assert_eq!(trusting.curl(Some(&own), "analyst", None), "403");
    assert_eq!(trusting.curl(None, "job", None), "401");
    let listed = Appliance::until("the session to be recorded", || {
        let listed = appliance.admin(&["sessions", "list", "--subject", WORKLOAD, "--json"]);
        let text = text(&listed.stdout);
        text.contains("\"http\"").then_some(text)
    });
    assert!(listed.contains("\"postgres\"") && listed.contains("spiffe://acme.internal\""), "{listed}");
}

#[test]
fn who_shows_no_certificate_is_asked_for_a_token_and_a_token_that_is_presented_says_who_asks() {
    let trusting = Trusting::shared();
    let appliance = &trusting.appliance;
    let own = trusting.acme.issue(&trusting.file("beside"), |_| {});
    let analyst = appliance.token(Who::Analyst);
    let done = trusting.psql(None, "analyst", &analyst, "SELECT 1");
    assert_eq!(text(&done.stdout), "1\n", "{}", text(&done.stderr));
    // The certificate has no such grant; the token has.
    assert_eq!(trusting.curl(Some(&own), "analyst", Some(&format!("Bearer {analyst}"))), "200");
    assert_eq!(trusting.curl(Some(&own), "job", Some(&format!("Bearer {analyst}"))), "403");
    assert_eq!(trusting.curl(Some(&own), "job", Some("Bearer nonsense")), "401");
    assert_eq!(trusting.curl(Some(&own), "job", Some("Basic am9iOmpvYg==")), "401");
    assert_eq!(trusting.curl(Some(&own), "job", Some("Bearer")), "401");
}

#[test]
fn a_token_bound_to_a_certificate_is_taken_from_its_bearer_alone() {
    use base64::Engine as _;
    let trusting = Trusting::shared();
    let own = trusting.acme.issue(&trusting.file("bound"), |_| {});
    let other = trusting.acme.issue(&trusting.file("other"), |_| {});
    let hash = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest(&SHA256, &own.der()));
    let bound = |confirmation: &str| {
        let claim = format!("cnf={confirmation}");
        let arguments = ["--sub", "bound", "--group", "jobs", "--ttl", "5m", "--claim", &claim];
        format!("Bearer {}", trusting.appliance.mint(&arguments))
    };
    let token = bound(&format!("{{\"x5t#S256\":\"{hash}\"}}"));
    assert_eq!(trusting.curl(Some(&own), "job", Some(&token)), "200");
    assert_eq!(trusting.curl(Some(&other), "job", Some(&token)), "401");
    assert_eq!(trusting.curl(None, "job", Some(&token)), "401");
    // What no TLS certificate can prove is not a bearer's either.
    assert_eq!(trusting.curl(Some(&own), "job", Some(&bound("{\"jkt\":\"abc\"}"))), "401");
}

#[test]
fn certificates_that_name_no_workload_of_their_own_domain_let_nobody_in() {
    type Change = fn(&mut CertificateParams);
    let trusting = Trusting::shared();
    let stranger = Authority::new(DOMAIN);
    let cases: [(&str, &Authority, Change); 12] = [
        ("of-a-stranger", &stranger, |_| {}),
        ("of-another-domain", &trusting.partner, |_| {}),
        ("of-no-known-domain", &trusting.acme, |p| {
            p.subject_alt_names = vec![uri("spiffe://else.example/a")]
        }),
        ("two-names", &trusting.acme, |p| p.subject_alt_names.push(uri("spiffe://acme.internal/b"))),
        ("no-name", &trusting.acme, |p| {
            p.subject_alt_names = vec![SanType::DnsName("a.b".try_into().unwrap())]
        }),
        ("no-path", &trusting.acme, |p| p.subject_alt_names = vec![uri("spiffe://acme.internal")]),
        ("dots", &trusting.acme, |p| p.subject_alt_names = vec![uri("spiffe://acme.internal/a/../b")]),
        ("an-authority", &trusting.acme, |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        ("signs-certificates", &trusting.acme, |p| p.key_usages.push(KeyUsagePurpose::KeyCertSign)),
        ("no-usage", &trusting.acme, |p| p.key_usages.clear()),
        ("servers-only", &trusting.acme, |p| {
            p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
        }),
        ("expired", &trusting.acme, |p| p.not_after = at!(now_s() - 1)),
    ];
    for (name, authority, change) in cases {
        let own = authority.issue(&trusting.file(name), change);
        let refused = trusting.psql(Some(&own), "job", "", "SELECT 1");
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{name} was let in");
        assert_eq!(trusting.curl(Some(&own), "job", None), "000", "{name}");
    }
    let partner = trusting.partner.issue(&trusting.file("partner"), |params| {
        params.subject_alt_names = vec![uri("spiffe://partner.example/ns/ci/sa/nightly")];
    });
    let refused = trusting.psql(Some(&partner), "job", "", "SELECT 1");
    assert!(
        text(&refused.stderr).contains("not granted"),
        "known, and granted nothing: {}",
        text(&refused.stderr)
    );
}

#[test]
fn a_session_ends_with_its_certificate() {
    let trusting = Trusting::shared();
    let short = trusting.acme.issue(&trusting.file("short"), |params| params.not_after = at!(now_s() + 4));
    let mut raw = trusting.log_in(&short).unwrap_or_else(|said| panic!("{said:?}"));
    assert_eq!(raw.query("SELECT 'here'"), Ok(vec!["here".to_owned()]));
    raw.end().assert_fatal("57P01", &["client certificate has expired"]);
}

#[test]
fn revoking_a_workload_ends_its_sessions_and_its_older_certificates() {
    let trusting = Trusting::start();
    let own = trusting.acme.issue(&trusting.file("own"), |_| {});
    let raw = trusting.log_in(&own).unwrap_or_else(|said| panic!("{said:?}"));
    let revoke = |arguments: &[&str]| {
        let issuer = format!("spiffe://{DOMAIN}");
        let admin_token = trusting.appliance.var("WEIR_ADMIN_TOKEN_FILE");
        let command = ["identities", "revoke", "--token-file", admin_token, "--issuer", &issuer];
        let done = trusting.appliance.admin(&[&command[..], arguments].concat());
        assert!(done.status.success(), "{}", text(&done.stderr));
    };
    // One certificate, by its SHA-256.
    let one = trusting.acme.issue(&trusting.file("one"), |_| {});
    let fingerprint: String =
        digest(&SHA256, &one.der()).as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let session = trusting.log_in(&one).unwrap_or_else(|said| panic!("{said:?}"));
    revoke(&["--token", &fingerprint]);
    session.end().assert_fatal("57P01", &["revoked"]);
    let refused = trusting.log_in(&one).err().expect("it was revoked");
    refused.assert_fatal("28P01", &["client certificate"]);
    // The workload, whatever its certificates.
    revoke(&["--subject", WORKLOAD]);
    raw.end().assert_fatal("57P01", &["revoked"]);
    let refused = trusting.log_in(&own).err().expect("it was revoked");
    refused.assert_fatal("28P01", &["client certificate"]);
    let fresh = trusting.acme.issue(&trusting.file("fresh"), |params| params.not_before = at!(now_s() + 1));
    Appliance::until("a certificate made since to be valid", || {
        let stream = trusting.psql(Some(&fresh), "job", "", "SELECT 1");
        stream.status.success().then_some(())
    });
}

#[test]
fn a_bundle_that_was_replaced_counts_from_the_next_connection_on() {
    let trusting = Trusting::start();
    let own = trusting.acme.issue(&trusting.file("own"), |_| {});
    assert!(trusting.psql(Some(&own), "job", "", "SELECT 1").status.success());
    let successor = Authority::new(DOMAIN);
    std::fs::write(trusting.file("acme.pem"), &successor.pem).unwrap();
    trusting.appliance.signal("weir-dataplane", "-HUP");
    Appliance::until("the old authority to be gone", || {
        (!trusting.psql(Some(&own), "job", "", "SELECT 1").status.success()).then_some(())
    });
    let new = successor.issue(&trusting.file("new"), |_| {});
    assert!(trusting.psql(Some(&new), "job", "", "SELECT 1").status.success());
}
