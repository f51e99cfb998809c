//! S3 servers that cargo builds from source: s3s-fs and Garage.

use anyhow::Result;

use super::{BUCKET, Recipe, Site, args, s3};
use crate::place::Place;
use crate::process::Program;

const KEY_ID: &str = "GK0123456789abcdef01234567";
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Garage refuses every other.
const GARAGE_REGION: &str = "garage";

pub(super) struct S3sFs;

impl Recipe for S3sFs {
    fn prepare(&self, site: &Site) -> Result<()> {
        std::fs::create_dir_all(site.dir.join("data").join(BUCKET))?;
        Ok(())
    }

    fn programs(&self, site: &Site) -> Vec<Program> {
        vec![Program {
            name: "s3s-fs",
            args: args![
                site.home.join("cargo/bin/s3s-fs"),
                "--host",
                "127.0.0.1",
                "--port",
                site.port().to_string(),
                "--access-key",
                KEY_ID,
                "--secret-key",
                SECRET,
                site.path("data")
            ],
            env: vec![("RUST_LOG", "warn".into())],
            port: site.port(),
            probe: s3::probe,
        }]
    }

    fn place(&self, _site: &Site, name: &str, port: u16) -> Result<Place> {
        Ok(s3::place(port, name, "us-east-1", KEY_ID, SECRET))
    }
}

pub(super) struct Garage;

impl Recipe for Garage {
    fn ports(&self) -> usize {
        3
    }

    fn prepare(&self, site: &Site) -> Result<()> {
        let config = format!(
            r#"metadata_dir = "{meta}"
data_dir = "{data}"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:{rpc}"
rpc_public_addr = "127.0.0.1:{rpc}"
rpc_secret = "{SECRET}"
[s3_api]
s3_region = "{GARAGE_REGION}"
api_bind_addr = "127.0.0.1:{port}"
root_domain = ".s3.garage.localhost"
[admin]
api_bind_addr = "127.0.0.1:{admin}"
"#,
            meta = site.path("meta"),
            data = site.path("data"),
            port = site.ports[0],
            rpc = site.ports[1],
            admin = site.ports[2],
        );
        std::fs::write(site.dir.join("garage.toml"), config)?;
        Ok(())
    }

    fn programs(&self, site: &Site) -> Vec<Program> {
        vec![Program {
            name: "garage",
            args: args![
                site.home.join("cargo/bin/garage"),
                "server",
                "--single-node",
                "--default-bucket"
            ],
            env: vec![
                ("GARAGE_CONFIG_FILE", site.path("garage.toml").into()),
                ("GARAGE_DEFAULT_ACCESS_KEY", KEY_ID.into()),
                ("GARAGE_DEFAULT_SECRET_KEY", SECRET.into()),
                ("GARAGE_DEFAULT_BUCKET", BUCKET.into()),
            ],
            port: site.port(),
            probe: s3::probe,
        }]
    }

    fn place(&self, _site: &Site, name: &str, port: u16) -> Result<Place> {
        Ok(s3::place(port, name, GARAGE_REGION, KEY_ID, SECRET))
    }
}
