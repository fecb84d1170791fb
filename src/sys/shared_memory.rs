//! A number in memory that a process shares with its children.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that a process shares with its children, initially zero.
#[derive(Debug)]
pub struct SharedU64(ptr::NonNull<AtomicU64>);

impl SharedU64 {
    /// Creates the number in a page of its own.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> io::Result<Self> {
        // SAFETY: a new mapping; the kernel chooses the address, and fills it with zeroes.
        let page = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size_of::<AtomicU64>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let page = ptr::NonNull::new(page.cast());
        Ok(Self(page.expect("mmap(2) maps null only on request")))
    }

    /// Returns the number that any of the processes stored last.
    pub fn get(&self) -> u64 {
        self.atomic().load(Ordering::Acquire)
    }

    /// Stores a number, which all of the processes can read.
    pub fn set(&self, value: u64) {
        self.atomic().store(value, Ordering::Release);
    }

    /// Stores a number unless a higher one is stored.
    pub fn raise(&self, value: u64) {
        self.atomic().fetch_max(value, Ordering::AcqRel);
    }

    fn atomic(&self) -> &AtomicU64 {
        // SAFETY: mapped, page-aligned, initialized, and accessed only atomically by all processes.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for SharedU64 {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, unmapped once.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<AtomicU64>()) };
    }
}
