//! File systems of our own that can be broken: ext4 and xfs on a file, tmpfs of a size.
//!
//! Everything is mounted in a private mount namespace and driven from a private process namespace, so that the kernel
//! takes it all away when this program ends, however it ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::process::{run, until};

/// Set in the environment of the program inside its namespaces.
const INSIDE: &str = "LITESTREAM_HOSTILE_INSIDE";
/// Sparse; xfs refuses less than 300 MiB.
const IMAGE_BYTES: u64 = 320 << 20;

/// Kinds that differ in what a power cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    /// Renames may become durable before the data of the file.
    Ext4Writeback,
    Xfs,
}

/// A file system on a file; it is unmounted when dropped.
pub struct Disk {
    kind: Kind,
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    pub fn new(kind: Kind, image: PathBuf, at: PathBuf) -> Result<Disk> {
        let file = std::fs::File::create(&image)?;
        file.set_len(IMAGE_BYTES)?;
        std::fs::create_dir_all(&at)?;
        let name = path(&image)?;
        match kind {
            Kind::Ext4 | Kind::Ext4Writeback => run("mkfs.ext4", &["-q", "-F", name])?,
            Kind::Xfs => run("mkfs.xfs", &["-q", "-f", name])?,
        }
        let disk = Disk { kind, image, at };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<()> {
        let options = match self.kind {
            Kind::Ext4 => "loop",
            Kind::Ext4Writeback => "loop,data=writeback,noauto_da_alloc,commit=1",
            Kind::Xfs => "loop,nouuid",
        };
        run("mount", &["-o", options, path(&self.image)?, path(&self.at)?]).context(
            "cannot mount a file: this needs CAP_SYS_ADMIN, /dev/loop-control and a kernel with ext4 and xfs (container: `docker run --privileged`); LITESTREAM_NO_MOUNT=1 leaves it out",
        )
    }

    /// Everything is durable now.
    pub fn sync(&self) -> Result<()> {
        run("sync", &["-f", path(&self.at)?])
    }

    /// The power is cut: what was not synced is gone, every further call fails. With `log`, the journal is still written.
    pub fn cut(&self, log: bool) -> Result<()> {
        let shutdown = if log { "shutdown -f" } else { "shutdown" };
        run("xfs_io", &["-x", "-c", shutdown, path(&self.at)?])
    }

    /// The power is back. Nobody may have a file of it open.
    pub fn restart(&self) -> Result<()> {
        let at = path(&self.at)?;
        until(
            "the file system is not in use",
            Duration::from_secs(20),
            || Ok(run("umount", &[at]).ok()),
        )?;
        self.mount()
    }

    /// Takes it away, if nobody has a file of it open at this moment, and mounts it again.
    pub fn try_restart(&self) -> Result<bool> {
        if run("umount", &[path(&self.at)?]).is_err() {
            return Ok(false);
        }
        self.mount()?;
        Ok(true)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Ok(at) = path(&self.at) {
            let _ = run("umount", &["-l", at]);
        }
        let _ = std::fs::remove_file(&self.image);
    }
}

/// A tmpfs; it is unmounted when dropped.
pub struct Memory {
    at: PathBuf,
}

impl Memory {
    pub fn new(at: PathBuf, kib: u64) -> Result<Memory> {
        std::fs::create_dir_all(&at)?;
        let size = format!("size={kib}k,mode=0755");
        run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", path(&at)?])?;
        Ok(Memory { at })
    }

    /// What its files take.
    fn used_kib(&self) -> Result<u64> {
        let stat = rustix::fs::statvfs(&self.at)?;
        Ok((stat.f_blocks - stat.f_bfree) * stat.f_frsize / 1024)
    }

    /// From now on there is room for so much more. Looks again while others write: less than what is in use is refused.
    pub fn leave(&self, kib: u64) -> Result<()> {
        until("the size is set", Duration::from_secs(10), || {
            Ok(self.resize(self.used_kib()? + kib).ok())
        })
    }

    pub fn resize(&self, kib: u64) -> Result<()> {
        let size = format!("remount,size={kib}k");
        run("mount", &["-o", &size, path(&self.at)?])
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Ok(at) = path(&self.at) {
            let _ = run("umount", &["-l", at]);
        }
    }
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

/// Runs this program again in namespaces of its own; its exit code. `None` inside.
pub fn isolate() -> Result<Option<u8>> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(None);
    }
    let namespaces = [
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--propagation",
        "private",
    ];
    let probe = Command::new("unshare")
        .args(namespaces)
        .arg("true")
        .stdin(Stdio::null())
        .output()
        .context("cannot run unshare (package util-linux); `cargo xtask test` installs it")?;
    if !probe.status.success() {
        bail!(
            "not permitted to mount: {}. Power cuts and full disks need root with CAP_SYS_ADMIN and loop devices \
             (container: `docker run --privileged`). To leave these scenarios out knowingly: LITESTREAM_NO_MOUNT=1",
            String::from_utf8_lossy(&probe.stderr).trim()
        );
    }
    let status = Command::new("unshare")
        .args(namespaces)
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .status()?;
    Ok(Some(status.code().map_or(1, |code| code as u8)))
}
