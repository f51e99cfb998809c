//! The socket's file: nobody else's is taken over, and it is never open to others than it is meant for.
//!
//! It is bound in a folder that only its owner can enter, gets its mode there, and only then its name, by a link that fails if there is
//! something. The umask, which is the whole process's, is left alone.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use litestream_replica::env::{Env, Kind};
use tokio::net::{UnixListener, UnixStream};

/// Addresses of sockets have this many bytes, the last of which is zero, on every system that we know (104 or 108).
const ADDRESS_BYTES_MAX: usize = 103;
/// Whoever listens accepts connections at once; the system does it.
const PROBE_WAIT: Duration = Duration::from_secs(1);
/// Somebody may come in between so often.
const TRIES: usize = 3;

/// Device and inode.
pub type Id = (u64, u64);

/// Listens at `path`. The error is a text to be shown.
pub async fn listen(path: &Path, mode: u32, env: &Env) -> Result<(UnixListener, Id), String> {
    if path.as_os_str().is_empty() {
        return Err("socket path required".to_owned());
    }
    for _ in 0..TRIES {
        let stale = stale(path, env).await?;
        let room = Room::new(path, env)?;
        let (listener, id) = room.bind(mode)?;
        if let Some(stale) = stale {
            room.take_aside(path, stale)
                .map_err(|e| format!("remove existing socket: {}: {e}", path.display()))?;
        }
        match room.place(path) {
            Ok(()) => return Ok((listener, id)),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(format!("listen on unix socket: {}: {e}", path.display())),
        }
    }
    Err(in_use(path))
}

/// Removes the socket if it is still the one that was placed there.
pub fn remove(path: &Path, id: Id, env: &Env) {
    if env.disk.symlink_metadata(path).is_ok_and(|m| m.id == id)
        && let Err(error) = env.disk.remove(path)
    {
        tracing::warn!(system = "server", path = %path.display(), %error, "cannot remove control socket");
    }
}

fn in_use(path: &Path) -> String {
    format!(
        "control socket {} is in use by another process; stop that or choose another socket path",
        path.display()
    )
}

/// A socket at `path` on which nobody listens any more; `None`: there is nothing. Anything else is not for us to remove.
async fn stale(path: &Path, env: &Env) -> Result<Option<Id>, String> {
    let found = match env.disk.symlink_metadata(path) {
        Ok(found) => found,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("check socket path: {}: {e}", path.display())),
    };
    if found.kind != Kind::Socket {
        return Err(format!(
            "socket path exists but is not a socket: {}",
            path.display()
        ));
    }
    let connected = tokio::select! {
        connected = UnixStream::connect(path) => connected,
        () = env.clock.sleep_async(PROBE_WAIT) => return Err(in_use(path)),
    };
    match connected.map_err(|e| (e.kind(), e)) {
        // Too many wait to be accepted.
        Ok(_) | Err((ErrorKind::WouldBlock, _)) => Err(in_use(path)),
        Err((ErrorKind::ConnectionRefused, _)) => Ok(Some(found.id)),
        Err((ErrorKind::NotFound, _)) => Ok(None),
        Err((_, e)) => Err(format!("check socket path: {}: {e}", path.display())),
    }
}

/// A folder for us alone, beside the socket's place. It goes when this is dropped.
struct Room<'a> {
    folder: PathBuf,
    socket: PathBuf,
    env: &'a Env,
}

impl Room<'_> {
    fn new<'a>(path: &Path, env: &'a Env) -> Result<Room<'a>, String> {
        let beside = path.parent().unwrap_or(Path::new("/"));
        let name = format!(".ls{:06x}", env.entropy.next_u64() & 0xff_ffff);
        let folder = beside.join(name);
        let socket = folder.join("s");
        let bytes = path.as_os_str().len().max(socket.as_os_str().len());
        if bytes > ADDRESS_BYTES_MAX {
            return Err(format!(
                "listen on unix socket: {} is too long for the address of a socket; choose a path of at most {} bytes",
                path.display(),
                ADDRESS_BYTES_MAX - "/.ls000000/s".len(),
            ));
        }
        env.disk
            .create_dir(&folder, 0o700)
            .map_err(|e| format!("listen on unix socket: {}: {e}", path.display()))?;
        Ok(Room {
            folder,
            socket,
            env,
        })
    }

    fn bind(&self, mode: u32) -> Result<(UnixListener, Id), String> {
        let listener =
            UnixListener::bind(&self.socket).map_err(|e| format!("listen on unix socket: {e}"))?;
        let disk = &self.env.disk;
        disk.set_mode(&self.socket, mode & 0o777)
            .map_err(|e| format!("chmod socket: {e}"))?;
        let made = disk.symlink_metadata(&self.socket);
        let id = made.map_err(|e| format!("listen on unix socket: {e}"))?.id;
        Ok((listener, id))
    }

    /// Takes away the socket that nobody listens on. If it is another one by now, that goes back.
    fn take_aside(&self, path: &Path, stale: Id) -> io::Result<()> {
        let aside = self.folder.join("o");
        match self.env.disk.rename(path, &aside) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            moved => moved?,
        }
        if self.env.disk.symlink_metadata(&aside)?.id != stale {
            self.env.disk.rename(&aside, path)?;
        }
        Ok(())
    }

    fn place(&self, path: &Path) -> io::Result<()> {
        let disk = &self.env.disk;
        match disk.hard_link(&self.socket, path) {
            // Where sockets can't have two names, somebody who comes at this very moment is not noticed.
            Err(e)
                if e.kind() != ErrorKind::AlreadyExists && disk.symlink_metadata(path).is_err() =>
            {
                disk.rename(&self.socket, path)
            }
            placed => placed,
        }
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        // What is not there need not be removed.
        for name in ["s", "o"] {
            let _ = self.env.disk.remove(&self.folder.join(name));
        }
        let _ = self.env.disk.remove_dir(&self.folder);
    }
}
