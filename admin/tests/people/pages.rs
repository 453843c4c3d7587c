//! What each role sees and may do in the pages, on holds and sessions of a data plane; and what somebody wrote into them.

use weir_control::{Ending, ToDataplane};

use crate::browser::{Browser, Page};
use crate::service::{Dataplane, Service, held, opened};

const SESSION: &str = "01JDNQ0000000000000000000B";
const PATHS: [&str; 7] =
    ["/", "/approvals", "/sessions", "/policy", "/identities", "/connections", "/evidence"];

/// A held command of job-7, and a live session.
fn busy(service: &Service) -> Dataplane {
    let mut dataplane = service.dataplane();
    dataplane.say(&held(&service.provider.url, "h-1", "job-7", "DELETE FROM visits"));
    dataplane.say(&opened(&service.provider.url, SESSION, "job-7"));
    dataplane
}

async fn signed_in(service: &Service, who: &str) -> Browser {
    let mut browser = Browser::new(service);
    browser.sign_in(service, who).await;
    browser
}

/// A page that a data plane's message must reach first.
async fn once(browser: &mut Browser, url: &str, text: &str) -> Page {
    let begun = std::time::Instant::now();
    loop {
        let page = browser.get(url).await;
        if page.body.contains(text) {
            return page;
        }
        assert!(begun.elapsed().as_secs() < 120, "{text:?} never came: {page:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Posts with the visit's own token.
async fn does(browser: &mut Browser, service: &Service, path: &str, form: &[(&str, &str)]) -> Page {
    let csrf = browser.get(&format!("{}/me", service.url)).await.csrf();
    let form: Vec<(&str, &str)> = form.iter().copied().chain([("csrf", csrf.as_str())]).collect();
    browser.post(service, path, &form).await
}

#[tokio::test]
async fn each_role_sees_and_does_what_it_may_and_nothing_else() {
    let service = Service::start("");
    let _dataplane = busy(&service);
    let url = |path: &str| format!("{}{path}", service.url);
    let mut auditor = signed_in(&service, "ada+auditors").await;
    once(&mut auditor, &url("/approvals"), "DELETE FROM visits").await;
    once(&mut auditor, &url("/sessions"), SESSION).await;
    let session = format!("/sessions/{SESSION}");
    let kill = format!("{session}/kill");
    // Who, what the pages answer, the hold, the session; and approving, killing, revoking.
    let cases = [
        ("nobody+jobs", [303, 200, 403, 403, 403, 403, 403], 404, 403, [403, 403, 403]),
        ("vic+engineers", [200; 7], 404, 200, [403, 403, 403]),
        ("ann+privacy-officers", [303, 200, 403, 403, 403, 403, 403], 200, 403, [0, 403, 403]),
        ("ada+auditors", [200; 7], 200, 200, [403, 403, 403]),
        ("root+admins", [200; 7], 200, 200, [403, 0, 0]),
    ];
    for (who, statuses, hold, of_session, deeds) in cases {
        let mut browser = signed_in(&service, who).await;
        for (path, status) in PATHS.into_iter().zip(statuses) {
            assert_eq!(browser.get(&url(path)).await.status, status, "{who} {path}");
        }
        assert_eq!(browser.get(&url("/approvals/h-1")).await.status, hold, "{who}");
        assert_eq!(browser.get(&url(&session)).await.status, of_session, "{who}");
        let issuer = service.provider.url.as_str();
        let forms: [(&str, &[(&str, &str)]); 3] = [
            ("/approvals/h-1", &[("verdict", "approve")]),
            (&kill, &[("reason", "x")]),
            ("/identities/revoke", &[("issuer", issuer), ("subject", "job-9"), ("reason", "x")]),
        ];
        for ((path, form), status) in forms.into_iter().zip(deeds) {
            // What may be done has a test of its own.
            if status != 0 {
                assert_eq!(does(&mut browser, &service, path, form).await.status, status, "{who} {path}");
            }
        }
    }
    let page = auditor.get(&url("/approvals/h-1")).await;
    assert!(page.body.contains("waiting") && !page.body.contains("value=\"approve\""), "{}", page.body);
    assert!(auditor.get(&url("/sessions")).await.body.contains(SESSION), "nobody ended it");
}

#[tokio::test]
async fn nobody_answers_their_own_command_and_somebody_else_releases_it() {
    let service = Service::start("");
    let mut dataplane = busy(&service);
    dataplane.say(&held(&service.provider.url, "h-2", "mallory", "DELETE FROM visits"));
    let mut mallory = signed_in(&service, "mallory+admins+privacy-officers").await;
    let url = format!("{}/approvals/h-2", service.url);
    let page = once(&mut mallory, &url, "Your own command").await;
    assert!(!page.body.contains("value=\"approve\""));
    for verdict in ["approve", "deny"] {
        let page = does(&mut mallory, &service, "/approvals/h-2", &[("verdict", verdict)]).await;
        assert_eq!(page.status, 403);
        assert!(page.body.contains("somebody else must answer"), "{}", page.body);
    }
    let mut olivia = signed_in(&service, "olivia+privacy-officers").await;
    assert!(olivia.get(&url).await.body.contains("Waits for one approval"));
    let page =
        does(&mut olivia, &service, "/approvals/h-2", &[("verdict", "approve"), ("reason", "ticket 812")])
            .await;
    assert_eq!((page.status, page.field("location")), (303, "/approvals/h-2"));
    let released = dataplane.hear(|message| match message {
        ToDataplane::Release(release) => Some(release.hold),
        ToDataplane::Refuse(refusal) => panic!("{refusal:?}"),
        _ => None,
    });
    assert_eq!(released, "h-2");
    let page = olivia.get(&url).await;
    assert!(page.body.contains("Approved by <strong>olivia</strong>: ticket 812"), "{}", page.body);
    // Once.
    let again = does(&mut olivia, &service, "/approvals/h-2", &[("verdict", "deny")]).await;
    assert_eq!(again.status, 409);
}

#[tokio::test]
async fn an_administrator_ends_sessions_and_turns_people_away_at_once() {
    let service = Service::start("");
    let mut dataplane = busy(&service);
    let mut root = signed_in(&service, "root+admins").await;
    once(&mut root, &format!("{}/sessions", service.url), SESSION).await;
    let kill = format!("/sessions/{SESSION}/kill");
    assert_eq!(does(&mut root, &service, &kill, &[("reason", " ")]).await.status, 400);
    assert_eq!(does(&mut root, &service, &kill, &[("reason", "runaway")]).await.status, 303);
    let ended = dataplane.hear(|message| match message {
        ToDataplane::End(Ending::Session { session, reason }) => Some((session, reason)),
        _ => None,
    });
    assert_eq!(ended, (SESSION.to_owned(), "runaway".to_owned()));
    let mut olivia = signed_in(&service, "olivia+privacy-officers").await;
    let form = [("issuer", service.provider.url.as_str()), ("subject", "olivia"), ("reason", "left")];
    // Tokens are dated in seconds: hers must be older than the revocation.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    assert_eq!(does(&mut root, &service, "/identities/revoke", &form).await.status, 303);
    let out = olivia.get(&format!("{}/approvals", service.url)).await;
    assert_eq!((out.status, out.field("location")), (303, "/sign-in?to=%2Fapprovals"));
    assert!(root.get(&format!("{}/identities", service.url)).await.body.contains("<strong>olivia</strong>"));
}

#[tokio::test]
async fn whatever_was_written_into_a_command_or_a_name_is_text_on_every_page() {
    let service = Service::start("");
    let mut dataplane = service.dataplane();
    let hostile = "'\"><script>alert(1)</script><img src=x onerror=alert(1)>\u{202e}';--";
    dataplane.say(&held(hostile, "h-1", hostile, hostile));
    let weir_control::ToAdmin::Hold(mut all) = held(hostile, "h-2", hostile, hostile) else { unreachable!() };
    for field in [&mut all.rule, &mut all.message, &mut all.connection, &mut all.role, &mut all.session] {
        hostile.clone_into(field);
    }
    all.claims = vec![(hostile.into(), hostile.into())];
    (all.run, all.purpose) = (Some(hostile.into()), Some(hostile.into()));
    all.binds = vec![Some(hostile.into())];
    all.groups = vec![hostile.into()];
    all.facts = serde_json::json!({ hostile: [hostile] });
    dataplane.say(&weir_control::ToAdmin::Hold(all));
    dataplane.say(&opened(hostile, SESSION, hostile));
    let mut root = signed_in(&service, "root+admins+privacy-officers").await;
    once(&mut root, &format!("{}/sessions", service.url), SESSION).await;
    let session = format!("/sessions/{SESSION}");
    let paths = PATHS.into_iter().chain(["/approvals/h-1", "/approvals/h-2", "/approvals?all=1", &session]);
    let mut shown = 0;
    for path in paths {
        let page = root.get(&format!("{}{path}", service.url)).await;
        assert_eq!(page.status, 200, "{path}");
        for raw in ["<script>alert", "<img src=x", "\u{202e}"] {
            assert!(!page.body.contains(raw), "{path}: {raw}");
        }
        shown += page.body.matches("&lt;script&gt;alert(1)&lt;/script&gt;").count();
    }
    assert!(shown > 20, "it is there as text, {shown} times");
    // What is asked for in the address, too.
    let page = root
        .get(&format!("{}/sessions?subject=%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E&with='", service.url))
        .await;
    assert!(page.body.contains("value=\"&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;\""), "{}", page.body);
    let tried = does(&mut root, &service, "/policy", &[("command", hostile)]).await;
    assert_eq!(tried.status, 200);
    assert!(!tried.body.contains("<script>alert"), "{}", tried.body);
}

#[tokio::test]
async fn every_form_is_refused_without_its_visits_token() {
    let service = Service::start("");
    let _dataplane = busy(&service);
    let mut root = signed_in(&service, "root+admins+privacy-officers").await;
    let kill = format!("/sessions/{SESSION}/kill");
    let other = "A".repeat(43);
    for (path, form) in [
        ("/approvals/h-1", &[("verdict", "approve")][..]),
        (&kill, &[("reason", "x")]),
        ("/policy", &[("command", "SELECT 1")]),
        ("/identities/revoke", &[("issuer", "i"), ("subject", "s"), ("reason", "x")]),
        ("/sign-out", &[]),
    ] {
        assert_eq!(root.post(&service, path, form).await.status, 403, "{path}");
        let forged: Vec<(&str, &str)> = form.iter().copied().chain([("csrf", other.as_str())]).collect();
        assert_eq!(root.post(&service, path, &forged).await.status, 403, "{path}");
    }
    assert_eq!(root.get(&format!("{}/me", service.url)).await.status, 200);
}

#[tokio::test]
async fn an_open_page_is_told_of_changes_and_of_its_visits_end() {
    let service = Service::start("idle = \"3s\"");
    let mut dataplane = service.dataplane();
    let mut olivia = signed_in(&service, "olivia+privacy-officers").await;
    let mut stream = olivia.stream(&format!("{}/live", service.url)).await;
    dataplane.say(&held(&service.provider.url, "h-1", "job-7", "DELETE FROM visits"));
    let mut heard = String::new();
    while !heard.contains("event: changed\ndata: look") {
        let chunk = stream.chunk().await.unwrap().expect("the stream goes on");
        heard.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(!heard.contains("DELETE"), "it says that, not what: {heard}");
    // The visit is idle: an open page does not keep it, and the stream ends with it.
    while stream.chunk().await.unwrap().is_some() {}
    assert_eq!(olivia.get(&format!("{}/approvals", service.url)).await.status, 303);
}
