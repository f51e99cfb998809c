//! The backend against a service that answers by script: what goes over the wire, and what becomes of bad answers.

mod amazon;
mod bad_answers;
mod deletes;
mod lists;
mod recorder;
mod uploads;
mod wire;

use bytes::Bytes;
use ltx::{FileName, Txid};

use self::recorder::{Asked, Recorder, Reply};
use super::S3Replica;
use crate::env::{Env, UnixMillis, real};
use crate::settings::{AccessKey, Opening, S3, Secret, Storage};
use crate::{ErrorKind, Level, Replica, Source};

const TIME: UnixMillis = UnixMillis(1_795_168_757_460);

fn name(min: u64, max: u64) -> FileName {
    FileName::new(Txid::new(min), Txid::new(max))
}

/// Settings for a service at that address.
fn settings(url: &str, prefix: &str) -> S3 {
    let text = format!("s3://bucket/x?endpoint={url}&region=eu-west-3");
    match Storage::from_url(&text) {
        Ok(Storage::S3(s3)) => S3 {
            prefix: prefix.to_owned(),
            access_key: Some(AccessKey {
                id: Secret::new("AKID"),
                secret: Secret::new("SECRET"),
            }),
            ..s3
        },
        other => panic!("{other:?}"),
    }
}

fn open(settings: &S3) -> S3Replica {
    S3Replica::new(settings, &Opening::command(&real::env())).unwrap()
}

fn bytes(len: usize) -> Bytes {
    (0..len).map(|i| (i / 3 + i * 7) as u8).collect()
}

async fn write(replica: &S3Replica, bytes: &Bytes) -> crate::Result<crate::FileInfo> {
    let source = Source::Bytes(bytes.clone());
    replica.write(Level::L0, name(1, 1), source, TIME).await
}

/// Bytes in a local file.
fn file(env: &Env, folder: &tempfile::TempDir, bytes: &Bytes) -> Source {
    let path = folder.path().join("source");
    let file = env.disk.create_new(&path, 0o600).unwrap();
    file.write_at(bytes, 0).unwrap();
    Source::File(path)
}
