//! The functions of the VFS itself (`sqlite3_vfs`): opening, deleting, looking, names, time, randomness.

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::Once;

use rusqlite::ffi::{self, sqlite3_file, sqlite3_vfs};

use super::file::{Call, OpenFile, guard, step};
use super::lock::Level;
use super::methods::{CFile, attach, detach};
use super::{LAST_ERRNO, Stage, caller, stage};
use crate::disk::{FileHandle, Kind, Op, Verdict, errno};
use crate::sched;

/// Longest path.
const PATH_MAX: usize = 512;
/// 1970-01-01 in SQLite's count: milliseconds since noon of November 24, 4714 BC.
const UNIX_EPOCH: i64 = 210_866_760_000_000;

/// Makes the VFS known to SQLite, not as the default.
pub fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let vfs = Box::leak(Box::new(sqlite3_vfs {
            iVersion: 2,
            szOsFile: size_of::<CFile>() as c_int,
            mxPathname: PATH_MAX as c_int,
            pNext: std::ptr::null_mut(),
            zName: c"sim".as_ptr(),
            pAppData: std::ptr::null_mut(),
            xOpen: Some(x_open),
            xDelete: Some(x_delete),
            xAccess: Some(x_access),
            xFullPathname: Some(x_full_pathname),
            xDlOpen: Some(x_dl_open),
            xDlError: Some(x_dl_error),
            xDlSym: Some(x_dl_sym),
            xDlClose: Some(x_dl_close),
            xRandomness: Some(x_randomness),
            xSleep: Some(x_sleep),
            xCurrentTime: Some(x_current_time),
            xGetLastError: Some(x_get_last_error),
            xCurrentTimeInt64: Some(x_current_time_int64),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        // SAFETY: the structure is complete and lives for ever.
        let code = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
        assert_eq!(code, ffi::SQLITE_OK, "SQLite refused the VFS");
    });
}

/// # Safety
/// `text` must be a C string that outlives the path.
unsafe fn path_of<'a>(text: *const c_char) -> &'a Path {
    // SAFETY: per contract.
    let bytes = unsafe { CStr::from_ptr(text) }.to_bytes();
    Path::new(OsStr::from_bytes(bytes))
}

fn fail(errno: i32, code: c_int) -> c_int {
    LAST_ERRNO.set(errno);
    code
}

/// The database to which a journal or WAL belongs by its name.
fn database_of(path: &Path) -> Option<PathBuf> {
    let bytes = path.as_os_str().as_bytes();
    let tail = bytes
        .iter()
        .rposition(|&byte| byte == b'-' || byte == b'.')?;
    (tail > 0 && bytes[tail] == b'-').then(|| OsStr::from_bytes(&bytes[..tail]).into())
}

/// Opens or creates as `open(2)` would. Gives the flags that came true.
fn open_handle(
    stage: &Stage,
    path: &Path,
    flags: c_int,
    mode: u32,
) -> Result<(FileHandle, c_int), i32> {
    let code = |error: &std::io::Error| error.raw_os_error().unwrap_or(errno::EIO);
    let create = flags & ffi::SQLITE_OPEN_CREATE != 0;
    let exclusive = flags & ffi::SQLITE_OPEN_EXCLUSIVE != 0;
    match stage.disk.open(path) {
        Ok(_) if create && exclusive => {}
        Ok(handle) => return Ok((handle, flags)),
        Err(error) if code(&error) == errno::ENOENT && create => {
            return match stage.disk.create_new(path, mode) {
                Ok(handle) => Ok((handle, flags)),
                Err(error) => Err(code(&error)),
            };
        }
        Err(error) => return Err(code(&error)),
    }
    // It exists although it should not: SQLite tries again, for reading only.
    let readonly = flags & !(ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE);
    let handle = stage.disk.open(path).map_err(|error| code(&error))?;
    Ok((handle, readonly | ffi::SQLITE_OPEN_READONLY))
}

