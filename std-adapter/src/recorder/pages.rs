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
/// Pages of a size that a thread keeps, besides the one on top.
const KEPT: u32 = 64;

/// A page in a list: the list's link lies in the page's first word while nobody uses it.
type Link = Option<NonNull<u64>>;

/// Without a destructor, so that reaching it is no more than its address.
struct List {
    /// The page given back last: what the next span takes, without a walk through the list. Null if there
    /// is none; [`SHUT`] while none may be kept.
    top: Cell<*mut u64>,
    first: Cell<Link>,
    /// Pages in the list.
    len: Cell<u32>,
    words: usize,
}

/// Before [`OWNER`] knows that there is something to free, and after it has. No page's address.
const SHUT: *mut u64 = core::ptr::without_provenance_mut(1);

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
            top: Cell::new(SHUT),
            first: Cell::new(None),
            len: Cell::new(0),
            words,
        }
    }
    /// The page on top, if there is one.
    #[inline(always)]
    fn take_top(&self) -> Link {
        let page = self.top.get();
        if page.addr() <= SHUT.addr() {
            return None;
        }
        self.top.set(core::ptr::null_mut());
        NonNull::new(page)
    }
    #[inline(always)]
    fn give(&self, page: NonNull<u64>) {
        if self.top.get().is_null() {
            self.top.set(page.as_ptr());
        } else {
            self.give_below(page);
        }
    }
    #[inline(never)]
    fn take(&self) -> NonNull<u64> {
        if let Some(page) = self.take_top() {
            return page;
        }
        let Some(page) = self.first.get() else {
            return allocate(self.words);
        };
        // SAFETY: a page in the list is ours, and its first word is the link that `give_below` wrote.
        self.first.set(unsafe { page.cast::<Link>().read() });
        self.len.set(self.len.get() - 1);
        page
    }
    #[inline(never)]
    fn give_below(&self, page: NonNull<u64>) {
        if self.top.get().is_null() {
            return self.top.set(page.as_ptr());
        }
        if self.top.get() == SHUT {
            // A thread that is past its end keeps nothing.
            if OWNER.try_with(|_| ()).is_err() {
                return free(page, self.words);
            }
            return self.top.set(page.as_ptr());
        }
        if self.len.get() >= KEPT {
            return free(page, self.words);
        }
        // SAFETY: the span gave the page up; it has room for a link.
        unsafe { page.cast::<Link>().write(self.first.get()) };
        self.first.set(Some(page));
        self.len.set(self.len.get() + 1);
    }
    fn close(&self) {
        if let Some(page) = self.take_top() {
            free(page, self.words);
        }
        self.top.set(SHUT);
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
    #[inline(always)]
    fn grow_first(&mut self, need: usize) -> bool {
        if self.words != 0 || need > SMALL {
            return false;
        }
        let Some(page) = SMALL_PAGES.with(List::take_top) else {
            return false;
        };
        (self.page, self.words) = (page.cast(), SMALL);
        true
    }
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
        self.give_back();
        (self.page, self.words) = (page.cast(), words);
        true
    }
}

impl PooledBuf {
    /// For a span without entries a compare; for most others the page goes on top.
    #[inline(always)]
    fn give_back(&mut self) {
        let page = self.page.cast();
        match self.words {
            0 => {}
            SMALL => SMALL_PAGES.with(|list| list.give(page)),
            _ => LARGE_PAGES.with(|list| list.give_below(page)),
        }
    }
}

impl Drop for PooledBuf {
    #[inline(always)]
    fn drop(&mut self) {
        self.give_back();
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
        for word in &buf.words()[..SMALL] {
            // SAFETY: written before.
            assert_eq!(unsafe { word.assume_init() }, 7);
        }
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
