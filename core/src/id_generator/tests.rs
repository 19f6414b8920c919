#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use super::*;
use core::cell::Cell;
use std::collections::HashSet;
use std::vec::Vec;

/// Not random at all, but a different word each time.
fn counting() -> impl Entropy {
    let n = Cell::new(0u64);
    move |bytes: &mut [u8]| {
        for byte in bytes {
            n.set(n.get() + 1);
            *byte = n.get() as u8;
        }
    }
}

#[test]
fn random_ids_are_what_the_source_gives() {
    let ids = RandomIds::new(counting());
    assert_eq!(ids.span_id().to_bytes(), [1, 2, 3, 4, 5, 6, 7, 8]);
    let (trace, flags) = ids.trace_id();
    assert_eq!(trace.to_bytes(), core::array::from_fn(|i| i as u8 + 9));
    assert_eq!(flags, TraceFlags::RANDOM);
}

#[test]
fn a_source_of_zeros_still_gives_valid_ids() {
    let ids = RandomIds::new(|bytes: &mut [u8]| bytes.fill(0));
    assert_ne!(ids.span_id().to_bytes(), [0; 8]);
    let (trace, _) = ids.trace_id();
    assert_ne!(trace.to_bytes(), [0; 16]);
    assert_eq!(trace.low64(), 0, "the low half stays as it was drawn");
}

fn unshift(word: u64, by: u32) -> u64 {
    (0..64 / by).fold(word, |out, _| word ^ out >> by)
}
fn inverse(odd: u64) -> u64 {
    (0..6).fold(odd, |x, _| {
        x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x)))
    })
}

/// All 2^64 words, not a sample: each step of `mix` is linear, over bits or modulo 2^64, so it can be undone for all
/// words if it can be for a basis.
#[test]
fn mix_is_a_bijection() {
    for by in [27, 33] {
        for bit in 0..64 {
            let word = 1u64 << bit;
            assert_eq!(unshift(word ^ word >> by, by), word);
        }
    }
    for odd in [0x3c79_ac49_2ba7_b653u64, 0x1c69_b3f7_4ac4_ae35, GOLDEN] {
        assert_eq!(odd.wrapping_mul(inverse(odd)), 1);
    }
}

fn unmix(word: u64) -> u64 {
    let word = unshift(word, 27).wrapping_mul(inverse(0x1c69_b3f7_4ac4_ae35));
    let word = unshift(word, 33).wrapping_mul(inverse(0x3c79_ac49_2ba7_b653));
    unshift(word, 27)
}

#[test]
fn mix_can_be_undone() {
    let mut word = 1u64;
    for _ in 0..100_000 {
        word = word.wrapping_mul(6364136223846793005).wrapping_add(1);
        assert_eq!(unmix(mix(word)), word);
    }
}

/// Device, boot and count come back out of a trace id: so no two of them share one.
#[test]
fn device_trace_ids_can_be_undone() {
    for (device, boot) in [
        (0, 0),
        (1, 0xff_ffff),
        (u64::MAX, 17),
        (0x1234_5678_9abc_def0, 1),
    ] {
        let ids = DeviceIds::new(device, boot);
        for count in 0..1000 {
            let [high, low] = ids.trace_id().0.to_words();
            let low = low.wrapping_sub(mix(high));
            assert_eq!(high ^ mix(low.wrapping_add(GOLDEN)), device);
            let word = unmix(low).wrapping_sub(mix(device));
            assert_eq!(word, u64::from(boot) << 40 | count);
        }
        let span = unmix(ids.span_id().to_word()) ^ mix(device ^ GOLDEN);
        assert_eq!(span, u64::from(boot) << 40 | 1000);
    }
}

/// Bits of `n` words each within six standard deviations of even, and each pair of successive words about
/// half different.
fn assert_balanced(what: &str, words: impl Iterator<Item = u64>) {
    let (mut ones, mut flips, mut n, mut last) = ([0i64; 64], [0i64; 64], 0i64, 0);
    for word in words {
        for bit in 0..64 {
            ones[bit] += (word >> bit & 1) as i64;
            flips[bit] += ((word ^ last) >> bit & 1) as i64;
        }
        last = word;
        n += 1;
    }
    let bound = 3.0 * (n as f64).sqrt();
    for bit in 0..64 {
        for (name, count) in [("ones", ones[bit]), ("flips", flips[bit])] {
            let off = (count - n / 2).abs() as f64;
            assert!(off < bound, "{what}: bit {bit} has {count} {name} of {n}");
        }
    }
}

