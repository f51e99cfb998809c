//! Metrics for Prometheus, under the names that Litestream has for them.
//!
//! Databases are looked at when somebody scrapes ([`databases`]), so that nothing is done where nobody does; only operations of replicas
//! are counted as they happen ([`operations`]).

mod databases;
mod exposition;
mod operations;

use std::sync::Arc;

use prometheus::{Registry, TextEncoder};

pub use operations::Operations;

use crate::view::View;
use exposition::{Head, Kind, Samples};

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// See the module.
pub struct Metrics {
    registry: Registry,
    operations: Arc<Operations>,
    view: Arc<dyn View>,
}

impl Metrics {
    /// Of these databases, and of this process.
    pub fn new(view: Arc<dyn View>) -> prometheus::Result<Metrics> {
        let registry = Registry::new();
        let operations = Arc::new(Operations::new(&registry)?);
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        Ok(Metrics {
            registry,
            operations,
            view,
        })
    }

    /// Counts operations of replicas; for [`litestream_replica::metered::Metered`].
    pub fn operations(&self) -> Arc<Operations> {
        self.operations.clone()
    }

    /// All there is, as text.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        let databases = self.view.databases();
        // About what the series of a database take.
        let mut out = String::with_capacity(4096 + databases.len() * 2048);
        databases::write(&mut out, &databases);
        memory_limit(&mut out);
        TextEncoder::new().encode_utf8(&self.registry.gather(), &mut out)?;
        Ok(out)
    }
}

/// The one series of Litestream's about its process that the collector lacks.
fn memory_limit(out: &mut String) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::As).current;
    let head = Head {
        name: "process_virtual_memory_max_bytes",
        kind: Kind::Gauge,
        help: "Maximum amount of virtual memory available in bytes.",
    };
    // As Litestream has it where there is no limit.
    Samples::new(out, head).add(&[], limit.unwrap_or(u64::MAX) as f64);
}

#[cfg(test)]
mod tests;
