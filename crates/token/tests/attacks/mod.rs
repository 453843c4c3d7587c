//! Forgeries of every class that we know of, signed as well as the attacker can: none may prove anybody. What each is
//! refused for is another test's matter; here it counts that nothing gets through, and that what is true beside it does.

use super::*;

/// Text of a token from parts that are encoded already, or not at all.
fn raw(header: &str, payload: &str, signature: &[u8]) -> String {
    format!("{}.{}.{}", b64(header), b64(payload), b64(signature))
}

struct Range {
    key: Key,
    verifier: Verifier,
    tried: usize,
}

impl Range {
    fn new() -> Self {
        let key = Key::p256();
        let verifier = Verifier::new(&[issuer(&[key.jwk("k1"), Key::rsa().jwk("rsa")])]).unwrap();
        let range = Self { key, verifier, tried: 0 };
        let honest = range.key.token(&header("ES256").to_string(), &claims().to_string());
        assert!(range.verifier.verify(honest.as_bytes(), now()).is_ok(), "what is true is taken");
        range
    }

    fn refuses(&mut self, what: &str, token: impl AsRef<[u8]>) {
        self.tried += 1;
        let outcome = self.verifier.verify(token.as_ref(), now());
        assert!(outcome.is_err(), "{what}: {}", String::from_utf8_lossy(token.as_ref()));
    }

    /// Signed by the trusted key itself: only what the text says is wrong.
    fn refuses_signed(&mut self, header: &str, payload: &str) {
        let token = self.key.token(header, payload);
        self.refuses(&format!("{header} {payload}"), token);
    }

    fn refuses_header(&mut self, name: &str, value: &Value) {
        let mut header = header("ES256");
        header[name] = value.clone();
        self.refuses_signed(&header.to_string(), &claims().to_string());
    }

    fn refuses_claim(&mut self, name: &str, value: &Value) {
        let mut claims = claims();
        claims[name] = value.clone();
        self.refuses_signed(&header("ES256").to_string(), &claims.to_string());
    }

    fn tried_at_least(self, least: usize) {
        assert!(self.tried >= least, "{} tried", self.tried);
    }
}

#[test]
fn no_token_goes_unsigned_under_any_name() {
    let mut range = Range::new();
    let payload = claims().to_string();
    for name in
        ["none", "None", "NONE", "nOnE", "none ", "", "null", "\\u006eone", "HS0", "ES256\\u0000", "ES256 "]
    {
        for kid in ["", ",\"kid\":\"k1\""] {
            let header = format!("{{\"alg\":\"{name}\"{kid}}}");
            for signature in [&b""[..], b"\0", &[0; 64]] {
                range.refuses(name, raw(&header, &payload, signature));
            }
            range.refuses_signed(&header, &payload);
        }
    }
    for header in ["{}", "{\"alg\":null}", "{\"alg\":1}", "{\"alg\":[\"ES256\"]}", "{\"alg\":{\"ES256\":1}}"]
    {
        range.refuses_signed(header, &payload);
    }
    range.tried_at_least(90);
}

#[test]
fn no_public_key_is_a_shared_secret_in_any_of_its_forms() {
    let mut range = Range::new();
    let payload = claims().to_string();
    for (kid, jwk) in [("k1", range.key.jwk("k1")), ("rsa", Key::rsa().jwk("rsa"))] {
        let members =
            ["x", "y", "n", "e", "kid"].map(|name| jwk[name].as_str().unwrap_or_default().to_owned());
        let decoded = members.iter().map(|text| URL_SAFE_NO_PAD.decode(text).unwrap_or_default());
        let coordinates = decoded.clone().take(2).flatten();
        let point: Vec<u8> = [4].into_iter().chain(coordinates).collect();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", b64(&point));
        let texts = members.iter().map(|text| text.clone().into_bytes());
        let secrets =
            texts.chain(decoded).chain([point, pem.into_bytes(), jwk.to_string().into_bytes(), Vec::new()]);
        for secret in secrets {
            let (name, algorithm) = ("HS256", ring::hmac::HMAC_SHA256);
            for alg in [name, "hs256", "ES256", "RS256"] {
                let message =
                    format!("{}.{}", b64(json!({"alg": alg, "kid": kid}).to_string()), b64(&payload));
                let tag = ring::hmac::sign(&ring::hmac::Key::new(algorithm, &secret), message.as_bytes());
                range.refuses(alg, format!("{message}.{}", b64(tag)));
            }
        }
    }
    range.tried_at_least(100);
}

