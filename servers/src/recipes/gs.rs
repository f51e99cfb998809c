//! The emulator of Google Cloud Storage, with or without the adapter that Go's client library needs for long uploads.

use std::path::Path;

use anyhow::Result;

use super::{BUCKET, Recipe, Site, args, s3};
use crate::place::Place;
use crate::process::Program;

pub(super) struct Emulator {
    /// Whether the adapter stands in front.
    pub(super) adapted: bool,
}

impl Recipe for Emulator {
    fn ports(&self) -> usize {
        if self.adapted { 2 } else { 1 }
    }

    fn programs(&self, site: &Site) -> Vec<Program> {
        let own = site.ports[site.ports.len() - 1];
        let mut programs = vec![Program {
            name: "gcs",
            args: args![
                site.python("gcp-storage-emulator"),
                "start",
                "--host=127.0.0.1",
                format!("--port={own}"),
                "--in-memory",
                format!("--default-bucket={BUCKET}")
            ],
            env: Vec::new(),
            port: own,
            probe: s3::probe,
        }];
        if self.adapted {
            programs.push(adapter(site, "gcs.py", &[]));
        }
        programs
    }

    fn place(&self, _site: &Site, name: &str, port: u16) -> Result<Place> {
        Ok(Place {
            url: Some(format!("gs://{BUCKET}/{name}")),
            keys: vec![
                ("type", "gs".to_owned()),
                ("bucket", BUCKET.to_owned()),
                ("path", name.to_owned()),
            ],
            env: vec![(
                "STORAGE_EMULATOR_HOST".to_owned(),
                format!("127.0.0.1:{port}"),
            )],
        })
    }
}

/// One of our adapters, on the first port in front of the second.
pub(super) fn adapter(site: &Site, script: &str, more: &[&str]) -> Program {
    let mut args = args![
        site.python("python3"),
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("adapters")
            .join(script),
        site.ports[0].to_string(),
        site.ports[1].to_string(),
    ];
    args.extend(more.iter().map(Into::into));
    Program {
        name: "adapter",
        args,
        env: Vec::new(),
        port: site.port(),
        probe: s3::probe,
    }
}
