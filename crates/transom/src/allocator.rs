//! The program's allocator.

#![expect(
    unsafe_code,
    reason = "an allocator is an unsafe trait, and mimalloc a C library"
)]

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys::{
    mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc,
    mi_zalloc_aligned,
};

/// mimalloc, which is told of an alignment only where one is needed.
///
/// Streams are made and dropped at the rate of requests, and mimalloc does that in fewer instructions than the system's
/// allocator. But it does not know that most alignments are those that all its blocks have: told of one, it takes sizes that
/// are no powers of two by the way of its rare cases, which costs 100 instructions and asks for a larger block. The crate
/// `mimalloc` always tells.
pub(crate) struct Allocator;

/// What every block of mimalloc is aligned to, however small it is.
const WORD: usize = size_of::<usize>();

// SAFETY: each call is answered by one to mimalloc, whose blocks are its own, do not overlap, and stay until they are freed; null
// says that there is no memory, as the trait has it. mimalloc does not unwind. Blocks have the alignment of the layout: a word's
// is that of all blocks (mimalloc's `types.h`: blocks are of whole words, behind a page's head of whole words), and any other is
// asked for. What was got by either way may be freed, and grown, by either.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: mimalloc takes any size, and an alignment that is a power of two, as layouts have it.
        unsafe {
            if layout.align() <= WORD {
                mi_malloc(layout.size()).cast()
            } else {
                mi_malloc_aligned(layout.size(), layout.align()).cast()
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        unsafe {
            if layout.align() <= WORD {
                mi_zalloc(layout.size()).cast()
            } else {
                mi_zalloc_aligned(layout.size(), layout.align()).cast()
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller says that the block is one of this allocator, hence of mimalloc's, and not freed yet.
        unsafe { mi_free(block.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as in `dealloc`, and as in `alloc`. If null comes back, the block is as it was.
        unsafe {
            if layout.align() <= WORD {
                mi_realloc(block.cast(), size).cast()
            } else {
                mi_realloc_aligned(block.cast(), size, layout.align()).cast()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of all sizes and alignments, several at once, so that they cannot all be the first of a page.
    #[test]
    fn blocks_are_aligned_and_keep_what_is_in_them() {
        for align in [1, 2, 4, 8, 16, 64, 128, 4096] {
            for size in (1..100).chain([127, 128, 160, 184, 255, 1000, 4097, 70_000]) {
                let layout = Layout::from_size_align(size, align).unwrap();
                let larger = Layout::from_size_align(2 * size, align).unwrap();
                let blocks: Vec<*mut u8> = (0..3_u8)
                    .map(|fill| {
                        // SAFETY: the size is not zero; what is written and read lies in the block, which is grown to
                        // twice its size after the writing.
                        unsafe {
                            let block = Allocator.alloc_zeroed(layout);
                            assert!(!block.is_null());
                            let bytes = std::slice::from_raw_parts_mut(block, size);
                            assert!(bytes.iter().all(|byte| *byte == 0));
                            bytes.fill(fill + 1);
                            let grown = Allocator.realloc(block, layout, 2 * size);
                            assert!(!grown.is_null());
                            grown
                        }
                    })
                    .collect();
                for (block, fill) in blocks.into_iter().zip(1_u8..) {
                    assert_eq!(block.addr() % align, 0, "{size} bytes, aligned to {align}");
                    // SAFETY: the block has twice the size, of which the first half is written.
                    unsafe {
                        let bytes = std::slice::from_raw_parts(block, size);
                        assert!(bytes.iter().all(|byte| *byte == fill));
                        Allocator.dealloc(block, larger);
                        let plain = Allocator.alloc(layout);
                        assert_eq!(plain.addr() % align, 0, "{size} bytes, aligned to {align}");
                        Allocator.dealloc(plain, layout);
                    }
                }
            }
        }
    }
}
