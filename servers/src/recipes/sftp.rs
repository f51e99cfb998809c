//! SFTP: OpenSSH with keys, rclone with a password.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{PASSWORD, Recipe, Site, USER, args};
use crate::install::is_root;
use crate::place::Place;
use crate::process::Program;

/// Whether the other side introduces itself as SSH.
fn probe(port: u16) -> Result<()> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    ensure!(line.starts_with("SSH-2.0-"), "it says {line:?}");
    Ok(())
}

/// What a program prints on its one line.
fn line(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

pub(super) struct Sshd;

impl Recipe for Sshd {
    fn prepare(&self, site: &Site) -> Result<()> {
        for key in ["host_key", "user_key"] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-f"]);
            line(command.arg(site.dir.join(key)))?;
        }
        std::fs::create_dir(site.dir.join("data"))?;
        if is_root() {
            // Where sshd locks itself in before anyone has logged in.
            std::fs::create_dir_all("/run/sshd").context("sshd needs /run/sshd")?;
        }
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {host}\nPidFile none\nAuthorizedKeysFile {user}\n\
             StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nMaxStartups 200\nMaxSessions 200\nUseDNS no\n\
             Subsystem sftp internal-sftp\n",
            port = site.port(),
            host = site.path("host_key"),
            user = site.path("user_key.pub"),
        );
        std::fs::write(site.dir.join("sshd_config"), config)?;
        Ok(())
    }

    fn programs(&self, site: &Site) -> Vec<Program> {
        vec![Program {
            name: "sshd",
            args: args!["/usr/sbin/sshd", "-D", "-e", "-f", site.path("sshd_config")],
            env: Vec::new(),
            port: site.port(),
            probe,
        }]
    }

    fn place(&self, site: &Site, name: &str, port: u16) -> Result<Place> {
        let host_key = std::fs::read_to_string(site.dir.join("host_key.pub"))?;
        let host_key: Vec<&str> = host_key.split_whitespace().take(2).collect();
        Ok(Place {
            url: None,
            keys: vec![
                ("type", "sftp".to_owned()),
                ("host", format!("127.0.0.1:{port}")),
                ("user", line(Command::new("id").arg("-un"))?),
                ("key-path", site.path("user_key")),
                ("host-key", host_key.join(" ")),
                ("path", site.path(&format!("data/{name}"))),
            ],
            env: Vec::new(),
        })
    }
}

/// rclone, which needs no account of the system for a password.
pub(super) struct Rclone;

impl Recipe for Rclone {
    fn prepare(&self, site: &Site) -> Result<()> {
        std::fs::create_dir(site.dir.join("data"))?;
        Ok(())
    }

    fn programs(&self, site: &Site) -> Vec<Program> {
        vec![Program {
            name: "rclone",
            args: args![
                site.python("rclone"),
                "serve",
                "sftp",
                "--config",
                site.path("rclone.conf"),
                "--cache-dir",
                site.path("cache"),
                "--addr",
                format!("127.0.0.1:{}", site.port()),
                "--user",
                USER,
                "--pass",
                PASSWORD,
                "--vfs-cache-mode",
                "writes",
                site.path("data")
            ],
            // Where it keeps its host key.
            env: vec![("XDG_CACHE_HOME", site.path("cache").into())],
            port: site.port(),
            probe,
        }]
    }

    fn place(&self, _site: &Site, name: &str, port: u16) -> Result<Place> {
        Ok(Place {
            url: Some(format!("sftp://{USER}:{PASSWORD}@127.0.0.1:{port}/{name}")),
            keys: vec![
                ("type", "sftp".to_owned()),
                ("host", format!("127.0.0.1:{port}")),
                ("user", USER.to_owned()),
                ("password", PASSWORD.to_owned()),
                ("path", format!("/{name}")),
            ],
            env: Vec::new(),
        })
    }
}