#[test]
fn no_signature_of_another_kind_or_of_nothing_verifies() {
    let mut range = Range::new();
    let payload = claims().to_string();
    let own = header("ES256").to_string();
    let honest = range.key.token(&own, &payload);
    let (message, signature) = honest.rsplit_once('.').unwrap();
    let fixed = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let (r, s) = fixed.split_at(32);
    let der = |r: &[u8], s: &[u8]| {
        let integer = |n: &[u8]| [&[2, 33, 0][..], n].concat();
        [&[0x30, 70][..], &integer(r), &integer(s)].concat()
    };
    let order = [&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0][..], &[0xff; 8], &[0xbc; 16]].concat();
    for forged in [
        vec![0; 64],
        [r, &[0; 32]].concat(),
        [&[0; 32], s].concat(),
        [s, r].concat(),
        [&order[..], &order[..]].concat(),
        der(r, s),
        fixed[..63].to_vec(),
        [&fixed[..], &[0]].concat(),
        [&[0], &fixed[..]].concat(),
        Vec::new(),
    ] {
        range.refuses("signature", format!("{message}.{}", b64(forged)));
    }
    // The right signature, spelt otherwise.
    for spelt in [
        format!("{signature}="),
        format!("{signature}=="),
        format!("{signature}\n."),
        format!(" {signature}"),
        format!("{}\n{}", &signature[..40], &signature[40..]),
        format!("{}+", &signature[..signature.len() - 1]),
        signature.to_uppercase() + "!",
    ] {
        range.refuses("spelling", format!("{message}.{spelt}"));
    }
    // RSA keys sign by two schemes: one is not the other.
    let rsa = Key::rsa();
    for (claimed, made) in [("RS256", "PS256"), ("PS256", "RS256"), ("RS512", "RS256"), ("RS256", "RS512")] {
        let message = format!("{}.{}", b64(json!({"alg": claimed, "kid": "rsa"}).to_string()), b64(&payload));
        range.refuses(claimed, format!("{message}.{}", b64(rsa.sign(made, message.as_bytes()))));
    }
    // Another key of the same kind, under the name of the trusted one.
    range.refuses("stranger", Key::p256().token(&own, &payload));
    range.refuses(
        "stranger",
        Key::ec(&ECDSA_P384_SHA384_FIXED_SIGNING).token(&header("ES384").to_string(), &payload),
    );
    range.refuses("stranger", Key::ed().token(&header("EdDSA").to_string(), &payload));
    range.tried_at_least(24);
}

#[test]
fn no_key_name_and_no_key_of_its_own_helps_a_token() {
    let mut range = Range::new();
    let long = "k".repeat(8_000);
    for kid in [
        json!("../../../../dev/null"),
        json!("/proc/self/environ"),
        json!("k1\u{0}"),
        json!(" k1"),
        json!("K1"),
        json!(""),
        json!("' UNION SELECT 'k1"),
        json!("k1' OR '1'='1"),
        json!("$(id)"),
        json!("https://evil.example/jwks.json"),
        json!("*"),
        json!(long),
        json!(null),
        json!(1),
        json!(true),
        json!(["k1"]),
        json!({"k1": 1}),
    ] {
        range.refuses_header("kid", &kid);
    }
    let own = Key::p256();
    let bring = [
        ("jwk", own.jwk("k1")),
        ("jwk", json!(null)),
        ("jku", json!("https://evil.example/jwks.json")),
        ("jku", json!("https://ci.example@evil.example/")),
        ("jku", json!("http://169.254.169.254/latest/meta-data/")),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("x5c", json!(["MIIB"])),
        ("x5c", json!(null)),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", json!(null)),
        ("crit", json!("b64")),
    ];
    for (name, value) in &bring {
        range.refuses_header(name, value);
        let mut header = header("ES256");
        header[*name] = value.clone();
        range.refuses(name, own.token(&header.to_string(), &claims().to_string()));
    }
    for typ in
        ["logout+jwt", "dpop+jwt", "secevent+jwt", "token-introspection+jwt", "JWE", "JOSE+JSON", "", "jwt "]
    {
        range.refuses_header("typ", &json!(typ));
    }
    for typ in [json!(null), json!(1), json!(["JWT"]), json!({"JWT": 1})] {
        range.refuses_header("typ", &typ);
    }
    range.tried_at_least(50);
}

