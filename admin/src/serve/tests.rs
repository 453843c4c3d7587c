//! The service as data planes and people meet it: a real socket, a real API, tokens of the development issuer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinHandle;
use weir_control::{
    Frames, HoldRequest, Protocol, Revocation, Secret, SessionSummary, State, ToAdmin, ToDataplane, VERSION,
    encode,
};
use weir_policy::{Approval, Timestamp};

use super::{Hub, api, control, issuers, watch};
use crate::cli::{ServiceArg, TokenArgs};
use crate::config::Config;
use crate::service::Service;
use crate::state::{Status, StoredHold};
use crate::{clock, dev, setup, tls};

const ACCESS: &str = r#"
[[connection]]
name = "clinic"
protocol = "postgres"
upstream = "127.0.0.1:9"
tls = "off"
database = "clinic"

[[role]]
connection = "clinic"
name = "trusted"
user = "u"
trust = true

[[role]]
connection = "clinic"
name = "job"
user = "u"
password_file = "pw"

[[connection]]
name = "api"
protocol = "http"
upstream = "127.0.0.1:9"
tls = "off"

[[role]]
connection = "api"
name = "job"
authorization_file = "pw"

[[grant]]
connection = "clinic"
role = "job"
groups = ["jobs"]
"#;

/// A running service over one directory; started again with the same directory, it is the same service after a crash.
struct Running {
    dir: Arc<TempDir>,
    hub: Arc<Hub>,
    url: String,
    tasks: Vec<JoinHandle<()>>,
    _issuer: Arc<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn start() -> Running {
    tls::install_provider();
    let dir = Arc::new(TempDir::new().unwrap());
    let issuer = dev::DevIssuer::open(&dir.path().join("issuer")).unwrap();
    let (url, serving) = issuer.serve(TcpListener::bind("127.0.0.1:0").await.unwrap()).await.unwrap();
    let serving = Arc::new(tokio::spawn(serving));
    let d = dir.path().display();
    let config = format!(
        "[control]\nsocket = \"{d}/control.sock\"\n[admin]\nlisten = \"127.0.0.1:0\"\ndatabase = \"{d}/admin.db\"\n\
         keys = \"{d}/keys\"\naccess = \"{d}/access\"\nadministrators = [\"admins\"]\nauditors = [\"auditors\"]\n\
         [[issuer]]\nissuer = \"{url}\"\naudiences = [\"weir\"]\nalgorithms = [\"ES256\"]\n"
    );
    std::fs::write(dir.path().join("weir.toml"), config).unwrap();
    let config = Config::load(&dir.path().join("weir.toml")).unwrap();
    setup::fill(&config).await.unwrap();
    crate::keys::write_secret(&dir.path().join("access/pw"), b"hunter2\n").unwrap();
    std::fs::write(dir.path().join("access/a.toml"), ACCESS).unwrap();
    crate::apply::apply(&config).await.unwrap();
    serve(dir, serving).await
}

async fn serve(dir: Arc<TempDir>, issuer: Arc<JoinHandle<()>>) -> Running {
    let config = Config::load(&dir.path().join("weir.toml")).unwrap();
    let hub = Arc::new(Hub::open(config).await.unwrap());
    let door = control::Door::bind(&hub.config.control).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = api::router(hub.clone());
    let tasks = vec![
        tokio::spawn(control::serve(door, hub.clone())),
        tokio::spawn(watch(hub.clone())),
        tokio::spawn(issuers::refresh(hub.clone())),
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }),
    ];
    Running { dir, hub, url, tasks, _issuer: issuer }
}

impl Running {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn person(&self, subject: &str, groups: &[&str]) -> Service {
        let token = token(&self.path("issuer"), subject, groups, &[]);
        let token_file = self.path(&format!("token-{subject}"));
        std::fs::write(&token_file, token).unwrap();
        Service::new(&ServiceArg { url: self.url.clone(), token_file }).unwrap()
    }

