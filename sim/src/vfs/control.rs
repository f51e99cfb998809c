//! File controls: what SQLite and its users ask of a file by number.

use std::ffi::{c_int, c_void};
use std::ptr;

use rusqlite::ffi;

use super::NAME;
use super::file::OpenFile;
use crate::disk::Op;

/// Reads (negative) or sets a switch.
///
/// # Safety
/// `arg` must point to an int.
unsafe fn switch(value: &mut bool, arg: *mut c_void) {
    let arg = arg.cast::<c_int>();
    // SAFETY: per contract.
    unsafe {
        match *arg {
            ..0 => *arg = c_int::from(*value),
            new => *value = new != 0,
        }
    }
}

/// Enlarges the file to whole chunks, if it has a chunk size.
fn size_hint(open: &OpenFile, bytes: i64) -> Result<(), c_int> {
    if open.chunk <= 0 {
        return Ok(());
    }
    let len = (bytes + open.chunk - 1) / open.chunk * open.chunk;
    if len <= open.handle.len() as i64 {
        return Ok(());
    }
    open.admit_or(Op::Resize, ffi::SQLITE_IOERR_WRITE)?;
    let grown = open.handle.allocate(len as u64);
    grown.map_err(|_| ffi::SQLITE_IOERR_WRITE)
}

/// A copy of `text` in SQLite's memory; null if it has none.
fn copied(text: &str) -> *mut c_void {
    // SAFETY: any size may be asked for.
    let copy = unsafe { ffi::sqlite3_malloc64(text.len() as u64 + 1) };
    if !copy.is_null() {
        // SAFETY: `copy` has room for the text and a zero, and is not `text`.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr(), copy.cast::<u8>(), text.len());
            copy.cast::<u8>().add(text.len()).write(0);
        }
    }
    copy
}

/// # Safety
/// `arg` must be what SQLite's documentation says for `op`.
pub unsafe fn file_control(open: &mut OpenFile, op: c_int, arg: *mut c_void) -> Result<(), c_int> {
    // SAFETY (all blocks below): the type behind `arg` is the documented one for the operation.
    match op {
        ffi::SQLITE_FCNTL_LOCKSTATE => unsafe { *arg.cast::<c_int>() = open.level as c_int },
        ffi::SQLITE_FCNTL_LAST_ERRNO => unsafe { *arg.cast::<c_int>() = super::LAST_ERRNO.get() },
        ffi::SQLITE_FCNTL_CHUNK_SIZE => open.chunk = i64::from(unsafe { *arg.cast::<c_int>() }),
        ffi::SQLITE_FCNTL_SIZE_HINT => return size_hint(open, unsafe { *arg.cast::<i64>() }),
        ffi::SQLITE_FCNTL_PERSIST_WAL => unsafe { switch(&mut open.persist_wal, arg) },
        ffi::SQLITE_FCNTL_POWERSAFE_OVERWRITE => unsafe {
            switch(&mut open.powersafe_overwrite, arg);
        },
        ffi::SQLITE_FCNTL_VFSNAME => unsafe { *arg.cast::<*mut c_void>() = copied(NAME) },
        ffi::SQLITE_FCNTL_HAS_MOVED => {
            unsafe { *arg.cast::<c_int>() = c_int::from(open.has_moved()) };
        }
        ffi::SQLITE_FCNTL_MMAP_SIZE => {
            let arg = arg.cast::<i64>();
            // Kept and reported, never used.
            let old = open.mmap_max;
            let new = unsafe { *arg };
            if new >= 0 {
                open.mmap_max = new.min(0x7fff_0000);
            }
            unsafe { *arg = old };
        }
        ffi::SQLITE_FCNTL_EXTERNAL_READER => {
            unsafe { *arg.cast::<c_int>() = c_int::from(open.has_external_reader()) };
        }
        _ => return Err(ffi::SQLITE_NOTFOUND),
    }
    Ok(())
}