#[test]
fn no_claim_of_another_shape_or_near_the_right_one_is_taken() {
    let mut range = Range::new();
    let near = [
        json!("https://ci.example/"),
        json!("https://CI.example"),
        json!("http://ci.example"),
        json!("https://ci.example:443"),
        json!("https://ci.example\u{0}"),
        json!("https://ci.ex\u{430}mple"),
        json!(" https://ci.example"),
        json!("ci.example"),
        json!(""),
        json!(null),
        json!([ISSUER]),
        json!({"https://ci.example": 1}),
    ];
    near.iter().for_each(|value| range.refuses_claim("iss", value));
    let audiences = [
        json!("we"),
        json!("weirx"),
        json!("WEIR"),
        json!(" weir"),
        json!("other weir"),
        json!("weir,other"),
        json!(""),
        json!([]),
        json!([["weir"]]),
        json!([{"weir": 1}]),
        json!({"weir": true}),
        json!(null),
        json!(true),
    ];
    audiences.iter().for_each(|value| range.refuses_claim("aud", value));
    let times =
        [json!("9999999999"), json!(null), json!([]), json!({}), json!(true), json!(-1), json!(1e300)];
    for name in ["exp", "nbf", "iat"] {
        times.iter().for_each(|value| range.refuses_claim(name, value));
    }
    for past in [0, 1, NOW_S - SKEW_MS / 1_000, NOW_S - 1, NOW_S] {
        range.refuses_claim("exp", &json!(past));
    }
    for future in [NOW_S + SKEW_MS / 1_000 + 1, NOW_S + 86_400, u64::MAX] {
        range.refuses_claim("nbf", &json!(future));
        range.refuses_claim("iat", &json!(future));
    }
    for subject in [json!(""), json!(null), json!(7), json!(["job-7"]), json!({"job-7": 1}), json!(true)] {
        range.refuses_claim("sub", &subject);
    }
    for confirmation in [
        json!(null),
        json!({}),
        json!("x5t#S256"),
        json!({"jkt": "abc"}),
        json!({"x5t#S256": "abc"}),
        json!({"x5t#S256": b64([0; 31])}),
        json!({"x5t#S256": b64([0; 32]), "jkt": "abc"}),
        json!({"jwk": {}}),
    ] {
        range.refuses_claim("cnf", &confirmation);
    }
    range.tried_at_least(70);
}

