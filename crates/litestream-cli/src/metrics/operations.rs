//! What was done with replicas: counted as it happens, since nobody else keeps it.

use litestream_replica::metered::{Observed, OperationObserver};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// The families of Litestream's replicas, for all operations of all backends.
pub struct Operations {
    total: IntCounterVec,
    bytes: IntCounterVec,
    seconds: HistogramVec,
    errors: IntCounterVec,
    retries: IntCounterVec,
}

const BUCKETS: [f64; 9] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0];
const LABELS: [&str; 2] = ["operation", "replica_type"];

impl Operations {
    /// All at zero, and known to the registry.
    pub fn new(registry: &Registry) -> prometheus::Result<Operations> {
        let counter = |name, help, labels: &[&str]| {
            let family = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let seconds = HistogramOpts::new(
            "litestream_replica_operation_duration_seconds",
            "Duration of replica operations by type and operation",
        );
        let seconds = HistogramVec::new(seconds.buckets(BUCKETS.to_vec()), &LABELS)?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Operations {
            total: counter(
                "litestream_replica_operation_total",
                "The number of replica operations performed",
                &LABELS,
            )?,
            bytes: counter(
                "litestream_replica_operation_bytes",
                "The number of bytes used by replica operations",
                &LABELS,
            )?,
            seconds,
            errors: counter(
                "litestream_replica_operation_errors_total",
                "Number of replica operation errors by type, operation, and error code",
                &["code", "operation", "replica_type"],
            )?,
            retries: counter(
                "litestream_replica_retries_total",
                "Number of replica operations that failed for a reason that may pass and are tried again",
                &LABELS,
            )?,
        })
    }
}

impl OperationObserver for Operations {
    fn observe(&self, observed: &Observed<'_>) {
        let labels = [observed.operation.name(), observed.kind];
        let took = observed.took.as_secs_f64();
        self.seconds.with_label_values(&labels).observe(took);
        match observed.outcome {
            Ok(bytes) => {
                self.total.with_label_values(&labels).inc_by(observed.files);
                self.bytes.with_label_values(&labels).inc_by(bytes);
            }
            Err(error) => {
                let [operation, kind] = labels;
                let labels_of_error = [error.kind().code(), operation, kind];
                self.errors.with_label_values(&labels_of_error).inc();
                if error.is_retryable() {
                    self.retries.with_label_values(&labels).inc();
                }
            }
        }
    }
}
