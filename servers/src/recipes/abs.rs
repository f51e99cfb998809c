//! Azure Blob Storage: Azurite.

use anyhow::{Context as _, Result};

use super::{BUCKET, Recipe, Site, args, s3};
use crate::http;
use crate::place::Place;
use crate::process::Program;

/// The account that every Azurite has, with the key that its documentation publishes.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// Everything allowed on blobs and containers of that account until 2099, signed with that key.
const SAS: &str = "sv=2020-12-06&ss=b&srt=sco&sp=rwdlac&se=2099-01-01T00%3A00%3A00Z\
                   &sig=N5uz2Xeys0I28PmqjyjbsCHaHaD7oWInzBEyCFTa6O8%3D";

pub(super) struct Azurite {
    /// Places are reached with a shared access signature, else with the account's key.
    pub(super) sas: bool,
}

impl Recipe for Azurite {
    fn programs(&self, site: &Site) -> Vec<Program> {
        vec![Program {
            name: "azurite",
            args: args![
                site.home.join("npm/node_modules/.bin/azurite-blob"),
                "--blobHost",
                "127.0.0.1",
                "--blobPort",
                site.port().to_string(),
                "--location",
                site.path("data"),
                "--silent",
                "--skipApiVersionCheck",
                "--disableTelemetry"
            ],
            env: Vec::new(),
            port: site.port(),
            probe: s3::probe,
        }]
    }

    fn ready(&mut self, site: &Site) -> Result<()> {
        let target = format!("/{ACCOUNT}/{BUCKET}?restype=container&{SAS}");
        let headers = [("x-ms-version", "2020-12-06")];
        http::request(site.port(), "PUT", &target, &headers, "")?
            .expect(&[201, 409])
            .context("cannot make the container")?;
        Ok(())
    }

    fn place(&self, _site: &Site, name: &str, port: u16) -> Result<Place> {
        let login = if self.sas {
            ("sas-token", SAS.to_owned())
        } else {
            ("account-key", KEY.to_owned())
        };
        Ok(Place {
            url: None,
            keys: vec![
                ("type", "abs".to_owned()),
                ("endpoint", format!("http://127.0.0.1:{port}/{ACCOUNT}")),
                ("account-name", ACCOUNT.to_owned()),
                login,
                ("bucket", BUCKET.to_owned()),
                ("path", name.to_owned()),
            ],
            env: Vec::new(),
        })
    }
}
