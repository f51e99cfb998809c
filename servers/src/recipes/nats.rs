//! NATS with JetStream, current or as old as is supported. Each replica has a bucket of its own.

use anyhow::Result;

use super::{Recipe, Site, args};
use crate::jetstream;
use crate::place::Place;
use crate::process::Program;

pub(super) struct Nats {
    /// Debian's, 2.9.
    pub(super) old: bool,
}

impl Recipe for Nats {
    fn programs(&self, site: &Site) -> Vec<Program> {
        let program = if self.old {
            "/usr/sbin/nats-server".into()
        } else {
            site.python("nats-server")
        };
        vec![Program {
            name: "nats",
            args: args![
                program,
                "-a",
                "127.0.0.1",
                "-p",
                site.port().to_string(),
                "-js",
                "-sd",
                site.path("data")
            ],
            env: Vec::new(),
            port: site.port(),
            probe: jetstream::probe,
        }]
    }

    fn place(&self, site: &Site, name: &str, port: u16) -> Result<Place> {
        jetstream::create_bucket(site.port(), name)?;
        Ok(Place {
            url: Some(format!("nats://127.0.0.1:{port}/{name}")),
            keys: vec![
                ("type", "nats".to_owned()),
                ("url", format!("nats://127.0.0.1:{port}/{name}")),
            ],
            env: Vec::new(),
        })
    }
}
