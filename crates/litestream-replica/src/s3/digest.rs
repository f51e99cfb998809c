//! Digests of what is sent, taken from the disk block by block before it goes out: no part of an upload is held in memory.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use sha2::{Digest, Sha256};

use crate::Result;
use crate::env::Env;
use crate::net::Payload;

/// Which ones are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// For the signature.
    pub(super) sha256: bool,
    /// For Amazon, which checks and keeps it.
    pub(super) crc32: bool,
}

/// See the [module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Digests {
    /// In hex.
    pub(super) sha256: Option<String>,
    /// In base64.
    pub(super) crc32: Option<String>,
}

/// Takes them from all of a payload.
pub(super) async fn digests(payload: &Payload, wanted: Wanted, env: &Env) -> Result<Digests> {
    if wanted == NONE {
        return Ok(Digests::default());
    }
    let run = payload.fold(env, Run::new(wanted), Run::add).await?;
    Ok(run.end())
}

const NONE: Wanted = Wanted {
    sha256: false,
    crc32: false,
};

struct Run {
    sha256: Option<Sha256>,
    crc32: Option<crc_fast::Digest>,
}

impl Run {
    fn new(wanted: Wanted) -> Run {
        Run {
            sha256: wanted.sha256.then(Sha256::new),
            crc32: wanted
                .crc32
                .then(|| crc_fast::Digest::new(CrcAlgorithm::Crc32IsoHdlc)),
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        if let Some(crc32) = &mut self.crc32 {
            crc32.update(bytes);
        }
    }

    fn end(self) -> Digests {
        Digests {
            sha256: self.sha256.map(|sha256| hex(&sha256.finalize())),
            // 32 bits, however wide the type.
            crc32: self
                .crc32
                .map(|crc32| STANDARD.encode((crc32.finalize() as u32).to_be_bytes())),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const ALL: Wanted = Wanted {
        sha256: true,
        crc32: true,
    };

    #[tokio::test]
    async fn known_values_from_memory_and_from_a_file() {
        let env = crate::env::real::env();
        let short = Payload::Bytes(Bytes::from_static(b"123456789"));
        let taken = digests(&short, ALL, &env);
        let expected = Digests {
            sha256: Some(
                "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225".to_owned(),
            ),
            crc32: Some("y/Q5Jg==".to_owned()),
        };
        assert_eq!(taken.await.unwrap(), expected);
        let none = digests(&Payload::empty(), NONE, &env).await.unwrap();
        assert_eq!(none, Digests::default());

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let long: Bytes = (0..700_000_u32).map(|i| (i % 251) as u8).collect();
        let file = env.disk.create_new(&path, 0o600).unwrap();
        file.write_at(&long, 0).unwrap();
        let payload = Payload::File {
            path: path.clone(),
            offset: 11,
            len: 600_000,
        };
        assert_eq!(
            digests(&payload, ALL, &env).await.unwrap(),
            digests(&Payload::Bytes(long.slice(11..600_011)), ALL, &env)
                .await
                .unwrap()
        );
        let beyond = Payload::File {
            path,
            offset: 600_000,
            len: 600_000,
        };
        assert!(digests(&beyond, ALL, &env).await.is_err());
    }
}