#[test]
fn bits_are_balanced() {
    const N: usize = 200_000;
    let seeded = SeededIds::new([9; 16]).unwrap();
    let local = LocalIds::new([9; 16]);
    let device = DeviceIds::new(1, 1);
    let unseeded = SeededIds::unseeded();
    let all: [(&str, &dyn IdGenerator); 4] = [
        ("seeded", &seeded),
        ("local", &local),
        ("device", &device),
        ("unseeded", &unseeded),
    ];
    for (what, ids) in all {
        assert_balanced(what, (0..N).map(|_| ids.span_id().to_word()));
        assert_balanced(what, (0..N).map(|_| ids.trace_id().0.low64()));
        assert_balanced(what, (0..N).map(|_| ids.trace_id().0.to_words()[0]));
        // The halves have nothing to do with each other.
        let halves = |_| {
            let [high, low] = ids.trace_id().0.to_words();
            high ^ low
        };
        assert_balanced(what, (0..N).map(halves));
    }
    // Neighbours in device and boot.
    let ids = |i: u64| DeviceIds::new(i, i as u32).trace_id().0;
    assert_balanced("devices", (0..N as u64).map(|i| ids(i).low64()));
    assert_balanced("devices", (0..N as u64).map(|i| ids(i).to_words()[0]));
}

#[test]
fn millions_of_ids_do_not_repeat() {
    const N: usize = 2_000_000;
    let seeded = SeededIds::new([3; 16]).unwrap();
    let local = LocalIds::new([3; 16]);
    let device = DeviceIds::new(3, 3);
    let all: [&dyn IdGenerator; 3] = [&seeded, &local, &device];
    for ids in all {
        let mut words: Vec<u64> = (0..N).map(|_| ids.span_id().to_word()).collect();
        words.sort_unstable();
        assert!(words.windows(2).all(|pair| pair[0] != pair[1]));
        let mut low: Vec<u64> = (0..N / 4).map(|_| ids.trace_id().0.low64()).collect();
        low.sort_unstable();
        assert!(low.windows(2).all(|pair| pair[0] != pair[1]));
    }
}

#[test]
fn neither_devices_nor_boots_nor_seeds_share_ids() {
    let (mut traces, mut spans) = (HashSet::new(), HashSet::new());
    let mut take = |ids: &dyn IdGenerator| {
        for _ in 0..200 {
            assert!(traces.insert(ids.trace_id().0));
            assert!(spans.insert(ids.span_id()));
        }
    };
    for device in (0..40).map(|i| i << (i % 5 * 8)).collect::<HashSet<u64>>() {
        for boot in (0..20).chain([0xff_ffff]) {
            take(&DeviceIds::new(device, boot));
        }
    }
    for i in 0..500u128 {
        take(&SeededIds::new((i + 1).to_le_bytes()).unwrap());
        take(&LocalIds::new((i + 1).to_le_bytes()));
        take(&SeededIds::new(((i + 1) << 64).to_le_bytes()).unwrap());
        take(&LocalIds::new(((i + 1) << 64).to_le_bytes()));
    }
}

#[test]
fn only_a_seed_makes_ids_random() {
    let ids = SeededIds::unseeded();
    assert!(!ids.is_seeded());
    assert_eq!(ids.trace_id().1, TraceFlags::NONE);
    assert!(!ids.seed([0; 16]), "all zeros come from a broken source");
    assert!(!ids.is_seeded());
    assert!(SeededIds::new([0; 16]).is_none());
    assert!(ids.seed([1; 16]) && ids.is_seeded());
    assert_eq!(ids.trace_id().1, TraceFlags::RANDOM);
    assert_eq!(DeviceIds::new(1, 1).trace_id().1, TraceFlags::NONE);
}

#[test]
fn a_seed_determines_the_ids_of_a_thread() {
    let (a, b) = (LocalIds::new([1; 16]), LocalIds::new([2; 16]));
    assert_ne!(a.span_id(), b.span_id());
    b.reseed([1; 16]);
    b.span_id();
    assert_eq!(a.trace_id(), b.trace_id());
}

