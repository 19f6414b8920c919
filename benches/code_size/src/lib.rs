//! The frame of every firmware program here: volatile input, the work, volatile output.
//!
//! The work is core's with feature `with`; without, hardly any. The difference in flash is
//! what core costs, with everything that the compiler could neither foresee nor leave out.
#![no_std]

#[cfg(all(feature = "with", target_arch = "arm"))]
pub mod tracer;

use core::cell::UnsafeCell;

/// Bytes of the input and of the output.
pub const LEN: usize = 128;

#[repr(align(8))]
struct Volatile(UnsafeCell<[u8; LEN]>);
// SAFETY: a program here has one thread and no interrupt handler.
unsafe impl Sync for Volatile {}

static INPUT: Volatile = Volatile(UnsafeCell::new([0; LEN]));
static OUTPUT: Volatile = Volatile(UnsafeCell::new([0; LEN]));

/// Runs `work` for ever, from volatile input to volatile output.
///
/// Byte by byte in loops: a volatile array as a whole becomes one load and one store for each of its bytes.
pub fn run(work: fn(&[u8; LEN], &mut [u8; LEN])) -> ! {
    let (from, to) = (INPUT.0.get().cast::<u8>(), OUTPUT.0.get().cast::<u8>());
    loop {
        let (mut input, mut output) = ([0; LEN], [0; LEN]);
        for (i, byte) in input.iter_mut().enumerate() {
            // SAFETY: `i` is below LEN, and nothing else touches the statics.
            *byte = unsafe { from.add(i).read_volatile() };
        }
        work(&input, &mut output);
        for (i, byte) in output.iter().enumerate() {
            // SAFETY: as above.
            unsafe { to.add(i).write_volatile(*byte) };
        }
    }
}

/// The work of a program without core: no call, so that a `memcpy` that core needs counts as core's.
pub fn nothing(input: &[u8; LEN], output: &mut [u8; LEN]) {
    for (to, from) in output.iter_mut().zip(input) {
        *to = from.rotate_left(1);
    }
}
