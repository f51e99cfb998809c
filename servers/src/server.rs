//! A running server of some kind, with its data in a folder of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::install::{home, install_part};
use crate::kind::Kind;
use crate::place::Place;
use crate::port;
use crate::process::Process;
use crate::recipes::{Recipe, Site, recipe};

/// A port can be taken between choosing and using it: a server that ends so soon is started again on another.
const SOON: Duration = Duration::from_secs(10);
const TRIES: usize = 3;

/// A server that runs until it is dropped. Several programs where an adapter stands in front.
pub struct Server {
    kind: Kind,
    recipe: Box<dyn Recipe>,
    site: Site,
    processes: Vec<Process>,
    /// Removed after the processes are gone.
    _dir: TempDir,
}

impl Server {
    /// Installs what it needs if that was not done yet, starts it, makes its bucket.
    pub fn start(kind: Kind) -> Result<Server> {
        install_part(kind.part()).with_context(|| format!("cannot install {}", kind.name()))?;
        let mut tries = 1;
        loop {
            let begin = Instant::now();
            match Server::start_once(kind) {
                Err(_) if tries < TRIES && begin.elapsed() < SOON => tries += 1,
                result => return result.with_context(|| format!("cannot start {}", kind.name())),
            }
        }
    }

    fn start_once(kind: Kind) -> Result<Server> {
        let dir = tempfile::Builder::new()
            .prefix(&format!("server-{}-", kind.name()))
            .tempdir()?;
        open_to_all(dir.path(), 0o755)?;
        let recipe = recipe(kind);
        let ports = (0..recipe.ports())
            .map(|_| port::free())
            .collect::<Result<_>>()?;
        let site = Site {
            home: home(),
            dir: dir.path().to_owned(),
            ports,
        };
        let mut server = Server {
            kind,
            recipe,
            site,
            processes: Vec::new(),
            _dir: dir,
        };
        server.recipe.prepare(&server.site)?;
        server.run()?;
        Ok(server)
    }

    fn run(&mut self) -> Result<()> {
        for program in self.recipe.programs(&self.site) {
            let process = Process::start(&program, &self.site.dir)?;
            self.processes.push(process);
        }
        self.recipe.ready(&self.site)
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.site.port()
    }

    /// Whether [`Server::restart`] brings back what was written.
    pub fn keeps_data(&self) -> bool {
        self.kind.keeps_data()
    }

    /// What its programs printed.
    pub fn log(&self) -> String {
        self.processes.iter().map(Process::log).collect()
    }

    /// Ends it as a crash would: SIGKILL, connections die.
    pub fn kill(&mut self) {
        for process in &mut self.processes {
            process.kill();
        }
        self.processes.clear();
    }

    /// Starts it again on the same port with the data it kept; ends it first if it runs. One that keeps nothing starts
    /// empty, and what [`Server::new_place`] gave before may not hold any more.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        self.run()
            .with_context(|| format!("cannot restart {}", self.kind.name()))
    }

    /// A replica of its own, told apart by a name of lower-case letters, digits and dashes.
    pub fn new_place(&self, name: &str) -> Result<Place> {
        self.new_place_through(name, self.port())
    }

    /// The same, reached through another port of this machine: that of a proxy.
    pub fn new_place_through(&self, name: &str, port: u16) -> Result<Place> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            !name.is_empty() && name.chars().all(fits),
            "no name for a place: {name:?}"
        );
        self.recipe
            .place(&self.site, name, port)
            .with_context(|| format!("cannot make {name} on {}", self.kind.name()))
    }
}

/// Lets servers that give up their rights reach a folder.
pub(crate) fn open_to_all(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(())
}
