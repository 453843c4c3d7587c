//! What others may try at the door: fixation, another's answer, open redirects, forged forms, another name.

use reqwest::Method;

use crate::browser::Browser;
use crate::service::Service;

/// Fields of a request, or of a form.
type Pairs<'a> = &'a [(&'a str, &'a str)];

#[tokio::test]
async fn a_visit_begins_with_an_id_that_nobody_knew_and_ends_the_one_before() {
    let service = Service::start("");
    let mut browser = Browser::new(&service);
    let planted = "A".repeat(43);
    browser.plant("localhost", "__Host-weir", &planted);
    browser.sign_in(&service, "ada+auditors").await;
    let first = browser.cookie("__Host-weir").unwrap().clone();
    assert_ne!(first, planted);
    let mut attacker = Browser::new(&service);
    attacker.plant("localhost", "__Host-weir", &planted);
    assert_eq!(attacker.get(&service.url).await.status, 303);
    // Signing in again: another id, and the former is dead.
    browser.sign_in_until(&service, "ada+auditors", "", "").await;
    let second = browser.cookie("__Host-weir").unwrap().clone();
    assert_ne!(second, first);
    attacker.plant("localhost", "__Host-weir", &first);
    assert_eq!(attacker.get(&service.url).await.status, 303);
    assert_eq!(browser.get(&format!("{}/me", service.url)).await.status, 200);
}

#[tokio::test]
async fn an_answer_is_taken_once_and_only_by_the_browser_that_began_it() {
    let service = Service::start("");
    let mut victim = Browser::new(&service);
    let mut attacker = Browser::new(&service);
    // The attacker's own answer, in the victim's browser: the victim would work in the attacker's name.
    let page = attacker.sign_in_until(&service, "mallory+admins", "", "/sign-in/callback").await;
    let answer = page.field("location").to_owned();
    assert!(answer.contains("/sign-in/callback?code="), "{answer}");
    for began in [false, true] {
        if began {
            victim.get(&format!("{}/sign-in/go", service.url)).await;
        }
        let refused = victim.get(&answer).await;
        assert_eq!(refused.status, 403);
        assert_eq!(victim.cookie("__Host-weir"), None);
    }
    // Another issuer's, and without a state: each ends the attempt.
    for (from, to) in [("iss=http", "iss=https"), ("&state=", "&stale=")] {
        let mut browser = Browser::new(&service);
        let page = browser.sign_in_until(&service, "ada+auditors", "", "/sign-in/callback").await;
        let answer = page.field("location").to_owned();
        let altered = answer.replacen(from, to, 1);
        assert_ne!(altered, answer);
        assert_eq!(browser.get(&altered).await.status, 403, "{altered}");
        assert_eq!(browser.get(&answer).await.status, 403, "the attempt is over");
    }
    // Its own, once.
    let taken = attacker.get(&answer).await;
    assert_eq!(taken.status, 303, "{taken:?}");
    assert_eq!(attacker.get(&answer).await.status, 403);
}

#[tokio::test]
async fn nobody_is_sent_off_the_site_and_pages_answer_to_their_own_name_alone() {
    let service = Service::start("");
    for (to, lands) in [
        ("?to=https%3A%2F%2Fevil.example%2F", "/"),
        ("?to=%2F%2Fevil.example", "/"),
        ("?to=%2F%5Cevil.example", "/"),
        ("?to=%40evil.example", "/"),
        ("?to=%2Fme%3Fa%3Db", "/me?a=b"),
    ] {
        let mut browser = Browser::new(&service);
        let page = browser.sign_in_until(&service, "ada+auditors", to, "").await;
        assert_eq!(page.url.as_str(), format!("{}{lands}", service.url), "{to}");
        assert_eq!(page.status, 200);
    }
    let mut browser = Browser::new(&service);
    let page =
        browser.send(Method::GET, &format!("{}/me", service.url), &[("host", "evil.example")], None).await;
    assert_eq!((page.status, page.field("location")), (307, format!("{}/me", service.url).as_str()));
    let page = browser
        .send(Method::POST, &format!("{}/sign-out", service.url), &[("host", "evil.example")], None)
        .await;
    assert_eq!(page.status, 403);
}

#[tokio::test]
async fn what_changes_things_needs_a_form_of_this_visit_from_a_page_of_ours() {
    let service = Service::start("");
    let mut browser = Browser::new(&service);
    let mut other = Browser::new(&service);
    let csrf = browser.sign_in(&service, "ada+auditors").await.csrf();
    let others = other.sign_in(&service, "eve+auditors").await.csrf();
    assert_ne!(csrf, others);
    let url = format!("{}/sign-out", service.url);
    let (ours, evil) = (service.url.as_str(), "https://evil.example");
    let same = ("sec-fetch-site", "same-origin");
    let cases: [(Pairs<'_>, Pairs<'_>); 9] = [
        (&[("origin", ours), same], &[]),
        (&[("origin", ours), same], &[("csrf", "")]),
        (&[("origin", ours), same], &[("csrf", &others)]),
        (&[("origin", ours), same], &[("csrf", &csrf), ("csrf", &others)]),
        (&[("origin", evil), same], &[("csrf", &csrf)]),
        (&[("origin", "null"), same], &[("csrf", &csrf)]),
        (&[], &[("csrf", &csrf)]),
        (&[("origin", ours), ("sec-fetch-site", "cross-site")], &[("csrf", &csrf)]),
        (&[("origin", ours), ("sec-fetch-site", "same-site")], &[("csrf", &csrf)]),
    ];
    for (fields, form) in cases {
        let page = browser.send(Method::POST, &url, fields, Some(form)).await;
        assert_eq!(page.status, 403, "{fields:?} {form:?}");
        assert_eq!(browser.get(&format!("{}/me", service.url)).await.status, 200, "still signed in");
    }
    // In the address it is no form.
    let page = browser.send(Method::GET, &format!("{url}?csrf={csrf}"), &[], None).await;
    assert_eq!(page.status, 405);
    assert_eq!(browser.post(&service, "/sign-out", &[("csrf", &csrf)]).await.status, 303);
}

#[tokio::test]
async fn every_answer_tells_browsers_to_run_and_load_our_own_files_alone() {
    let service = Service::start("");
    let mut browser = Browser::new(&service);
    for path in ["/", "/sign-in", "/sign-in/callback?code=x&state=y", "/nothing-here", "/assets/x"] {
        let page = browser.get(&format!("{}{path}", service.url)).await;
        let policy = page.field("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("strict-transport-security", "max-age=31536000"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(page.field(name), value, "{path} {name}");
        }
        assert!(!page.body.contains("style=\"") && !page.body.contains("<script>"), "{path}");
    }
    let signing_in = browser.get(&format!("{}/sign-in/go", service.url)).await;
    let cookie = signing_in.field("set-cookie");
    assert!(cookie.starts_with("__Host-weir-signing-in="), "{cookie}");
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=600"), "{cookie}");
}
