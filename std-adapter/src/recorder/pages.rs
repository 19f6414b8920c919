//! Pages for the entries of open spans, kept by the thread that needs them.
//!
//! A span takes a page with its first entry and gives it back when it ends, to the thread it ends on. A
//! span that outgrows a small page moves to a large one. After a thread's first spans nothing is
//! allocated any more; what it keeps is bounded.

use core::mem::MaybeUninit;
use spanlet::SpanBuf;
use std::cell::Cell;
use std::ptr::NonNull;

/// Words of a small page: four attributes and more.
const SMALL: usize = 64;
/// Words of a large page: 16 KiB.
const LARGE: usize = 2048;
/// Pages of a size that a thread keeps.
const KEPT: u32 = 64;

/// A page in a list: the list's link lies in the page's first word while nobody uses it.
type Link = Option<NonNull<u64>>;

/// Without a destructor, so that reaching it is no more than its address.
struct List {
    first: Cell<Link>,
    /// Pages in the list; [`CLOSED`] while none may be kept.
    len: Cell<u32>,
    words: usize,
}

/// Before [`OWNER`] knows that there is something to free, and after it has.
const CLOSED: u32 = u32::MAX;

thread_local! {
    static SMALL_PAGES: List = const { List::new(SMALL) };
    static LARGE_PAGES: List = const { List::new(LARGE) };
    /// Frees the pages in both lists when the thread ends.
    static OWNER: Owner = const { Owner };
}

struct Owner;

impl Drop for Owner {
    fn drop(&mut self) {
        SMALL_PAGES.with(List::close);
        LARGE_PAGES.with(List::close);
    }
}

impl List {
    const fn new(words: usize) -> Self {
        List {
            first: Cell::new(None),
            len: Cell::new(CLOSED),
            words,
        }
    }
    #[inline(always)]
    fn take(&self) -> NonNull<u64> {
        let Some(page) = self.first.get() else {
            return allocate(self.words);
        };
        // SAFETY: a page in the list is ours, and its first word is the link that `give` wrote.
        self.first.set(unsafe { page.cast::<Link>().read() });
        self.len.set(self.len.get() - 1);
        page
    }
    #[inline(always)]
    fn give(&self, page: NonNull<u64>) {
        if self.len.get() >= KEPT {
            return self.give_first_or_last(page);
        }
        // SAFETY: the span gave the page up; it has room for a link.
        unsafe { page.cast::<Link>().write(self.first.get()) };
        self.first.set(Some(page));
        self.len.set(self.len.get() + 1);
    }
    #[cold]
    #[inline(never)]
    fn give_first_or_last(&self, page: NonNull<u64>) {
        // A thread that is past its end keeps nothing.
        if self.len.get() != CLOSED || OWNER.try_with(|_| ()).is_err() {
            return free(page, self.words);
        }
        self.len.set(0);
        self.give(page);
    }
    fn close(&self) {
        self.len.set(CLOSED);
        while let Some(page) = self.first.get() {
            // SAFETY: as in `take`.
            self.first.set(unsafe { page.cast::<Link>().read() });
            free(page, self.words);
        }
    }
}

#[cold]
fn allocate(words: usize) -> NonNull<u64> {
    let page: Box<[MaybeUninit<u64>]> = Box::new_uninit_slice(words);
    // SAFETY: a box is never null.
    unsafe { NonNull::new_unchecked(Box::into_raw(page).cast()) }
}

#[cold]
fn free(page: NonNull<u64>, words: usize) {
    let slice = std::ptr::slice_from_raw_parts_mut(page.as_ptr().cast::<MaybeUninit<u64>>(), words);
    // SAFETY: `allocate` made it with this length, and nobody else has it.
    drop(unsafe { Box::from_raw(slice) });
}

/// A handle to a page, or to none: two words to move.
pub struct PooledBuf {
    page: NonNull<MaybeUninit<u64>>,
    words: usize,
}

// SAFETY: the page belongs to the handle alone.
unsafe impl Send for PooledBuf {}
// SAFETY: through a shared handle it is only read.
unsafe impl Sync for PooledBuf {}

// SAFETY: the page stays where it is when the handle moves; `grow` copies what was used.
unsafe impl SpanBuf for PooledBuf {
    #[inline(always)]
    fn new() -> Self {
        PooledBuf {
            page: NonNull::dangling(),
            words: 0,
        }
    }
    #[inline(always)]
    fn words(&self) -> &[MaybeUninit<u64>] {
        // SAFETY: the page has `words` words, or there are none.
        unsafe { core::slice::from_raw_parts(self.page.as_ptr(), self.words) }
    }
    #[inline(always)]
    fn words_mut(&mut self) -> &mut [MaybeUninit<u64>] {
        // SAFETY: as above, and the handle is borrowed alone.
        unsafe { core::slice::from_raw_parts_mut(self.page.as_ptr(), self.words) }
    }
    #[inline]
    fn grow(&mut self, used: usize, need: usize) -> bool {
        let (list, words) = match (self.words, need) {
            (0, 0..=SMALL) => (&SMALL_PAGES, SMALL),
            (_, 0..=LARGE) if self.words < LARGE => (&LARGE_PAGES, LARGE),
            _ => return false,
        };
        let page = list.with(List::take);
        // SAFETY: the new page is larger, and it is another one.
        unsafe {
            page.as_ptr()
                .cast::<MaybeUninit<u64>>()
                .copy_from_nonoverlapping(self.page.as_ptr(), used.min(self.words));
        }
        if self.words != 0 {
            self.give_back();
        }
        (self.page, self.words) = (page.cast(), words);
        true
    }
}

impl PooledBuf {
    /// Out of line: the end of a span without entries is a compare.
    #[inline(never)]
    fn give_back(&mut self) {
        let list = match self.words {
            SMALL => &SMALL_PAGES,
            _ => &LARGE_PAGES,
        };
        list.with(|list| list.give(self.page.cast()));
    }
}

impl Drop for PooledBuf {
    #[inline(always)]
    fn drop(&mut self) {
        if self.words != 0 {
            self.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_and_keeps_what_was_written() {
        let mut buf = PooledBuf::new();
        assert!(buf.grow(0, 10));
        assert_eq!(buf.words().len(), SMALL);
        buf.words_mut()[..SMALL].fill(MaybeUninit::new(7));
        assert!(buf.grow(SMALL, SMALL + 1));
        assert_eq!(buf.words().len(), LARGE);
        // SAFETY: written before.
        assert!(
            buf.words()[..SMALL]
                .iter()
                .all(|w| unsafe { w.assume_init() } == 7)
        );
        assert!(!buf.grow(LARGE, LARGE + 1));
    }

    #[test]
    fn pages_go_to_the_thread_that_ends_the_span() {
        for _ in 0..3 {
            let many: Vec<_> = (0..KEPT * 2)
                .map(|_| {
                    let mut buf = PooledBuf::new();
                    assert!(buf.grow(0, 1));
                    buf
                })
                .collect();
            std::thread::spawn(move || {
                drop(many);
                SMALL_PAGES.with(|list| assert_eq!(list.len.get(), KEPT));
            })
            .join()
            .unwrap();
        }
    }
}
