//! The functions that SQLite calls on an open file (`sqlite3_io_methods`).
//!
//! Promise: each begins with a step, and then works on the file as its only user.

use std::ffi::{c_int, c_void};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_io_methods};

use super::control;
use super::file::{Call, OpenFile, guard, step};
use super::lock::Level;
use crate::disk::Op;
use crate::sched;

/// What SQLite allocates for each file (`szOsFile`).
#[repr(C)]
pub struct CFile {
    base: sqlite3_file,
    /// From `Box::into_raw`, null when closed.
    open: *mut OpenFile,
}

/// The Rust side of a file.
///
/// # Safety
/// `file` must have been opened by [`attach`] and not closed, and no other reference to its Rust side may exist.
unsafe fn open_file<'a>(file: *mut sqlite3_file) -> &'a mut OpenFile {
    // SAFETY: per contract `file` points to a CFile whose `open` came from Box::into_raw and was not taken back.
    unsafe { &mut *(*file.cast::<CFile>()).open }
}

/// Makes `file` usable for SQLite.
///
/// # Safety
/// `file` must point to at least `szOsFile` writable bytes.
pub unsafe fn attach(file: *mut sqlite3_file, open: OpenFile) {
    let methods = if open.info.is_some() {
        &DATABASE
    } else {
        &PLAIN
    };
    let value = CFile {
        base: sqlite3_file { pMethods: methods },
        open: Box::into_raw(Box::new(open)),
    };
    // SAFETY: szOsFile is the size of CFile, and SQLite aligns its allocations to 8 bytes.
    unsafe { file.cast::<CFile>().write(value) };
}

/// Tells SQLite that nothing was opened.
///
/// # Safety
/// As for [`attach`].
pub unsafe fn detach(file: *mut sqlite3_file) {
    // SAFETY: `base` is the first field, and the pointer is valid per contract.
    unsafe { (*file).pMethods = std::ptr::null() };
}

unsafe extern "C" fn x_close(file: *mut sqlite3_file) -> c_int {
    guard(|| {
        let stepped = step(Call::Close, 0);
        // SAFETY: SQLite closes a file once, with no other call on it running; the box came from `attach`. `step` made
        // no reference to it.
        let mut open = unsafe { Box::from_raw((*file.cast::<CFile>()).open) };
        // SAFETY: as above; SQLite takes a file without methods for closed.
        unsafe { detach(file) };
        stepped?;
        open.admit(Op::Close)?;
        open.close_locks();
        Ok(())
    })
}

/// Defines a callback that begins with a step and then runs on the file.
macro_rules! method {
    ($name:ident, $call:expr, |$open:ident $(, $arg:ident: $type:ty)*| $detail:expr, $body:block) => {
        unsafe extern "C" fn $name(file: *mut sqlite3_file $(, $arg: $type)*) -> c_int {
            guard(|| {
                step($call, $detail)?;
                // SAFETY: SQLite passes a file that xOpen opened and xClose has not closed. A connection is never used
                // by two fibers, so no other call on this file is under way, and the reference made here is the only one.
                let $open = unsafe { open_file(file) };
                $body
            })
        }
    };
}

method!(
    x_read,
    Call::Read,
    |open, buf: *mut c_void, len: c_int, at: sqlite3_int64| at as u64,
    {
        // SAFETY: SQLite passes `len` writable bytes.
        let buf = unsafe { std::slice::from_raw_parts_mut(buf.cast::<u8>(), len as usize) };
        open.read(buf, at as u64)
    }
);

method!(
    x_write,
    Call::Write,
    |open, buf: *const c_void, len: c_int, at: sqlite3_int64| at as u64,
    {
        // SAFETY: SQLite passes `len` readable bytes.
        let data = unsafe { std::slice::from_raw_parts(buf.cast::<u8>(), len as usize) };
        open.stage.writes(&open.path);
        open.write(data, at as u64)?;
        if at == 0 && len == ZEROED_HEADER {
            open.journal_ended();
        }
        Ok(())
    }
);

/// With which a persistent journal ends.
const ZEROED_HEADER: c_int = 28;

method!(
    x_truncate,
    Call::Truncate,
    |open, len: sqlite3_int64| len as u64,
    { open.truncate(len) }
);

method!(x_sync, Call::Sync, |open, _flags: c_int| 0, { open.sync() });

method!(
    x_file_size,
    Call::Size,
    |open, out: *mut sqlite3_int64| 0,
    {
        open.admit_or(Op::Stat, ffi::SQLITE_IOERR_FSTAT)?;
        let len = open.handle.len() as i64;
        // SAFETY: SQLite passes a valid pointer. (A length of 1 is reported as 0 there, too.)
        unsafe { *out = if len == 1 { 0 } else { len } };
        Ok(())
    }
);

method!(x_lock, Call::Lock, |open, level: c_int| level as u64, {
    open.admit(Op::Memory)?;
    open.lock(Level::from_code(level))
});

