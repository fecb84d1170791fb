//! Memory for a program that allocates little and exits soon.
//!
//! The C library asks the kernel for its first memory in five system calls, and returns each larger
//! buffer to it at once. A call of `flock` is hardly more than one system call, so its allocations
//! come from a static area instead. What does not fit comes from the system's allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Enough for a call that waits, and for the stack of a child. Pages that are not used cost nothing.
const SIZE: usize = 1 << 15;

/// An allocator that places blocks one behind the other in a static area. The last block can be
/// freed and resized; another one is lost until all behind it have been freed.
///
/// *Race:* threads claim and free blocks only by changing `used` atomically. A block that ends at
/// `used` is the last one, because no later one starts before its end: between the comparison and
/// the exchange, which are one operation, no other thread can claim or free anything. What a thread
/// wrote to a block precedes (`Release`) its reuse by another (`Acquire`).
///
/// A child that shares memory with its parent ([`sentinel`](super::sentinel),
/// [`delegate`](super::delegate)) does not allocate.
#[derive(Debug)]
#[repr(C)]
pub struct Arena {
    /// The first field, so that it is in the same page as the first blocks.
    used: AtomicUsize,
    area: UnsafeCell<[MaybeUninit<u8>; SIZE]>,
}

// SAFETY: the area is accessed only through blocks, each of which belongs to one allocation.
unsafe impl Sync for Arena {}

impl Arena {
    /// Creates an allocator with an empty area.
    pub const fn new() -> Self {
        Self {
            used: AtomicUsize::new(0),
            area: UnsafeCell::new([MaybeUninit::uninit(); SIZE]),
        }
    }

    fn base(&self) -> *mut u8 {
        self.area.get().cast()
    }

    /// Returns where a block starts in the area, or `None` if it is not in it.
    fn offset_of(&self, block: *mut u8) -> Option<usize> {
        block
            .addr()
            .checked_sub(self.base().addr())
            .filter(|offset| *offset < SIZE)
    }

    /// Claims a block, or returns `None` if it does not fit.
    fn claim(&self, layout: Layout) -> Option<*mut u8> {
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let padding = (self.base().addr() + used).wrapping_neg() & (layout.align() - 1);
            let start = used + padding;
            let end = start.checked_add(layout.size())?;
            if end > SIZE {
                return None;
            }
            match self.change_used(used, end) {
                Ok(()) => return Some(self.base().wrapping_add(start)),
                Err(current) => used = current,
            }
        }
    }

    fn change_used(&self, from: usize, to: usize) -> Result<(), usize> {
        self.used
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
            .map(drop)
    }
}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: blocks have the size and alignment of their layouts, and do not overlap, as `used` only
// covers what lies behind all blocks in use. All others come from the system's allocator.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises.
        self.claim(layout)
            .unwrap_or_else(|| unsafe { System.alloc(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match self.offset_of(block) {
            Some(start) => {
                // The block is lost if it is not the last one.
                let _ = self.change_used(start + layout.size(), start);
            }
            // SAFETY: the caller's promises; the block is not in the area.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Some(start) = self.offset_of(block) else {
            // SAFETY: the caller's promises; the block is not in the area.
            return unsafe { System.realloc(block, layout, new_size) };
        };
        let fits = start.checked_add(new_size).filter(|end| *end <= SIZE);
        if fits.is_some_and(|end| self.change_used(start + layout.size(), end).is_ok()) {
            return block;
        }
        // SAFETY: the caller promises that the new size is valid for the alignment.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: the size is not 0, as the caller promises.
        let new = unsafe { self.alloc(new_layout) };
        if !new.is_null() {
            // SAFETY: two different blocks, each at least as long.
            unsafe { ptr::copy_nonoverlapping(block, new, layout.size().min(new_size)) };
            // SAFETY: the caller's promises.
            unsafe { self.dealloc(block, layout) };
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Block {
        start: *mut u8,
        layout: Layout,
        content: u8,
    }

    impl Block {
        fn bytes(&self) -> &[u8] {
            // SAFETY: the block is in use, and was filled.
            unsafe { std::slice::from_raw_parts(self.start, self.layout.size()) }
        }

        fn fill(&self) {
            // SAFETY: the block is in use.
            unsafe { self.start.write_bytes(self.content, self.layout.size()) };
        }

        fn assert_intact(&self) {
            assert_eq!(self.start.align_offset(self.layout.align()), 0);
            assert!(self.bytes().iter().all(|byte| *byte == self.content));
        }
    }

    proptest! {
        /// The number in each step selects the block and what happens to it.
        #[test]
        fn blocks_do_not_overlap_and_keep_their_content(
            steps in proptest::collection::vec((any::<usize>(), 1_usize..3000, 0_u32..8), 1..200)
        ) {
            let arena = Arena::new();
            let mut blocks: Vec<Block> = Vec::new();
            for (number, (choice, size, align)) in steps.into_iter().enumerate() {
                let index = (choice / 4).checked_rem(blocks.len());
                match (choice % 4, index) {
                    (0, Some(index)) => {
                        let block = blocks.swap_remove(index);
                        // SAFETY: in use, and never again.
                        unsafe { arena.dealloc(block.start, block.layout) };
                    }
                    (1, Some(index)) => {
                        let block = &mut blocks[index];
                        let (kept, layout) = (size.min(block.layout.size()), block.layout);
                        // SAFETY: in use; its new address is stored.
                        block.start = unsafe { arena.realloc(block.start, layout, size) };
                        block.layout = Layout::from_size_align(size, layout.align()).expect("small");
                        assert!(block.bytes()[..kept].iter().all(|byte| *byte == block.content));
                        block.fill();
                    }
                    _ => {
                        let layout = Layout::from_size_align(size, 1 << align).expect("small");
                        // SAFETY: the size is not 0.
                        let start = unsafe { arena.alloc(layout) };
                        let block = Block { start, layout, content: number as u8 };
                        block.fill();
                        blocks.push(block);
                    }
                }
                blocks.iter().for_each(Block::assert_intact);
            }
            for block in blocks {
                // SAFETY: in use, and never again.
                unsafe { arena.dealloc(block.start, block.layout) };
            }
        }
    }

    #[test]
    fn freed_memory_is_used_again() {
        let arena = Arena::new();
        let layout = Layout::new::<[u8; SIZE / 4]>();
        for _ in 0..10 {
            // SAFETY: the layout is not empty, and each block is freed once.
            unsafe {
                let blocks = [arena.alloc(layout), arena.alloc(layout)];
                assert!(blocks.iter().all(|block| arena.offset_of(*block).is_some()));
                arena.dealloc(blocks[1], layout);
                arena.dealloc(blocks[0], layout);
            }
        }
        assert_eq!(arena.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn threads_get_different_blocks() {
        let arena = Arena::new();
        let layout = Layout::new::<[u64; 4]>();
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let arena = &arena;
                scope.spawn(move || {
                    for round in 0..10_000 {
                        // SAFETY: aligned, in use until it is freed, and by this thread only.
                        unsafe {
                            let block = arena.alloc(layout).cast::<[u64; 4]>();
                            block.write([thread, round, thread, round]);
                            assert_eq!(block.read(), [thread, round, thread, round]);
                            arena.dealloc(block.cast(), layout);
                        }
                    }
                });
            }
        });
    }
}