fn open(stage: &Rc<Stage>, path: Option<&Path>, flags: c_int) -> Result<(OpenFile, c_int), c_int> {
    let is = |flag: c_int| flags & flag != 0;
    let database = is(ffi::SQLITE_OPEN_MAIN_DB);
    let journal = is(ffi::SQLITE_OPEN_MAIN_JOURNAL);
    let new_journal = is(ffi::SQLITE_OPEN_CREATE)
        && (journal || is(ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_SUPER_JOURNAL));
    let name = path.unwrap_or(Path::new(""));
    let op = if is(ffi::SQLITE_OPEN_CREATE) {
        Op::Create
    } else {
        Op::Open
    };
    let verdict = stage.disk.admit(op, name);
    if sched::is_dead() {
        return Err(ffi::SQLITE_IOERR);
    }
    if let Verdict::Fail(errno) = verdict
        && errno != errno::EINTR
    {
        let absent = stage.disk.metadata(name).is_err();
        return Err(match errno {
            errno::EACCES if new_journal && absent => fail(errno, ffi::SQLITE_READONLY_DIRECTORY),
            _ => fail(errno, ffi::SQLITE_CANTOPEN),
        });
    }
    let (handle, flags) = match path {
        None => (stage.disk.temporary(), flags),
        Some(path) => open_named(stage, path, flags)?,
    };
    if is(ffi::SQLITE_OPEN_DELETEONCLOSE) && path.is_some() {
        let _ = stage.disk.remove(name);
    }
    let info = database.then(|| stage.info(caller(), handle.id()));
    if database {
        stage.databases.borrow_mut().insert(name.to_owned());
    }
    let file = OpenFile {
        stage: stage.clone(),
        handle,
        path: name.to_owned(),
        readonly: flags & ffi::SQLITE_OPEN_READONLY != 0,
        sync_dir: new_journal,
        info,
        level: Level::None,
        shm: None,
        chunk: 0,
        mmap_max: 0,
        persist_wal: false,
        powersafe_overwrite: true,
        journal_of: journal.then(|| database_of(name)).flatten(),
    };
    Ok((file, flags))
}

fn open_named(stage: &Stage, path: &Path, flags: c_int) -> Result<(FileHandle, c_int), c_int> {
    let is = |flag: c_int| flags & flag != 0;
    let mut mode = 0o644;
    if is(ffi::SQLITE_OPEN_MAIN_DB)
        && let Ok(found) = stage.disk.metadata(path)
        && let Some(handle) = stage.reusable(caller(), found.id, is(ffi::SQLITE_OPEN_READONLY))
    {
        return Ok((handle, flags));
    }
    if is(ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_WAL)
        && let Some(database) = database_of(path)
    {
        let found = stage.disk.metadata(&database);
        mode = found.map_err(|_| ffi::SQLITE_IOERR_FSTAT)?.mode & 0o777;
    } else if is(ffi::SQLITE_OPEN_DELETEONCLOSE) {
        mode = 0o600;
    }
    open_handle(stage, path, flags, mode).map_err(|errno| fail(errno, ffi::SQLITE_CANTOPEN))
}

unsafe extern "C" fn x_open(
    _vfs: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes szOsFile bytes.
    unsafe { detach(file) };
    guard(|| {
        step(Call::Open, flags as u64)?;
        let stage = stage().ok_or(ffi::SQLITE_CANTOPEN)?;
        // SAFETY: SQLite passes null or a string that lives as long as the file.
        let path = (!name.is_null()).then(|| unsafe { path_of(name) });
        let (open, flags) = open(&stage, path, flags)?;
        // SAFETY: as above; `out_flags` is null or valid.
        unsafe {
            attach(file, open);
            if !out_flags.is_null() {
                *out_flags = flags;
            }
        }
        Ok(())
    })
}

unsafe extern "C" fn x_delete(
    _vfs: *mut sqlite3_vfs,
    name: *const c_char,
    sync_dir: c_int,
) -> c_int {
    guard(|| {
        step(Call::Delete, sync_dir as u64)?;
        let stage = stage().ok_or(ffi::SQLITE_IOERR_DELETE)?;
        // SAFETY: SQLite passes a string.
        let path = unsafe { path_of(name) };
        let verdict = stage.disk.admit(Op::Remove, path);
        if sched::is_dead() {
            return Err(ffi::SQLITE_IOERR);
        }
        if let Verdict::Fail(errno) = verdict
            && errno != errno::EINTR
        {
            return Err(fail(errno, ffi::SQLITE_IOERR_DELETE));
        }
        stage
            .disk
            .remove(path)
            .map_err(|error| match error.raw_os_error() {
                Some(errno::ENOENT) => fail(errno::ENOENT, ffi::SQLITE_IOERR_DELETE_NOENT),
                other => fail(other.unwrap_or(errno::EIO), ffi::SQLITE_IOERR_DELETE),
            })?;
        if sync_dir & 1 != 0
            && let Some(dir) = path.parent()
        {
            let _ = stage.disk.sync_dir(dir);
        }
        if path.as_os_str().as_bytes().ends_with(b"-journal")
            && let Some(database) = database_of(path)
        {
            stage.published(&database);
        }
        Ok(())
    })
}