#[test]
fn threads_share_a_generator_without_sharing_ids() {
    static IDS: SeededIds = SeededIds::unseeded();
    assert!(IDS.seed([8; 16]));
    let mut all: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    (0..100_000)
                        .map(|_| IDS.span_id().to_word())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    all.sort_unstable();
    assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn the_counter_goes_on_past_its_low_word() {
    let count = seeded::Count::starting_at(u32::MAX - 2);
    let seen: Vec<u64> = (0..6).map(|_| count.next()).collect();
    let first = u64::from(u32::MAX - 2);
    assert_eq!(seen, (first..first + 6).collect::<Vec<_>>());
}

/// Any two boots of any two devices, by birthday: 4 million span ids of 20,000 boots meet with odds of 10^-6.
#[test]
fn boots_and_devices_do_not_share_ids() {
    let (mut spans, mut low) = (Vec::new(), Vec::new());
    for device in 0..200u64 {
        // As they are: numbers in a row, one bit apart, and far apart.
        let device = match device % 3 {
            0 => device,
            1 => 1 << (device % 64),
            _ => device_id(&device.to_le_bytes()),
        };
        for boot in 0..100u32 {
            let boots = BootCounter::new();
            let ids = DeviceIds::new(device ^ 0x5eb5_0000, boots.boot(|| boot));
            for _ in 0..100 {
                spans.push(ids.span_id().to_word());
                low.push(ids.trace_id().0.low64());
            }
        }
    }
    // Devices of the first and second kind may be the same.
    let distinct = |words: &mut Vec<u64>| {
        words.sort_unstable();
        words.dedup();
        words.len()
    };
    let devices: HashSet<u64> = (0..200u64)
        .map(|device| match device % 3 {
            0 => device,
            1 => 1 << (device % 64),
            _ => device_id(&device.to_le_bytes()),
        })
        .collect();
    let expected = devices.len() * 100 * 100;
    assert_eq!(distinct(&mut spans), expected);
    assert_eq!(distinct(&mut low), expected);
}

/// RAM over resets and power losses.
mod boots {
    use super::*;
    use crate::id_generator::boots::BootCounter;
    use core::sync::atomic::Ordering::Relaxed;

    #[test]
    fn no_boot_gets_a_number_that_another_had() {
        let (mut power_ups, mut seen) = (0u32, HashSet::new());
        for _ in 0..50 {
            // Power comes: the memory holds anything.
            let ram = BootCounter::new();
            let noise = power_ups.wrapping_mul(0x9e37_79b9);
            ram.corrupt(noise, noise.rotate_left(13));
            for _ in 0..700 {
                let number = ram.boot(|| {
                    power_ups += 1;
                    power_ups
                });
                assert!(seen.insert(number), "{number} again");
            }
        }
        assert_eq!(
            power_ups,
            50 * 3,
            "once for a power-up, and for each 256 resets"
        );
    }

    #[test]
    fn zeros_ones_and_flipped_bits_are_no_count() {
        for pattern in [0u32, u32::MAX, 0xaaaa_aaaa, 0x5555_5555] {
            let ram = BootCounter::new();
            ram.corrupt(pattern, pattern);
            assert_eq!(ram.boot(|| 9), 9 << 8);
        }
        for bit in 0..64 {
            let ram = BootCounter::new();
            assert_eq!(ram.boot(|| 3), 3 << 8);
            let (count, check) = ram.words();
            ram.corrupt(
                count ^ (1u64 << bit) as u32,
                check ^ (1u64 << bit >> 32) as u32,
            );
            assert_eq!(ram.boot(|| 4), 4 << 8, "bit {bit}");
        }
    }

    /// A reset between the two stores.
    #[test]
    fn half_a_count_is_none() {
        for n in 0..300 {
            let ram = BootCounter::new();
            for _ in 0..n {
                ram.boot(|| 1);
            }
            let (_, check) = ram.words();
            ram.boot(|| 1);
            let (count, _) = ram.words();
            ram.corrupt(count, check);
            assert_eq!(ram.boot(|| 2), 2 << 8, "{n}");
        }
    }

    impl BootCounter {
        fn words(&self) -> (u32, u32) {
            (self.count.load(Relaxed), self.check.load(Relaxed))
        }
        fn corrupt(&self, count: u32, check: u32) {
            self.count.store(count, Relaxed);
            self.check.store(check, Relaxed);
        }
    }
}

/// Only entropy makes RANDOM: what a device works out of its numbers is not.
#[test]
fn random_is_said_only_of_what_is() {
    let flags = |ids: &dyn IdGenerator| ids.trace_id().1;
    let boots = BootCounter::new();
    let device = DeviceIds::unset();
    assert_eq!(flags(&device), TraceFlags::NONE);
    device.set(device_id(b"0123456789ab"), boots.boot(|| 77));
    assert_eq!(flags(&device), TraceFlags::NONE);
    let seeded = SeededIds::unseeded();
    assert_eq!(flags(&seeded), TraceFlags::NONE);
    assert!(!seeded.seed([0; 16]));
    assert_eq!(
        flags(&seeded),
        TraceFlags::NONE,
        "a source that gives nothing"
    );
    assert!(seeded.seed([7; 16]));
    assert_eq!(flags(&seeded), TraceFlags::RANDOM);
    assert_eq!(flags(&RandomIds::new(counting())), TraceFlags::RANDOM);
    assert_eq!(flags(&LocalIds::new([7; 16])), TraceFlags::RANDOM);
}
