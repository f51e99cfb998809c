//! Every way to log in to NATS, each against a server that refuses all others.

#![cfg(feature = "nats")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "makes files and runs a server; what fails is said by the panic"
)]

mod storage_common;

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream::{self, object_store};
use bytes::Bytes;
use litestream_replica::env::UnixMillis;
use litestream_replica::settings::{Keys, Storage};
use litestream_replica::{Error, ErrorKind, Level, Source};
use litestream_servers::{Kind, home};
use ltx::{FileName, Txid};
use storage_common::{keys, open, start};

struct Nats {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Nats {
    fn start(dir: tempfile::TempDir, config: &str) -> Nats {
        // It is installed with the first one that is started.
        drop(start(Kind::Nats));
        // A port may be taken by another test before it is used.
        let mut dir = dir;
        for _ in 0..5 {
            match Nats::start_once(dir, config) {
                Ok(nats) => return nats,
                Err(again) => dir = again,
            }
        }
        panic!("the server does not listen");
    }

    fn start_once(dir: tempfile::TempDir, config: &str) -> Result<Nats, tempfile::TempDir> {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let data = dir.path().join("data").display().to_string();
        let file = dir.path().join("nats.conf");
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{data}\" }}\n{config}\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut child = Command::new(home().join("venv/bin/nats-server"))
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..500 {
            std::thread::sleep(Duration::from_millis(20));
            if child.try_wait().unwrap().is_some() {
                return Err(dir);
            }
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(Nats { child, port, dir });
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(dir)
    }

    async fn make_bucket(&self, login: ConnectOptions) {
        let client = login
            .connect(format!("127.0.0.1:{}", self.port))
            .await
            .unwrap();
        let config = object_store::Config {
            bucket: "b".to_owned(),
            ..object_store::Config::default()
        };
        // It listens before JetStream is ready.
        for _ in 0..50 {
            let config = config.clone();
            if jetstream::new(client.clone())
                .create_object_store(config)
                .await
                .is_ok()
            {
                return;
            }
            tokio::time::timeout(Duration::from_millis(100), std::future::pending::<()>())
                .await
                .unwrap_err();
        }
        panic!("JetStream does not get ready");
    }

    fn storage(&self, pairs: &[(&str, &str)]) -> Storage {
        let mut all = vec![("url", format!("nats://localhost:{}/b", self.port))];
        all.extend(
            pairs
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        Storage::read(&keys(&all), &Keys::new()).unwrap()
    }

    /// Writes and reads a file.
    async fn works(&self, pairs: &[(&str, &str)]) {
        works(&self.storage(pairs)).await;
    }

    async fn refuses(&self, pairs: &[(&str, &str)]) -> Error {
        let replica = open(&self.storage(pairs));
        replica.list(Level::L0, None, false).await.unwrap_err()
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

async fn works(storage: &Storage) {
    let replica = open(storage);
    let name = FileName::single(Txid::new(1));
    let source = Source::Bytes(Bytes::from_static(b"x"));
    let written = replica.write(Level::L0, name, source, UnixMillis(1)).await;
    written.unwrap_or_else(|e| panic!("{storage:?}: {e}"));
    assert_eq!(replica.read(Level::L0, name, 0, None).await.unwrap(), "x");
    assert_eq!(replica.list(Level::L0, None, false).await.unwrap().len(), 1);
}

fn testdata(name: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/nats");
    std::fs::read_to_string(root.join(name))
        .unwrap()
        .trim()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s15_password_nkey_and_permissions() {
    let public = testdata("user.pub");
    let config = format!(
        "authorization {{ users: [\n{{ user: u, password: \"p w:\" }}\n{{ nkey: {public} }}\n\
         {{ user: limited, password: x, permissions: {{ publish: [\"$JS.API.STREAM.INFO.OBJ_b\"], subscribe: \"_INBOX.>\" }} }}\n] }}"
    );
    let nats = Nats::start(tempfile::tempdir().unwrap(), &config);
    let admin = ConnectOptions::with_user_and_password("u".into(), "p w:".into());
    nats.make_bucket(admin).await;
    nats.works(&[("username", "u"), ("password", "p w:")]).await;
    let url = format!("nats://u:p%20w%3A@localhost:{}/b", nats.port);
    works(&Storage::from_url(&url).unwrap()).await;
    let seed = testdata("user.seed");
    nats.works(&[("nkey", &seed)]).await;
    nats.works(&[("nkey", &public), ("seed", &seed)]).await;
    nats.works(&[("nkey", &nats.file("seed", &format!("# mine\n{seed}\n")))])
        .await;

    let error = nats.refuses(&[("nkey", &public)]).await;
    assert!(error.to_string().contains("is a public key"), "{error}");
    for pairs in [
        &[][..],
        &[("username", "u"), ("password", "hunter2")],
        &[("token", "hunter2")],
    ] {
        let error = nats.refuses(pairs).await;
        assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
        assert!(
            error.to_string().contains("nats: failed to connect"),
            "{error}"
        );
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    // What may not be asked is not answered, but one is told.
    let limited = [("username", "limited"), ("password", "x")];
    let error = nats.refuses(&limited).await;
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
    assert!(error.to_string().contains("CONSUMER.CREATE"), "{error}");
    let replica = open(&nats.storage(&limited));
    let source = Source::Bytes(Bytes::from_static(b"x"));
    let name = FileName::single(Txid::new(1));
    let error = replica.write(Level::L0, name, source, UnixMillis(1)).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s15_token() {
    let nats = Nats::start(
        tempfile::tempdir().unwrap(),
        "authorization { token: secret }",
    );
    nats.make_bucket(ConnectOptions::with_token("secret".into()))
        .await;
    nats.works(&[("token", "secret")]).await;
    // One of several servers is enough.
    let several = format!("nats://127.0.0.1:1,127.0.0.1:{}/b", nats.port);
    let pairs = [("url", several), ("token", "secret".to_owned())];
    works(&Storage::read(&keys(&pairs), &Keys::new()).unwrap()).await;
    assert!(nats.refuses(&[]).await.is_forbidden());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s15_jwt_and_credentials() {
    let nats = Nats::start(tempfile::tempdir().unwrap(), &testdata("accounts.conf"));
    let (jwt, seed) = (testdata("user.jwt"), testdata("user.seed"));
    let creds = format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    nats.make_bucket(ConnectOptions::with_credentials(&creds).unwrap())
        .await;
    nats.works(&[("jwt", &jwt), ("seed", &seed)]).await;
    nats.works(&[("creds", &nats.file("user.creds", &creds))])
        .await;
    assert!(nats.refuses(&[]).await.is_forbidden());
    let error = nats.refuses(&[("creds", "/nowhere")]).await;
    assert!(
        error
            .to_string()
            .contains("cannot read credentials /nowhere"),
        "{error}"
    );
}

/// A certificate of `ca` for `name`, or of its own.
fn certificate(dir: &Path, name: &str, ca: Option<&str>) {
    let file = |name: &str, end: &str| dir.join(format!("{name}.{end}")).display().to_string();
    let subject = format!("/CN={name}");
    let (key, cert) = (file(name, "key"), file(name, "pem"));
    let mut args = vec![
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "30",
    ];
    args.extend([
        "-subj",
        subject.as_str(),
        "-keyout",
        key.as_str(),
        "-out",
        cert.as_str(),
    ]);
    let ca_files = ca.map(|ca| (file(ca, "pem"), file(ca, "key")));
    if let Some((cert, key)) = &ca_files {
        args.extend(["-CA", cert.as_str(), "-CAkey", key.as_str()]);
        args.extend([
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ]);
    }
    let made = Command::new("openssl")
        .args(args)
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success(), "openssl makes certificates");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s15_tls_and_client_certificates() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "ca", None);
    certificate(dir.path(), "server", Some("ca"));
    certificate(dir.path(), "client", Some("ca"));
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (ca, cert, key) = (at("ca.pem"), at("client.pem"), at("client.key"));
    let config = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{ca}\", verify: true }}",
        at("server.pem"),
        at("server.key"),
    );
    let nats = Nats::start(dir, &config);
    let login = ConnectOptions::new()
        .require_tls(true)
        .add_root_certificates(ca.clone().into())
        .add_client_certificate(cert.clone().into(), key.clone().into());
    nats.make_bucket(login).await;
    nats.works(&[
        ("root-cas", &ca),
        ("client-cert", &cert),
        ("client-key", &key),
    ])
    .await;
    let error = nats.refuses(&[("root-cas", "/nowhere")]).await;
    assert!(
        error
            .to_string()
            .contains("cannot read certificate /nowhere"),
        "{error}"
    );
}
