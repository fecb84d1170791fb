//! Values in memory that a process shares with its children.

use std::array;
use std::io;
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that a process shares with its children, initially zero.
#[derive(Debug)]
pub struct SharedU64 {
    numbers: Rc<Numbers>,
    index: usize,
}

/// How many numbers share a page at most.
const MAX_NUMBERS: usize = 8;

/// The numbers in a page.
#[derive(Debug)]
struct Numbers(ptr::NonNull<[AtomicU64; MAX_NUMBERS]>);

impl SharedU64 {
    /// Creates a number.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> io::Result<Self> {
        Self::several().map(|[number]| number)
    }

    /// Creates a few numbers in one page: each mapping is a file for the kernel, which takes time.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn several<const N: usize>() -> io::Result<[Self; N]> {
        const { assert!(N <= MAX_NUMBERS) };
        let numbers = Rc::new(Numbers(map()?));
        Ok(array::from_fn(|index| Self {
            numbers: Rc::clone(&numbers),
            index,
        }))
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

    /// Stores a number if this one is stored, and returns whether it was.
    pub fn replace(&self, old: u64, new: u64) -> bool {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let result = self.atomic().compare_exchange(old, new, success, failure);
        result.is_ok()
    }

    fn atomic(&self) -> &AtomicU64 {
        // SAFETY: mapped, page-aligned, initialized, and accessed only atomically by all processes.
        let numbers = unsafe { self.numbers.0.as_ref() };
        &numbers[self.index]
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        // SAFETY: mapped by `several`, unmapped once.
        unsafe { unmap(self.0) };
    }
}

/// A value that a child of fork(2) stores for its parent.
#[derive(Debug)]
pub(super) struct ChildResult<T: Copy>(ptr::NonNull<Option<T>>);

impl<T: Copy> ChildResult<T> {
    /// Makes room for the value, before the fork.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new() -> io::Result<Self> {
        let room = map::<Option<T>>()?;
        // SAFETY: mapped, page-aligned, and not yet shared.
        unsafe { room.write(None) };
        Ok(Self(room))
    }

    /// Stores the value, in the child.
    pub(super) fn set(&self, value: T) {
        // SAFETY: mapped and initialized. The parent does not read it before the child has exited.
        unsafe { self.0.write(Some(value)) };
    }

    /// Returns the value, in the parent, if the child has stored it. The child has been reaped.
    pub(super) fn into_value(self) -> Option<T> {
        // SAFETY: mapped and initialized, and no process writes any more.
        unsafe { self.0.read() }
    }
}

impl<T: Copy> Drop for ChildResult<T> {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, unmapped once.
        unsafe { unmap(self.0) };
    }
}

/// Maps memory for one value, which children share. It is filled with zeroes.
fn map<T>() -> io::Result<ptr::NonNull<T>> {
    // SAFETY: a new mapping; the kernel chooses the address.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            size_of::<T>(),
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
    Ok(page.expect("mmap(2) maps null only on request"))
}

/// Unmaps the memory.
///
/// # Safety
///
/// It was mapped by [`map`], and is not used any more.
unsafe fn unmap<T>(page: ptr::NonNull<T>) {
    // SAFETY: see above.
    unsafe { libc::munmap(page.as_ptr().cast(), size_of::<T>()) };
}
