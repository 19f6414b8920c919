//! Devices on serial links that go wrong, under virtual time and by many seeds: what arrives, and what the ledger
//! says of the rest, to the record. `SPANLET_SEEDS` says how many seeds.

mod simulation;

use simulation::{DeviceSpan, RING, Weather, World, acknowledged, gateway, seeds, world};
use spanlet::SpanId;
use spanlet::drain::{Delivery, RecordSource};
use spanlet_std::receiver::LinkReceiver;
use std::collections::{HashMap, HashSet};

/// Some spans on a noisy link, an outage of ten rings' worth of them, some more, and then fine weather.
fn outage<S: RecordSource>(seed: u64, world: &mut World<S>, host: &mut LinkReceiver) -> usize {
    let mut n = 0;
    world.steps(2, Weather::Noisy, host);
    for _ in 0..20 {
        world.span(n);
        world.steps(2 + (seed % 3) as u32, Weather::Noisy, host);
        n += 1;
    }
    let before = world.kept.len();
    let weather = [Weather::Cut, Weather::Stalled][seed as usize % 2];
    // A span takes 12 to 14 words of the ring.
    let (mut spans, capacity) = (0, RING / 96);
    while spans < 10 * capacity {
        world.span(n);
        world.steps(1 + (n % 2) as u32, weather, host);
        n += 1;
        spans += 1;
    }
    for _ in 0..20 {
        world.span(n);
        world.steps(8, Weather::Noisy, host);
        n += 1;
    }
    before
}

#[test]
fn acknowledged_delivery_outlasts_an_outage_of_ten_rings() {
    let (mut duplicates, mut noisy) = (0, 0);
    for seed in seeds(60) {
        let (gateway, arrived) = gateway();
        let mut host = gateway.link("uart");
        let mut world = world(seed, acknowledged());
        let before = outage(seed, &mut world, &mut host);
        assert!(
            !world.refused.is_empty(),
            "the outage was longer than the ring"
        );
        let mut steps = 0;
        while gateway.ledger().total().delivered < world.kept.len() as u64 {
            world.step(Weather::Fine, &mut host);
            steps += 1;
            assert!(steps < 4000, "seed {seed}: {}", gateway.ledger().total());
        }
        world.steps(200, Weather::Fine, &mut host);
        let ledger = gateway.ledger();
        let total = ledger.total();
        // Each that the ring took, those from before the outage among them, once; no other.
        let arrived = arrived.lock().unwrap();
        assert!(arrived.values().all(|times| *times == 1), "seed {seed}");
        let kept: HashSet<SpanId> = world.kept.iter().copied().collect();
        assert_eq!(
            arrived.keys().copied().collect::<HashSet<_>>(),
            kept,
            "seed {seed}"
        );
        assert!(before >= 20 && world.kept.len() > before);
        assert_eq!(total.link.ring_full, world.refused.len() as u64);
        assert_eq!(
            (
                total.link.link_lost,
                total.link.acknowledged_elsewhere,
                total.link.pending
            ),
            (0, 0, 0),
            "seed {seed}: {total}"
        );
        assert!(ledger.is_balanced() && total.link.is_balanced(), "{total}");
        assert_eq!(total.delivered_with_placeholders, 0);
        duplicates += total.link.duplicate;
        noisy += world.harm().0.corrupted;
    }
    assert!(duplicates > 0 && noisy > 0);
}

#[test]
fn one_way_delivery_loses_what_the_ledger_names() {
    let mut losses = 0;
    for seed in seeds(60) {
        let (gateway, arrived) = gateway();
        let mut host = gateway.link("uart");
        let mut world = world(seed, Delivery::OneWay);
        outage(seed, &mut world, &mut host);
        // Nobody asks a device that does not listen: it says who it is now and then.
        world.said_hello = false;
        // Heartbeats tell of the tail, and announce the texts in turn.
        let mut steps = 0;
        loop {
            world.steps(50, Weather::Fine, &mut host);
            steps += 50;
            let total = gateway.ledger().total();
            let all = world.kept.len() + world.refused.len();
            if total.link.started == all as u64 && total.unresolved == 0 && total.link.pending == 0
            {
                break;
            }
            assert!(steps < 4000, "seed {seed}: {total}");
        }
        let ledger = gateway.ledger();
        let total = ledger.total();
        let arrived = arrived.lock().unwrap();
        assert!(arrived.values().all(|times| *times == 1), "seed {seed}");
        let missing = (world.kept.iter())
            .filter(|id| !arrived.contains_key(id))
            .count();
        assert_eq!(total.link.link_lost, missing as u64, "seed {seed}: {total}");
        assert_eq!(total.link.ring_full, world.refused.len() as u64, "{total}");
        assert!(world.refused.iter().all(|id| !arrived.contains_key(id)));
        assert!(ledger.is_balanced() && total.link.is_balanced(), "{total}");
        losses += missing;
    }
    assert!(losses > 0, "the link was bad");
}

