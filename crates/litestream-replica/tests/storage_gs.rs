//! The conformance suite against the emulator of Google Cloud Storage.

#![cfg(feature = "gs")]

mod storage;

use std::sync::Arc;

use litestream_replica::env::real;
use litestream_replica::gs::GsReplica;
use litestream_replica::limits::Limits;
use litestream_replica::retry::{Patience, Retrying};
use litestream_replica::settings::Storage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_emulator() {
    let env = real::env();
    let open = |below: &str| {
        let Storage::Gs(settings) = Storage::from_url(&format!("gs://testb/{below}")).unwrap()
        else {
            panic!("another storage")
        };
        let limits = Limits::none(env.clock.clone());
        let replica = GsReplica::at(&settings, Some("127.0.0.1:17123"), &Opening::command(&env)).unwrap();
        Arc::new(Retrying::new(
            Arc::new(replica),
            env.clock.clone(),
            Patience::COMMAND,
        )) as _
    };
    storage::conforms_by(open).await;
}
