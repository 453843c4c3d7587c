//! The machines, made for one connection each.

use std::any::Any;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use weir_http::{HttpMachine, Settings};
use weir_policy::MaskPlan;
use weir_postgres::{Catalog, CatalogSource, Limits as PostgresLimits, PostgresMachine, Proof};
use weir_ssh::SshMachine;

use crate::limits::Limits;
use crate::roll::Live;
use crate::worker::Worker;

pub(crate) const fn postgres_limits(limits: &Limits) -> PostgresLimits {
    PostgresLimits {
        startup_bytes: limits.startup_packet_bytes,
        token_bytes: limits.token_bytes,
        statement_bytes: limits.statement_bytes,
        message_bytes: limits.message_bytes,
        statements: 8_192,
        statements_bytes: 32 << 20,
        pipeline: 16_384,
    }
}

/// `None`: admin has sent no state yet.
pub(crate) fn postgres(worker: &Worker, live: &Rc<Live>, proof: Proof) -> Option<PostgresMachine> {
    let limits = postgres_limits(&worker.shared.config.limits);
    let (facts, owner) = (Rc::clone(&worker.facts), Rc::clone(live));
    // The identity, once it is known, pays for its texts' place in the cache.
    let source = move |text: &[u8]| facts.borrow_mut().facts(text, owner.owner.get());
    let catalogs = Rc::new(CatalogsOf(Rc::clone(live)));
    let key = worker.keys()?.shared;
    Some(PostgresMachine::new(limits, Rc::new(source), catalogs, key).asking_for(proof))
}

/// Those of whatever upstream the session's login led to.
struct CatalogsOf(Rc<Live>);

impl CatalogSource for CatalogsOf {
    fn version(&self) -> u64 {
        self.0.catalogs.borrow().version()
    }

    fn get(&self, plan: &MaskPlan) -> Option<Rc<Catalog>> {
        self.0.catalogs.borrow().get(plan)
    }

    fn put(&self, catalog: &Rc<Catalog>) {
        self.0.catalogs.borrow().put(catalog);
    }

    fn forget(&self) {
        self.0.catalogs.borrow().forget();
    }

    fn pins(&self, plan: &MaskPlan) -> Vec<weir_postgres::Pin> {
        self.0.catalogs.borrow().pins(plan)
    }

    fn pin(&self, plan: &MaskPlan, pins: Vec<weir_postgres::Pin>) {
        self.0.catalogs.borrow().pin(plan, pins);
    }
}

/// `None`: admin has sent no state yet, or the listener's connection is not in it.
pub(crate) fn http(worker: &Worker, connection: Option<&str>, certified: bool) -> Option<HttpMachine> {
    let standing = worker.standing.borrow().clone()?;
    let upstream = standing.connection(connection?)?;
    let mut settings = Settings { certified, ..Settings::new(upstream.address()) };
    settings.limits.body_bytes = worker.shared.config.limits.body_bytes;
    Some(HttpMachine::new(Rc::new(settings), worker.keys()?.local))
}

/// `None`: admin has sent no state yet.
pub(crate) fn ssh(
    worker: &Worker,
    live: &Live,
    settings: Option<Arc<weir_ssh::Settings>>,
) -> Option<SshMachine> {
    let source = live.client.parse::<SocketAddr>().ok().map(|client| client.ip().to_canonical());
    Some(SshMachine::new(settings?, Rc::clone(&worker.ssh), worker.keys()?.local, source))
}

/// Whether an error says that the upstream wants another credential than the one it was given.
pub(crate) fn is_stale<E: 'static>(error: &E) -> bool {
    let error = error as &dyn Any;
    let refused = error.downcast_ref::<weir_ssh::Trouble>().is_some_and(weir_ssh::Trouble::is_refused_login);
    refused || matches!(error.downcast_ref(), Some(weir_postgres::Error::StaleCredential))
}