#[test]
fn no_second_reading_of_a_token_is_taken() {
    let mut range = Range::new();
    let (head, payload) = (header("ES256").to_string(), claims().to_string());
    for member in [
        "\"exp\":1",
        "\"aud\":\"weir\"",
        "\"iss\":\"x\"",
        "\"groups\":[\"admins\"]",
        "\"s\\u0075b\":\"root\"",
    ] {
        range.refuses_signed(&head, &format!("{{{member},{}", &payload[1..]));
        range.refuses_signed(&head, &format!("{},{member}}}", &payload[..payload.len() - 1]));
    }
    for member in ["\"alg\":\"none\"", "\"kid\":\"k2\"", "\"\\u0061lg\":\"HS256\"", "\"typ\":\"JWT\""] {
        range.refuses_signed(&format!("{{{member},{}", &head[1..]), &payload);
    }
    for broken in [
        format!("\u{feff}{payload}"),
        format!("{payload}\0"),
        format!("{payload}{payload}"),
        format!("[{payload}]"),
        payload.replace('"', "'"),
        payload.replacen(':', "=", 1),
        format!("{},}}", &payload[..payload.len() - 1]),
        format!("{{/**/{}", &payload[1..]),
        format!("{},\"n\":NaN}}", &payload[..payload.len() - 1]),
        format!("{},\"n\":1e999}}", &payload[..payload.len() - 1]),
        format!("{},\"n\":\"\\ud800\"}}", &payload[..payload.len() - 1]),
        String::new(),
        "null".to_owned(),
    ] {
        range.refuses_signed(&head, &broken);
    }
    // Deeper than any stack, and as long as may be.
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for depth in [130, 1_000, 2_000] {
            let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            range.refuses_signed(&head, &format!("{},\"n\":{deep}}}", &payload[..payload.len() - 1]));
            range.refuses_signed(&format!("{},\"n\":{deep}}}", &head[..head.len() - 1]), &payload);
        }
    }
    let honest = range.key.token(&head, &payload);
    let [first, second, third] = [0, 1, 2].map(|at| honest.split('.').nth(at).unwrap().to_owned());
    for text in [
        format!("Bearer {honest}"),
        format!("{honest}.{third}"),
        format!("{first}.{second}.{third}.{third}.{third}"),
        format!("{first}.{second}"),
        format!("{first}..{third}"),
        format!(".{second}.{third}"),
        format!("{first}.{second}.{third}\0"),
        format!("\u{feff}{honest}"),
        format!("{second}.{first}.{third}"),
        json!({"payload": second, "protected": first, "signature": third}).to_string(),
        json!({"payload": second, "signatures": [{"protected": first, "signature": third}]}).to_string(),
        "a".repeat(MAX_TOKEN_BYTES + 1),
        "..".to_owned(),
        "....".to_owned(),
    ] {
        range.refuses("form", text);
    }
    range.tried_at_least(50);
}

#[test]
fn no_key_set_that_an_issuer_should_not_have_published_weakens_it() {
    let key = Key::p256();
    let honest = key.token(&header("ES256").to_string(), &claims().to_string());
    let taken = |keys: &[Value]| {
        let Ok(verifier) = Verifier::new(&[issuer(keys)]) else { return false };
        verifier.verify(honest.as_bytes(), now()).is_ok()
    };
    assert!(taken(&[key.jwk("k1")]));
    let with = |change: fn(&mut Value)| {
        let mut jwk = key.jwk("k1");
        change(&mut jwk);
        jwk
    };
    // Two keys of one name: which of them is meant nobody can say.
    assert!(!taken(&[key.jwk("k1"), Key::p256().jwk("k1")]));
    for (what, jwk) in [
        ("for encryption", with(|jwk| jwk["use"] = json!("enc"))),
        ("for signing only", with(|jwk| jwk["key_ops"] = json!(["sign"]))),
        ("for another algorithm", with(|jwk| jwk["alg"] = json!("ES384"))),
        ("for no algorithm", with(|jwk| jwk["alg"] = json!("none"))),
        ("on another curve", with(|jwk| jwk["crv"] = json!("secp256k1"))),
        ("of another family", with(|jwk| jwk["kty"] = json!("RSA"))),
        ("a shared secret", json!({"kty": "oct", "kid": "k1", "k": b64("secret"), "alg": "ES256"})),
        ("not on the curve", with(|jwk| jwk["y"] = json!(b64([7; 32])))),
        ("without a point", with(|jwk| drop(jwk.as_object_mut().unwrap().remove("x")))),
    ] {
        assert!(!taken(&[jwk]), "{what}");
    }
    // RSA keys too weak to count.
    let rsa = Key::rsa();
    let token = rsa.token(&json!({"alg": "RS256", "kid": "rsa"}).to_string(), &claims().to_string());
    for (n, e) in [(b64([0xff; 128]), "AQAB"), (rsa.jwk("rsa")["n"].as_str().unwrap().to_owned(), "AQ")] {
        let weak = json!({"kty": "RSA", "kid": "rsa", "n": n, "e": e});
        let outcome =
            Verifier::new(&[issuer(&[weak])]).map(|verifier| verifier.verify(token.as_bytes(), now()));
        assert!(!matches!(outcome, Ok(Ok(_))), "{e}");
    }
}
