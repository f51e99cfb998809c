//! S3 servers of Python's packages: moto, the same with signatures checked, rclone.

use anyhow::{Context as _, Result};

use super::{BUCKET, Recipe, Site, args};
use crate::http;
use crate::place::Place;
use crate::process::Program;

/// Any pair will do for moto; rclone is started with it.
const KEY_ID: &str = "AKID";
const SECRET: &str = "zqx7f-s3-secret";

/// A replica in the bucket of an S3 server.
pub(super) fn place(port: u16, name: &str, region: &str, key_id: &str, secret: &str) -> Place {
    let endpoint = format!("http://127.0.0.1:{port}");
    let url = format!("s3://{BUCKET}/{name}?endpoint={endpoint}&region={region}");
    let env = [
        ("AWS_ACCESS_KEY_ID", key_id),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    Place {
        url: Some(url),
        keys: vec![
            ("type", "s3".to_owned()),
            ("bucket", BUCKET.to_owned()),
            ("path", name.to_owned()),
            ("endpoint", endpoint),
            ("region", region.to_owned()),
            ("force-path-style", "true".to_owned()),
            ("access-key-id", key_id.to_owned()),
            ("secret-access-key", secret.to_owned()),
        ],
        env: env.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec(),
    }
}

/// Whether something that speaks HTTP says anything.
pub(super) fn probe(port: u16) -> Result<()> {
    http::request(port, "GET", "/", &[], "").map(|_| ())
}

/// The program `moto_server` on a port.
pub(super) fn moto(site: &Site, port: u16) -> Program {
    Program {
        name: "moto",
        args: args![
            site.python("moto_server"),
            "-H",
            "127.0.0.1",
            "-p",
            port.to_string()
        ],
        env: Vec::new(),
        port,
        probe,
    }
}

/// Makes the bucket on a moto that checks nothing.
pub(super) fn make_bucket(port: u16) -> Result<()> {
    let scope = [("Authorization", scope("s3"))];
    let headers = [(scope[0].0, scope[0].1.as_str())];
    let answer = http::request(port, "PUT", &format!("/{BUCKET}"), &headers, "")?;
    answer.expect(&[200]).context("cannot make the bucket")?;
    Ok(())
}

/// Names the service that a request is for. The signature is looked at by nobody.
fn scope(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={KEY_ID}/20200101/us-east-1/{service}/aws4_request, \
         SignedHeaders=host, Signature=none"
    )
}

pub(super) struct Moto;

impl Recipe for Moto {
    fn programs(&self, site: &Site) -> Vec<Program> {
        vec![moto(site, site.port())]
    }

    fn ready(&mut self, site: &Site) -> Result<()> {
        make_bucket(site.port())
    }

    fn place(&self, _site: &Site, name: &str, port: u16) -> Result<Place> {
        Ok(place(port, name, "us-east-1", KEY_ID, SECRET))
    }
}

/// Moto that lets everything pass until an account is made, and checks signatures from then on.
#[derive(Default)]
pub(super) struct MotoAuth {
    key_id: String,
    secret: String,
}

impl MotoAuth {
    /// Asks the service for accounts.
    fn iam(port: u16, action: &str) -> Result<String> {
        let headers = [
            ("Authorization", scope("iam")),
            (
                "Content-Type",
                "application/x-www-form-urlencoded".to_owned(),
            ),
        ];
        let headers = headers.each_ref().map(|(k, v)| (*k, v.as_str()));
        let body = format!("Version=2010-05-08&UserName=u&Action={action}");
        let answer = http::request(port, "POST", "/", &headers, &body)?;
        let answer = answer.expect(&[200]);
        Ok(answer.with_context(|| format!("moto: {action}"))?.body)
    }
}

/// Everything is allowed to the account.
const POLICY: &str = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C\
                      %22Action%22%3A%22*%22%2C%22Resource%22%3A%22*%22%7D%5D%7D";

impl Recipe for MotoAuth {
    fn programs(&self, site: &Site) -> Vec<Program> {
        let mut program = moto(site, site.port());
        // More than are needed until the checks are switched on.
        program.env = vec![("INITIAL_NO_AUTH_ACTION_COUNT", "10000".into())];
        vec![program]
    }

    fn ready(&mut self, site: &Site) -> Result<()> {
        let port = site.port();
        make_bucket(port)?;
        MotoAuth::iam(port, "CreateUser")?;
        let policy = format!("PutUserPolicy&PolicyName=all&PolicyDocument={POLICY}");
        MotoAuth::iam(port, &policy)?;
        let made = MotoAuth::iam(port, "CreateAccessKey")?;
        self.key_id = element(&made, "AccessKeyId")?;
        self.secret = element(&made, "SecretAccessKey")?;
        let headers = [("Content-Type", "text/plain")];
        http::request(port, "POST", "/moto-api/reset-auth", &headers, "0")?
            .expect(&[200])
            .context("cannot switch checks on")?;
        Ok(())
    }

    fn place(&self, _site: &Site, name: &str, port: u16) -> Result<Place> {
        Ok(place(port, name, "us-east-1", &self.key_id, &self.secret))
    }
}

/// The text of the first element of a name.
fn element(xml: &str, name: &str) -> Result<String> {
    let (_, rest) = xml
        .split_once(&format!("<{name}>"))
        .with_context(|| format!("no {name} in {xml}"))?;
    Ok(rest.split('<').next().unwrap_or_default().to_owned())
}

/// rclone: a folder is a bucket.
pub(super) struct Rclone;

impl Recipe for Rclone {
    fn prepare(&self, site: &Site) -> Result<()> {
        std::fs::create_dir_all(site.dir.join("data").join(BUCKET))?;
        Ok(())
    }

    fn programs(&self, site: &Site) -> Vec<Program> {
        vec![Program {
            name: "rclone",
            args: args![
                site.python("rclone"),
                "serve",
                "s3",
                "--config",
                site.path("rclone.conf"),
                "--addr",
                format!("127.0.0.1:{}", site.port()),
                "--auth-key",
                format!("{KEY_ID},{SECRET}"),
                site.path("data")
            ],
            env: Vec::new(),
            port: site.port(),
            probe,
        }]
    }

    fn place(&self, _site: &Site, name: &str, port: u16) -> Result<Place> {
        Ok(place(port, name, "us-east-1", KEY_ID, SECRET))
    }
}