method!(x_unlock, Call::Unlock, |open, level: c_int| level as u64, {
    open.admit(Op::Memory)?;
    if open.unlock(Level::from_code(level)) {
        open.stage.published(&open.path);
    }
    Ok(())
});

method!(
    x_check_reserved,
    Call::CheckReserved,
    |open, out: *mut c_int| 0,
    {
        open.admit(Op::Memory)?;
        // SAFETY: SQLite passes a valid pointer.
        unsafe { *out = c_int::from(open.is_reserved()) };
        Ok(())
    }
);

method!(
    x_file_control,
    Call::Control,
    |open, op: c_int, arg: *mut c_void| op as u64,
    {
        // SAFETY: SQLite passes the argument that belongs to `op`.
        unsafe { control::file_control(open, op, arg) }
    }
);

unsafe extern "C" fn x_sector_size(_file: *mut sqlite3_file) -> c_int {
    4096
}

unsafe extern "C" fn x_characteristics(file: *mut sqlite3_file) -> c_int {
    // SAFETY: as in `method!`; nothing yields here.
    let open = unsafe { open_file(file) };
    let mut flags = ffi::SQLITE_IOCAP_SUBPAGE_READ;
    if open.powersafe_overwrite {
        flags |= ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE;
    }
    flags
}

method!(
    x_shm_map,
    Call::ShmMap,
    |open, index: c_int, _size: c_int, extend: c_int, out: *mut *mut c_void| index as u64,
    {
        // SAFETY: SQLite passes a valid pointer.
        unsafe { *out = std::ptr::null_mut() };
        open.admit(Op::Memory)?;
        let stage = open.stage.clone();
        if !open.shm_admitted(&stage) {
            return Err(ffi::SQLITE_CANTOPEN);
        }
        if sched::is_dead() {
            return Err(ffi::SQLITE_IOERR);
        }
        let pointer = open.shm_map(&stage, index as usize, extend != 0)?;
        // SAFETY: as above.
        unsafe { *out = pointer };
        Ok(())
    }
);

method!(
    x_shm_lock,
    Call::ShmLock,
    |open, first: c_int, count: c_int, flags: c_int| (first | count << 4 | flags << 8) as u64,
    {
        open.admit(Op::Memory)?;
        if open.shm_lock(first as usize, count as usize, flags)? {
            open.stage.published(&open.path);
        }
        let given_up = ffi::SQLITE_SHM_UNLOCK | ffi::SQLITE_SHM_EXCLUSIVE;
        if flags & given_up == given_up {
            let slots = first as usize..(first + count) as usize;
            open.stage.unlocked(&slots);
        }
        Ok(())
    }
);

unsafe extern "C" fn x_shm_barrier(file: *mut sqlite3_file) {
    guard(|| {
        step(Call::ShmBarrier, 0)?;
        // SAFETY: as in `method!`.
        let open = unsafe { open_file(file) };
        open.admit(Op::Memory).map(drop)
    });
}

method!(
    x_shm_unmap,
    Call::ShmUnmap,
    |open, delete: c_int| delete as u64,
    {
        open.admit(Op::Memory)?;
        let stage = open.stage.clone();
        open.shm_unmap(&stage, delete != 0);
        Ok(())
    }
);

/// Mapping is off.
unsafe extern "C" fn x_fetch(
    _file: *mut sqlite3_file,
    _at: sqlite3_int64,
    _len: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite passes a valid pointer.
    unsafe { *out = std::ptr::null_mut() };
    ffi::SQLITE_OK
}

method!(
    x_unfetch,
    Call::Unfetch,
    |open, _at: sqlite3_int64, _page: *mut c_void| 0,
    { open.admit(Op::Memory).map(drop) }
);

unsafe extern "C" fn x_no_lock(_file: *mut sqlite3_file, _level: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_never_reserved(_file: *mut sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes a valid pointer.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

/// For files that are never locked: journals, WALs, temporary files.
static PLAIN: sqlite3_io_methods = METHODS;

const METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 3,
    xClose: Some(x_close),
    xRead: Some(x_read),
    xWrite: Some(x_write),
    xTruncate: Some(x_truncate),
    xSync: Some(x_sync),
    xFileSize: Some(x_file_size),
    xLock: Some(x_no_lock),
    xUnlock: Some(x_no_lock),
    xCheckReservedLock: Some(x_never_reserved),
    xFileControl: Some(x_file_control),
    xSectorSize: Some(x_sector_size),
    xDeviceCharacteristics: Some(x_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: Some(x_fetch),
    xUnfetch: Some(x_unfetch),
};

/// For databases.
static DATABASE: sqlite3_io_methods = sqlite3_io_methods {
    xLock: Some(x_lock),
    xUnlock: Some(x_unlock),
    xCheckReservedLock: Some(x_check_reserved),
    xShmMap: Some(x_shm_map),
    xShmLock: Some(x_shm_lock),
    xShmBarrier: Some(x_shm_barrier),
    xShmUnmap: Some(x_shm_unmap),
    ..METHODS
};