unsafe extern "C" fn x_access(
    _vfs: *mut sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    guard(|| {
        step(Call::Access, flags as u64)?;
        let stage = stage().ok_or(ffi::SQLITE_IOERR_ACCESS)?;
        // SAFETY: SQLite passes a string.
        let path = unsafe { path_of(name) };
        let verdict = stage.disk.admit(Op::Stat, path);
        if sched::is_dead() {
            return Err(ffi::SQLITE_IOERR);
        }
        if let Verdict::Fail(errno) = verdict
            && errno != errno::EINTR
        {
            // There an error means "not there". Here SQLite is told, so that nobody blames it for an ignored journal.
            return Err(fail(errno, ffi::SQLITE_IOERR_ACCESS));
        }
        let found = stage.disk.metadata(path).is_ok_and(|found| {
            flags != ffi::SQLITE_ACCESS_EXISTS || found.kind == Kind::Dir || found.len > 0
        });
        // SAFETY: SQLite passes a valid pointer.
        unsafe { *out = c_int::from(found) };
        Ok(())
    })
}

/// The path without `.`, `..` and doubled slashes; relative paths start at the root.
fn full_path(stage: &Stage, path: &Path) -> Result<PathBuf, c_int> {
    let mut full = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::ParentDir => {
                full.pop();
            }
            Component::Normal(name) => {
                full.push(name);
                match stage.disk.metadata(&full) {
                    Err(error) if error.raw_os_error() != Some(errno::ENOENT) => {
                        return Err(ffi::SQLITE_CANTOPEN);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    if full.as_os_str().len() < 2 {
        return Err(ffi::SQLITE_CANTOPEN);
    }
    Ok(full)
}

unsafe extern "C" fn x_full_pathname(
    _vfs: *mut sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    guard(|| {
        step(Call::FullPath, 0)?;
        let stage = stage().ok_or(ffi::SQLITE_CANTOPEN)?;
        // SAFETY: SQLite passes a string.
        let full = full_path(&stage, unsafe { path_of(name) })?;
        let bytes = full.as_os_str().as_bytes();
        if bytes.len() >= room as usize {
            return Err(ffi::SQLITE_CANTOPEN);
        }
        // SAFETY: SQLite passes `room` writable bytes, which hold the path and a zero.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), out.cast::<u8>(), bytes.len());
            out.add(bytes.len()).write(0);
        }
        Ok(())
    })
}

unsafe extern "C" fn x_dl_open(_vfs: *mut sqlite3_vfs, _name: *const c_char) -> *mut c_void {
    std::ptr::null_mut()
}

unsafe extern "C" fn x_dl_error(_vfs: *mut sqlite3_vfs, room: c_int, text: *mut c_char) {
    if room > 0 {
        // SAFETY: SQLite passes `room` writable bytes.
        unsafe { text.write(0) };
    }
}

unsafe extern "C" fn x_dl_sym(
    _vfs: *mut sqlite3_vfs,
    _library: *mut c_void,
    _name: *const c_char,
) -> Option<unsafe extern "C" fn(*mut sqlite3_vfs, *mut c_void, *const c_char)> {
    None
}

unsafe extern "C" fn x_dl_close(_vfs: *mut sqlite3_vfs, _library: *mut c_void) {}

/// Called under SQLite's mutex of its generator: no yield.
unsafe extern "C" fn x_randomness(_vfs: *mut sqlite3_vfs, len: c_int, out: *mut c_char) -> c_int {
    // SAFETY: SQLite passes `len` writable bytes.
    let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<u8>(), len as usize) };
    for chunk in out.chunks_mut(8) {
        let word = if sched::in_world() {
            sched::random()
        } else {
            0
        };
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
    len
}

unsafe extern "C" fn x_sleep(_vfs: *mut sqlite3_vfs, micros: c_int) -> c_int {
    if sched::in_world() {
        sched::sleep(micros.max(0) as u64 * 1_000);
    }
    micros
}

unsafe extern "C" fn x_current_time_int64(_vfs: *mut sqlite3_vfs, out: *mut i64) -> c_int {
    // SAFETY: SQLite passes a valid pointer.
    unsafe { *out = UNIX_EPOCH + sched::wall_millis() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_current_time(_vfs: *mut sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: SQLite passes a valid pointer.
    unsafe { *out = (UNIX_EPOCH + sched::wall_millis()) as f64 / 86_400_000.0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_get_last_error(
    _vfs: *mut sqlite3_vfs,
    _room: c_int,
    _text: *mut c_char,
) -> c_int {
    LAST_ERRNO.get()
}
