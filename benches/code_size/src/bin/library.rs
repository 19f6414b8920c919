//! A library, instrumented or not: the program with `trace` and the one without differ by what spans cost.
#![no_std]
#![no_main]

use spanlet_instrumented_lib::{FRAME_LEN, mean, parse};

fn work(input: &[u8; spanlet_code_size::LEN], output: &mut [u8; spanlet_code_size::LEN]) {
    let (frames, _) = input.as_chunks::<FRAME_LEN>();
    let Some(first) = frames.first() else { return };
    let parsed = parse(first);
    for (to, reading) in output
        .as_chunks_mut::<4>()
        .0
        .iter_mut()
        .zip([parsed.ok(), mean(frames)])
    {
        if let Some(reading) = reading {
            let ([a, b], [c, d]) = (
                reading.humidity.to_be_bytes(),
                reading.celsius.to_be_bytes(),
            );
            *to = [a, b, c, d];
        }
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    spanlet_code_size::run(work)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
