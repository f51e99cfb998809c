//! `cargo xtask demo`: a database is replicated, litestream is killed and started again, and what is restored is the
//! same as the original, byte for byte.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::run::{bin_dir, build, check, step};

struct Demo {
    dir: PathBuf,
    db: PathBuf,
    url: String,
}

/// A process that is killed when the demo ends before it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn kill(mut self) -> Result<()> {
        self.alive()?;
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    fn alive(&mut self) -> Result<()> {
        match self.0.try_wait()? {
            Some(status) => bail!("a process ended too early, with {status}"),
            None => Ok(()),
        }
    }

    /// Asks it to end and waits until it has.
    fn stop(mut self) -> Result<()> {
        self.alive()?;
        check(
            Command::new("kill")
                .arg("-TERM")
                .arg(self.0.id().to_string()),
        )?;
        let status = self.0.wait()?;
        if status.success() {
            Ok(())
        } else {
            bail!("a process did not end well: {status}")
        }
    }
}

/// Shows it.
pub fn run() -> Result<()> {
    step("building litestream and litestream-test into ./bin", build)?;
    let dir = std::env::temp_dir().join(format!("litestream-demo-{}", std::process::id()));
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let demo = Demo {
        db: dir.join("app.db"),
        url: format!("file://{}", dir.join("backup").display()),
        dir: dir.clone(),
    };
    let shown = demo.show();
    if shown.is_err() {
        println!("what was left behind is in {}", dir.display());
        return shown;
    }
    std::fs::remove_dir_all(&dir)?;
    println!("OK");
    Ok(())
}

impl Demo {
    fn show(&self) -> Result<()> {
        let (mut litestream, mut load) = (None, None);
        step("making a database of 20 MB", || {
            check(self.test(&["populate"]).arg("-db").arg(&self.db).args([
                "-target-size",
                "20MB",
                "-table-count",
                "2",
            ]))
        })?;
        step(
            "replicating it to a folder while an application writes to it",
            || {
                litestream = Some(self.replicate()?);
                load = Some(self.load()?);
                sleep(Duration::from_secs(4));
                self.must_exist(&self.dir.join("backup/ltx/0"))
            },
        )?;
        step(
            "killing litestream (SIGKILL); the application goes on writing, and checkpoints",
            || {
                litestream.take().map_or(Ok(()), Running::kill)?;
                sleep(Duration::from_secs(2));
                check(
                    self.test(&[
                        "shrink",
                        "-delete-percentage",
                        "10",
                        "-checkpoint",
                        "-checkpoint-mode",
                        "FULL",
                    ])
                    .arg("-db")
                    .arg(&self.db),
                )
            },
        )?;
        step("starting litestream again", || {
            litestream = Some(self.replicate()?);
            sleep(Duration::from_secs(3));
            Ok(())
        })?;
        step(
            "stopping the application, then litestream, which uploads the rest",
            || {
                load.take().map_or(Ok(()), Running::stop)?;
                litestream.take().map_or(Ok(()), Running::stop)
            },
        )?;
        step("what is in the folder now", || {
            check(
                Command::new(bin_dir().join("litestream"))
                    .args(["ltx", "-level", "all", &self.url]),
            )
        })?;
        step(
            "restoring it and comparing: bytes, integrity, schema and all rows",
            || {
                check(
                    self.test(&[
                        "validate",
                        "-check-type",
                        "full",
                        "-ltx-continuity",
                        "-replica-url",
                        &self.url,
                    ])
                    .arg("-source-db")
                    .arg(&self.db),
                )
            },
        )
    }

    fn test(&self, args: &[&str]) -> Command {
        let mut command = Command::new(bin_dir().join("litestream-test"));
        command.args(args).stdin(Stdio::null());
        command
    }

    fn replicate(&self) -> Result<Running> {
        let mut command = Command::new(bin_dir().join("litestream"));
        command
            .arg("replicate")
            .arg(&self.db)
            .arg(&self.url)
            .stdin(Stdio::null());
        Ok(Running(command.spawn().context("start litestream")?))
    }

    fn load(&self) -> Result<Running> {
        let mut command = self.test(&[
            "load",
            "-duration",
            "10m",
            "-write-rate",
            "300",
            "-workers",
            "2",
        ]);
        Ok(Running(
            command
                .arg("-db")
                .arg(&self.db)
                .spawn()
                .context("start litestream-test load")?,
        ))
    }

    fn must_exist(&self, path: &Path) -> Result<()> {
        if path.exists() {
            Ok(())
        } else {
            bail!("nothing was replicated: {} is missing", path.display())
        }
    }
}