    async fn restart(self) -> Self {
        let (dir, issuer) = (self.dir.clone(), self._issuer.clone());
        drop(self);
        serve(dir, issuer).await
    }
}

fn token(dir: &Path, subject: &str, groups: &[&str], claims: &[&str]) -> String {
    dev::token(&TokenArgs {
        dir: dir.to_owned(),
        sub: subject.into(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ttl: Duration::from_secs(60),
        aud: "weir".into(),
        claims: claims.iter().map(|claim| (*claim).to_owned()).collect(),
    })
    .unwrap()
}

/// A data plane's end of the control socket.
struct Dataplane {
    stream: UnixStream,
    frames: Frames,
}

impl Dataplane {
    async fn dial(running: &Running, boot: u64) -> Self {
        let stream = UnixStream::connect(running.path("control.sock")).await.unwrap();
        let mut this = Self { stream, frames: Frames::default() };
        this.say(&ToAdmin::Hello { version: VERSION, node: "n1".into(), pid: 1, boot }).await;
        this
    }

    async fn say(&mut self, message: &ToAdmin) {
        self.stream.write_all(&encode(message).unwrap()).await.unwrap();
    }

    /// The next message that is no heartbeat; `None` when admin closed the link.
    async fn any(&mut self) -> Option<ToDataplane> {
        let mut buffer = [0; 4096];
        loop {
            match self.frames.pop().unwrap() {
                Some(ToDataplane::Current { .. }) => continue,
                Some(message) => return Some(message),
                None => {}
            }
            let reading = tokio::time::timeout(Duration::from_secs(10), self.stream.read(&mut buffer));
            match reading.await.expect("admin said nothing").unwrap() {
                0 => return None,
                length => self.frames.push(&buffer[..length]),
            }
        }
    }

    /// The next message that is neither heartbeat nor state.
    async fn hear(&mut self) -> ToDataplane {
        loop {
            let message = self.any().await.expect("admin closed the link");
            if !matches!(message, ToDataplane::State(_)) {
                return message;
            }
        }
    }

    /// Waits for a state that satisfies a condition.
    async fn state(&mut self, wanted: impl Fn(&State) -> bool) -> State {
        loop {
            let message = self.any().await.expect("admin closed the link");
            if let ToDataplane::State(state) = message
                && wanted(&state)
            {
                return *state;
            }
        }
    }
}

fn request(running: &Running, hold: &str, quorum: u8, lives_ms: u64) -> Box<HoldRequest> {
    let now = clock::unix_ms();
    Box::new(HoldRequest {
        hold: hold.into(),
        session: "s".into(),
        at_unix_ms: now,
        expires_unix_ms: now + lives_ms,
        rule: "delete-without-where".into(),
        message: "why".into(),
        approvers: vec!["privacy-officers".into()],
        quorum,
        digest: "11".repeat(32),
        rule_hash: "22".repeat(32),
        scope: None,
        issuer: running.hub.config.issuers[0].issuer.clone(),
        subject: "job-7".into(),
        groups: vec!["jobs".into()],
        claims: vec![],
        run: None,
        purpose: None,
        connection: "clinic".into(),
        role: "job".into(),
        command: "DELETE FROM visits".into(),
        binds: vec![],
        facts: serde_json::json!({}),
        in_transaction: false,
    })
}

async fn answer(service: &Service, hold: &str, verb: &str) -> Result<Status, String> {
    let body = super::Answer { reason: Some("ticket 812".into()), run: None };
    let stored: anyhow::Result<StoredHold> = service.post(&["holds", hold, verb], &body).await;
    stored.map(|stored| stored.status).map_err(|error| error.to_string())
}

/// Waits until the hold has reached the database.
async fn arrived(running: &Running, hold: &str) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while running.hub.store.hold(hold).await.unwrap().is_none() {
        assert!(tokio::time::Instant::now() < deadline, "hold {hold} never arrived");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_data_plane_gets_the_state_at_once_and_the_issuers_keys_as_soon_as_they_are_fetched() {
    let running = start().await;
    let mut dataplane = Dataplane::dial(&running, 1).await;
    let state = dataplane.state(|state| state.issuers[0].jwks.is_some()).await;
    assert_eq!(state.connections.len(), 2);
    assert_eq!(state.grants.len(), 1);
    assert_eq!(state.approval_keys, [running.hub.keys.approval_public()]);
    let verifier = weir_token::Verifier::new(&state.issuers).unwrap();
    let token = token(&running.path("issuer"), "job-7", &["jobs"], &[]);
    assert_eq!(verifier.verify(token.as_bytes(), clock::now()).unwrap().identity.groups, ["jobs"]);
}

#[tokio::test]
async fn a_change_applied_beside_the_service_is_pushed() {
    let running = start().await;
    let mut dataplane = Dataplane::dial(&running, 1).await;
    let before = dataplane.state(|_| true).await;
    let more = ACCESS.replace("groups = [\"jobs\"]", "groups = [\"jobs\", \"night\"]");
    std::fs::write(running.path("access/a.toml"), more).unwrap();
    crate::apply::apply(&running.hub.config).await.unwrap();
    let after = dataplane.state(|state| state.grants[0].groups.len() == 2).await;
    assert!(after.version > before.version);
}

#[tokio::test]
async fn a_quorum_of_distinct_approvers_releases_and_nobody_else() {
    let running = start().await;
    let mut dataplane = Dataplane::dial(&running, 1).await;
    let state = dataplane.state(|state| state.issuers[0].jwks.is_some()).await;
    dataplane.say(&ToAdmin::Hold(request(&running, "h-1", 2, 60_000))).await;
    arrived(&running, "h-1").await;
    let requester = running.person("job-7", &["privacy-officers", "admins"]);
    let outsider = running.person("mallory", &["jobs", "admins"]);
    let (olivia, oscar) =
        (running.person("olivia", &["privacy-officers"]), running.person("oscar", &["privacy-officers"]));
    for (who, verb, says) in [
        (&requester, "approve", "own command"),
        (&requester, "deny", "own command"),
        (&outsider, "approve", "only members of privacy-officers"),
        (&outsider, "deny", "only members of privacy-officers"),
    ] {
        let refusal = answer(who, "h-1", verb).await.unwrap_err();
        assert!(refusal.contains(says), "{refusal}");
    }
    assert_eq!(answer(&olivia, "h-", "approve").await, Ok(Status::Waiting));
    assert!(answer(&olivia, "h-1", "approve").await.unwrap_err().contains("already"));
    assert_eq!(answer(&oscar, "h-1", "approve").await, Ok(Status::Approved));
    assert!(answer(&oscar, "h-1", "deny").await.unwrap_err().contains("approved before"));
    let ToDataplane::Release(release) = dataplane.hear().await else { panic!("no release") };
    let [claim, signature, key] =
        [&release.claim, &release.signature, &state.approval_keys[0]].map(|text| hex::decode(text).unwrap());
    let approval = Approval::verify(&claim, &signature, &key).unwrap();
    assert_eq!(approval.hold(), "h-1");
    assert_eq!(approval.approvers().len(), 2);
    assert!(approval.approvers()[0].starts_with("olivia ("), "{:?}", approval.approvers());
    assert!(approval.expires() > Timestamp::from_unix_ms(clock::unix_ms()));
}

#[tokio::test]
async fn one_refusal_refuses_with_who_and_why() {
    let running = start().await;
    let mut dataplane = Dataplane::dial(&running, 1).await;
    dataplane.say(&ToAdmin::Hold(request(&running, "h-1", 2, 60_000))).await;
    arrived(&running, "h-1").await;
    let olivia = running.person("olivia", &["privacy-officers"]);
    let oscar = running.person("oscar", &["privacy-officers"]);
    assert_eq!(answer(&olivia, "h-1", "approve").await, Ok(Status::Waiting));
    assert_eq!(answer(&oscar, "h-1", "deny").await, Ok(Status::Denied));
    let ToDataplane::Refuse(refusal) = dataplane.hear().await else { panic!("no refusal") };
    assert_eq!((refusal.hold.as_str(), refusal.outcome.as_str()), ("h-1", "denied"));
    assert!(refusal.by.unwrap().starts_with("oscar"));
    assert_eq!(refusal.reason.as_deref(), Some("ticket 812"));
}

#[tokio::test]
async fn a_hold_that_nobody_answers_expires_and_cannot_be_answered_then() {
    let running = start().await;
    let mut dataplane = Dataplane::dial(&running, 1).await;
    dataplane.say(&ToAdmin::Hold(request(&running, "h-1", 1, 300))).await;
    let ToDataplane::Refuse(refusal) = dataplane.hear().await else { panic!("no refusal") };
    assert_eq!(refusal.outcome, "expired");
    let olivia = running.person("olivia", &["privacy-officers"]);
    assert!(answer(&olivia, "h-1", "approve").await.unwrap_err().contains("expired"));
    // One that is over already is answered, not kept.
    let mut late = request(&running, "h-2", 1, 0);
    late.expires_unix_ms = 1;
    dataplane.say(&ToAdmin::Hold(late)).await;
    assert!(matches!(dataplane.hear().await, ToDataplane::Refuse(refusal) if refusal.hold == "h-2"));
}

#[tokio::test]
async fn a_pending_hold_survives_a_restart_of_admin_and_a_reconnect() {
    let running = start().await;
    let mut dataplane = Dataplane::dial(&running, 7).await;
    dataplane.say(&ToAdmin::Hold(request(&running, "h-1", 1, 60_000))).await;
    arrived(&running, "h-1").await;
    let running = running.restart().await;
    // Approved while no data plane is linked: told as soon as it is back, and again after another break.
    let olivia = running.person("olivia", &["privacy-officers"]);
    assert_eq!(answer(&olivia, "h-1", "approve").await, Ok(Status::Approved));
    for _ in 0..2 {
        let mut dataplane = Dataplane::dial(&running, 7).await;
        assert!(matches!(dataplane.hear().await, ToDataplane::Release(release) if release.hold == "h-1"));
    }
}

#[tokio::test]
async fn holds_of_a_data_planes_former_life_are_withdrawn() {
    let running = start().await;
    let mut dataplane = Dataplane::dial(&running, 7).await;
    dataplane.say(&ToAdmin::Hold(request(&running, "h-1", 1, 60_000))).await;
    dataplane.say(&ToAdmin::Hold(request(&running, "h-2", 1, 60_000))).await;
    dataplane.say(&ToAdmin::Withdraw { hold: "h-2".into(), reason: "client left".into() }).await;
    arrived(&running, "h-2").await;
    let mut successor = Dataplane::dial(&running, 8).await;
    let olivia = running.person("olivia", &["privacy-officers"]);
    successor.say(&ToAdmin::Hold(request(&running, "h-3", 1, 60_000))).await;
    arrived(&running, "h-3").await;
    for hold in ["h-1", "h-2"] {
        assert!(answer(&olivia, hold, "approve").await.unwrap_err().contains("withdrawn"), "{hold}");
    }
    assert_eq!(answer(&olivia, "h-3", "approve").await, Ok(Status::Approved));
}

#[tokio::test]
async fn a_revocation_is_in_force_before_the_sessions_end() {
    let running = start().await;
    let mut dataplane = Dataplane::dial(&running, 1).await;
    let issuer = running.hub.config.issuers[0].issuer.clone();
    dataplane.state(|state| state.issuers[0].jwks.is_some()).await;
    let revoke = super::Revoke {
        issuer: issuer.clone(),
        subject: Some("job-7".into()),
        token: None,
        reason: "left".into(),
    };
    let auditor = running.person("ada", &["auditors"]);
    let refused: anyhow::Result<Revocation> = auditor.post(&["revocations"], &revoke).await;
    assert!(refused.unwrap_err().to_string().contains("only administrators"));
    let _: Revocation = running.person("root", &["admins"]).post(&["revocations"], &revoke).await.unwrap();
    dataplane.state(|state| !state.revocations.is_empty()).await;
    assert!(
        matches!(dataplane.hear().await, ToDataplane::End(weir_control::Ending::Subject { subject, .. }) if subject == "job-7")
    );
    // The revoked person's older token opens no door here either.
    let older = format!("iat={}", clock::unix_ms() / 1_000 - 10);
    let token_file = running.path("token-older");
    std::fs::write(&token_file, token(&running.path("issuer"), "job-7", &["admins"], &[&older])).unwrap();
    let me = Service::new(&ServiceArg { url: running.url.clone(), token_file }).unwrap();
    let refused = me.get::<Vec<StoredHold>>(&["holds"], &[]).await.unwrap_err();
    assert_eq!(refused.to_string(), "token was not accepted");
}

#[tokio::test]
async fn live_sessions_are_listed_and_killed_by_administrators_alone() {
    let running = start().await;
    let mut dataplane = Dataplane::dial(&running, 1).await;
    dataplane.state(|state| state.issuers[0].jwks.is_some()).await;
    let session = SessionSummary {
        session: "01ABC".into(),
        issuer: "i".into(),
        subject: "job-7".into(),
        groups: vec![],
        run: None,
        connection: "clinic".into(),
        role: "job".into(),
        protocol: Protocol::Postgres,
        client: "127.0.0.1:1".into(),
        opened_unix_ms: 1,
    };
    dataplane.say(&ToAdmin::SessionOpened(Box::new(session.clone()))).await;
    let (root, auditor) = (running.person("root", &["admins"]), running.person("ada", &["auditors"]));
    let nobody = running.person("nobody", &[]);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while running.hub.live().is_empty() {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    let listed: Vec<SessionSummary> = auditor.get(&["sessions"], &[]).await.unwrap();
    assert_eq!(listed, [session]);
    assert!(nobody.get::<Vec<SessionSummary>>(&["sessions"], &[]).await.is_err());
    let kill = super::Kill { reason: "runaway".into() };
    assert!(auditor.post::<SessionSummary>(&["sessions", "01A", "kill"], &kill).await.is_err());
    assert!(root.post::<SessionSummary>(&["sessions", "99", "kill"], &kill).await.is_err());
    root.post::<SessionSummary>(&["sessions", "01A", "kill"], &kill).await.unwrap();
    assert!(
        matches!(dataplane.hear().await, ToDataplane::End(weir_control::Ending::Session { session, .. }) if session == "01ABC")
    );
}

#[tokio::test]
async fn credentials_are_minted_for_what_is_in_force_and_refusals_say_nothing() {
    let running = start().await;
    let mut dataplane = Dataplane::dial(&running, 1).await;
    let mint = |ask, connection: &str, role: &str| ToAdmin::Mint {
        ask,
        session: "s".into(),
        connection: connection.into(),
        role: role.into(),
        subject: "job-7".into(),
        stale: false,
    };
    dataplane.say(&mint(1, "clinic", "trusted")).await;
    let ToDataplane::Minted { ask: 1, credential } = dataplane.hear().await else { panic!("not minted") };
    assert_eq!(credential.user, "u");
    assert!(matches!(credential.secret, Secret::None));
    dataplane.say(&mint(2, "api", "job")).await;
    let ToDataplane::Minted { ask: 2, credential } = dataplane.hear().await else { panic!("not minted") };
    assert!(matches!(&credential.secret, Secret::Plain { value } if value == "hunter2"));
    // An unknown role, and an upstream that is not there.
    for (ask, role, says) in [(3, "nobody", "admin service's log"), (4, "job", "out of reach")] {
        dataplane.say(&mint(ask, "clinic", role)).await;
        let ToDataplane::NotMinted { ask: answered, reason } = dataplane.hear().await else {
            panic!("minted")
        };
        assert_eq!(answered, ask);
        assert!(reason.contains("\"clinic\"") && reason.contains(says), "{reason}");
        assert!(!reason.contains("hunter2") && !reason.contains("127.0.0.1"), "{reason}");
    }
}

#[tokio::test]
async fn the_control_socket_closes_on_strangers() {
    let running = start().await;
    // A later protocol, no hello, no message at all of this protocol.
    let later = encode(&ToAdmin::Hello { version: VERSION + 1, node: "n".into(), pid: 1, boot: 1 }).unwrap();
    let no_hello = encode(&ToAdmin::Applied { version: 1 }).unwrap();
    for bytes in [later, no_hello, b"GET / HTTP/1.1\r\n\r\n".to_vec()] {
        let mut stream = UnixStream::connect(running.path("control.sock")).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        assert!(closed.is_ok() && answer.is_empty(), "{answer:?}");
    }
}

#[tokio::test]
async fn the_api_refuses_bad_tokens_with_one_vague_text_and_follows_rotated_keys() {
    let running = start().await;
    let mut dataplane = Dataplane::dial(&running, 1).await;
    let first = dataplane.state(|state| state.issuers[0].jwks.is_some()).await;
    let forged = running.path("forged");
    for bad in ["", "x", "a.b.c"] {
        std::fs::write(&forged, bad).unwrap();
        let service =
            Service::new(&ServiceArg { url: running.url.clone(), token_file: forged.clone() }).unwrap();
        let refusal = service.get::<Vec<StoredHold>>(&["holds"], &[]).await.unwrap_err().to_string();
        assert!(refusal == "token was not accepted" || refusal == "no bearer token", "{refusal}");
    }
    // The issuer rotates: its next token names a key that nobody has seen, and is accepted all the same.
    std::fs::remove_file(running.path("issuer/key.pk8")).unwrap();
    dev::DevIssuer::open(&running.path("issuer")).unwrap();
    let olivia = running.person("olivia", &["privacy-officers"]);
    let holds: Vec<StoredHold> = olivia.get(&["holds"], &[]).await.unwrap();
    assert!(holds.is_empty());
    dataplane.state(|state| state.issuers[0].jwks != first.issuers[0].jwks).await;
}

#[tokio::test]
async fn the_api_is_as_its_description_says() {
    let running = start().await;
    let client = reqwest::Client::new();
    let document: serde_json::Value =
        client.get(format!("{}/v1/openapi.json", running.url)).send().await.unwrap().json().await.unwrap();
    // Every route of the source is described, and every one that is described is there.
    let routes = include_str!("api.rs").matches(".route(\"").count();
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), routes);
    for (path, verbs) in paths {
        assert!(include_str!("api.rs").contains(&format!(".route(\"{path}\"")), "{path}");
        let url = format!("{}{}", running.url, path.replace("{hold}", "h").replace("{session}", "s"));
        for verb in ["get", "post", "put", "delete"] {
            let method = reqwest::Method::from_bytes(verb.to_uppercase().as_bytes()).unwrap();
            let answer = client.request(method, &url).send().await.unwrap();
            let described = &verbs[verb];
            let expected = match (described.is_null(), described["security"].is_null()) {
                (true, _) => 405,
                (false, true) => 401,
                (false, false) => 200,
            };
            assert_eq!(answer.status().as_u16(), expected, "{verb} {path}");
            if expected == 401 {
                assert_eq!(answer.headers()["content-type"], "application/problem+json");
                let problem: serde_json::Value = answer.json().await.unwrap();
                assert_eq!(
                    (&problem["status"], &problem["detail"]),
                    (&401.into(), &"no bearer token".into())
                );
            }
        }
    }
    // What somebody sends that is nothing of the API's is a problem, too.
    let token = token(&running.path("issuer"), "root", &["admins"], &[]);
    for body in ["", "{", "{\"reason\": 1}", "{\"reasons\": \"x\"}"] {
        let url = format!("{}/v1/holds/h/approve", running.url);
        let request = client.post(url).bearer_auth(&token).header("content-type", "application/json");
        let answer = request.body(body).send().await.unwrap();
        assert!(answer.status().is_client_error(), "{body}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{body}");
    }
}
