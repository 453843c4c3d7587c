//! Signing in at a certified provider, and how long that lasts.

use crate::browser::Browser;
use crate::service::Service;

#[tokio::test]
async fn a_person_signs_in_at_a_certified_provider_with_the_roles_of_their_groups_until_they_sign_out() {
    let service = Service::start("");
    let mut browser = Browser::new(&service);
    let page = browser.get(&service.url).await;
    assert_eq!((page.status, page.field("location")), (303, "/sign-in"));
    let home = browser.sign_in(&service, "olivia+privacy-officers+auditors").await;
    assert!(home.body.contains("olivia of the test"), "{}", home.body);
    let me = browser.get(&format!("{}/me", service.url)).await;
    assert!(me.body.contains("auditor, approver"), "{}", me.body);
    // The session's id is nowhere but in the browser.
    let id = browser.cookie("__Host-weir").unwrap().clone();
    assert_eq!(id.len(), 43);
    let kept = service.kept();
    assert!(!kept.windows(id.len()).any(|window| window == id.as_bytes()));
    assert!(kept.windows(6).any(|window| window == b"olivia"), "the search finds what is there");
    // Signing out ends it here, whatever the browser still has.
    let out = browser.post(&service, "/sign-out", &[("csrf", &home.csrf())]).await;
    assert_eq!((out.status, out.field("location")), (303, "/signed-out"));
    assert_eq!(browser.cookie("__Host-weir"), None);
    browser.plant("localhost", "__Host-weir", &id);
    assert_eq!(browser.get(&service.url).await.status, 303);
    let bye = browser.get(&format!("{}/signed-out", service.url)).await;
    assert!(bye.body.contains(&format!("{}/session/end", service.provider.url)), "{}", bye.body);
}

#[tokio::test]
async fn an_outage_of_the_provider_ends_no_visit_and_its_new_keys_are_followed() {
    let mut service = Service::start("");
    service.provider.tell("down");
    let mut browser = Browser::new(&service);
    let page = browser.get(&format!("{}/sign-in/go", service.url)).await;
    assert_eq!(page.status, 503);
    assert!(page.body.contains("Your issuer does not answer"), "{}", page.body);
    service.provider.tell("up");
    browser.sign_in(&service, "ada+auditors").await;
    // A code that was given before an outage is not lost on the visit that exists.
    let mut late = Browser::new(&service);
    let back = late.sign_in_until(&service, "late+auditors", "", "/sign-in/callback").await;
    service.provider.tell("down");
    let refused = late.follow(back, "").await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.body.contains("Begin again"));
    assert_eq!(browser.get(&format!("{}/me", service.url)).await.status, 200);
    service.provider.tell("up");
    service.provider.tell("rotate");
    // Keys are looked for at most every five seconds; the first attempt may be too early.
    let mut later = Browser::new(&service);
    for attempt in 0.. {
        let page = later.sign_in_until(&service, "oscar+auditors", "", "").await;
        if page.status == 200 {
            assert!(page.body.contains("oscar of the test"));
            break;
        }
        assert!(attempt < 60, "{page:?}");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

#[tokio::test]
async fn an_idle_visit_ends_and_an_open_page_does_not_keep_it() {
    let service = Service::start("idle = \"2s\"\nlongest = \"8h\"");
    let mut browser = Browser::new(&service);
    browser.sign_in(&service, "ada+auditors").await;
    let url = format!("{}/me", service.url);
    let ended = std::time::Instant::now();
    // What a page asks for by itself counts as nobody's doing.
    let page = loop {
        let page = browser.send(reqwest::Method::GET, &url, &[("hx-request", "true")], None).await;
        if page.status != 200 {
            break page;
        }
        assert!(ended.elapsed().as_secs() < 60);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert_eq!((page.status, page.field("hx-redirect")), (401, "/sign-in"));
    assert!(ended.elapsed().as_secs() >= 1);
}