#[test]
fn a_dead_link_is_not_flooded() {
    let (gateway, _) = gateway();
    let mut host = gateway.link("uart");
    let mut world = world(1, acknowledged());
    world.steps(100, Weather::Fine, &mut host);
    for n in 0..200 {
        world.span(n);
    }
    let before = world.written;
    // Ten minutes: at a steady pause of 0.2 s a ring of 2 KiB would go 3,000 times.
    world.steps(120_000, Weather::Cut, &mut host);
    let heartbeats = 10 * 60 * 4;
    let resent = (world.written - before - heartbeats * 16) / 1500;
    assert!((5..150).contains(&resent), "{resent} times");
    // Back within a heartbeat and the pause, however long it was away.
    let from = world.now_us;
    while gateway.ledger().total().delivered < world.kept.len() as u64 {
        world.step(Weather::Fine, &mut host);
        assert!(world.now_us < from + 3_000_000);
    }
}

#[test]
fn a_receiver_that_comes_late_knows_at_once_where_to_begin() {
    for seed in seeds(20) {
        let (first, first_arrived) = gateway();
        let mut host = first.link("uart");
        let mut world = world(seed, acknowledged());
        for n in 0..200 {
            world.span(n);
            world.steps(4, Weather::Fine, &mut host);
        }
        world.steps(100, Weather::Fine, &mut host);
        assert_eq!(first.ledger().total().delivered, 200);
        drop(host);
        // Another, without a journal; the link is bad meanwhile, and some acknowledgements may be lost.
        for n in 200..210 {
            world.span(n);
        }
        let (second, second_arrived) = gateway();
        let mut host = second.link("uart");
        let (from, acks) = (world.now_us, world.acks);
        while second.ledger().total().delivered < 10 {
            world.step(Weather::Fine, &mut host);
            // The question who it is waits for a heartbeat, the hello for the queue.
            assert!(
                world.now_us < from + 1_000_000,
                "{}",
                second.ledger().total()
            );
        }
        assert!(world.acks - acks < 20);
        world.steps(200, Weather::Fine, &mut host);
        let ledger = second.ledger();
        let link = ledger.total().link;
        assert!(ledger.is_balanced() && link.is_balanced());
        assert_eq!((link.link_lost, link.pending), (0, 0), "{link:?}");
        assert_eq!(
            (link.acknowledged_elsewhere, link.received),
            (200, 10),
            "{link:?}"
        );
        let (a, b) = (
            first_arrived.lock().unwrap(),
            second_arrived.lock().unwrap(),
        );
        assert_eq!(a.len() + b.len(), 210);
        assert!(b.keys().all(|id| !a.contains_key(id)));
    }
}

/// Without a journal what was taken and whose acknowledgement was lost comes again, and nothing else does.
#[test]
fn a_receiver_that_restarts_gets_again_what_it_could_not_acknowledge() {
    let mut again = 0;
    for seed in seeds(30) {
        let mut world = world(seed, acknowledged());
        let (mut seen, mut n): (HashMap<SpanId, u32>, _) = (HashMap::new(), 0);
        for _ in 0..6 {
            let (gateway, arrived) = gateway();
            let mut host = gateway.link("uart");
            for _ in 0..15 {
                world.span(n);
                n += 1;
                world.steps(6, Weather::Noisy, &mut host);
            }
            drop(host);
            drop(gateway);
            for (id, times) in arrived.lock().unwrap().drain() {
                assert_eq!(times, 1);
                *seen.entry(id).or_default() += 1;
            }
        }
        let (gateway, arrived) = gateway();
        let mut host = gateway.link("uart");
        world.steps(1000, Weather::Fine, &mut host);
        for (id, _) in arrived.lock().unwrap().drain() {
            *seen.entry(id).or_default() += 1;
        }
        assert!(
            world.kept.iter().all(|id| seen.contains_key(id)),
            "seed {seed}"
        );
        assert_eq!(
            seen.len(),
            world.kept.len(),
            "seed {seed}: none is invented"
        );
        let link = gateway.ledger().total().link;
        assert_eq!((link.link_lost, link.pending), (0, 0), "{link:?}");
        let there = link.acknowledged_elsewhere + link.received + link.ring_full;
        assert_eq!(link.started, there, "{link:?}");
        again += seen.values().filter(|times| **times > 1).count();
    }
    assert!(again > 0, "the test tests what it says");
}

const NAMES: [&str; 12] = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve",
];

#[test]
fn a_receiver_that_lacks_texts_asks_for_them() {
    let mut world = world(1, acknowledged());
    let (first, _) = gateway();
    let mut host = first.link("uart");
    for name in NAMES {
        drop::<DeviceSpan>(world.tracer.span(name).start());
    }
    world.steps(100, Weather::Fine, &mut host);
    assert_eq!(first.ledger().total().delivered, 12);
    // The next one has none of them; in turn, with a heartbeat every quarter of a second, they would take 3 s.
    let (second, arrived) = gateway();
    let mut host = second.link("uart");
    for name in NAMES {
        drop::<DeviceSpan>(world.tracer.span(name).start());
    }
    let mut steps = 0;
    while arrived.lock().unwrap().len() < 12 {
        world.step(Weather::Fine, &mut host);
        steps += 1;
        assert!(steps < 200, "{}", second.ledger().total());
    }
    assert_eq!(second.ledger().total().delivered_with_placeholders, 0);
}
