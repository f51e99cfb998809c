//! Alibaba's OSS: nobody packages an emulator, so an adapter translates for moto. It checks the signatures itself.

use anyhow::Result;

use super::{BUCKET, Recipe, Site, gs, s3};
use crate::place::Place;
use crate::process::Program;

const KEY_ID: &str = "AKID";
const SECRET: &str = "zqx7f-oss-secret";
const REGION: &str = "cn-hangzhou";

pub(super) struct Oss;

impl Recipe for Oss {
    fn ports(&self) -> usize {
        2
    }

    fn programs(&self, site: &Site) -> Vec<Program> {
        vec![
            s3::moto(site, site.ports[1]),
            gs::adapter(site, "oss.py", &[KEY_ID, SECRET]),
        ]
    }

    fn ready(&mut self, site: &Site) -> Result<()> {
        s3::make_bucket(site.ports[1])
    }

    fn place(&self, _site: &Site, name: &str, port: u16) -> Result<Place> {
        Ok(Place {
            url: None,
            keys: vec![
                ("type", "oss".to_owned()),
                ("endpoint", format!("http://127.0.0.1:{port}")),
                ("region", REGION.to_owned()),
                ("bucket", BUCKET.to_owned()),
                ("path", name.to_owned()),
                ("access-key-id", KEY_ID.to_owned()),
                ("secret-access-key", SECRET.to_owned()),
            ],
            env: Vec::new(),
        })
    }
}
