//! Devices on links of datagrams of every size, which are dropped, doubled and overtaken, under virtual time and by
//! many seeds. `SPANLET_SEEDS` says how many.

mod simulation;

use simulation::{ONE_PERCENT, acknowledged, gateway, seeds, world_on};
use spanlet::SpanId;
use spanlet::drain::Delivery;
use spanlet::frame::Link;
use spanlet_tests::faults::Faults;
use std::collections::HashSet;

/// What radios and packet networks do.
const PACKET_LOSS: Faults = Faults {
    drop: 8 * ONE_PERCENT,
    duplicate: 8 * ONE_PERCENT,
    reorder: 8 * ONE_PERCENT,
    corrupt: 0,
    truncate: 0,
    garbage: 0,
};

/// A BLE link without a longer MTU, LoRa, CAN FD, others; the first as pieces of a stream.
const MTUS: [usize; 8] = [20, 48, 51, 64, 100, 185, 222, 244];

#[test]
fn datagrams_of_every_size_carry_all_spans_past_loss_and_reordering() {
    let mut fragments = 0;
    for seed in seeds(40) {
        let mtu = MTUS[seed as usize % MTUS.len()];
        let piece = (mtu < Link::MIN_MTU).then_some(mtu);
        let link = match piece {
            Some(_) => Link::stream().with_mtu(64),
            None => Link::datagrams(mtu),
        };
        let (gateway, arrived) = gateway();
        let mut host = match piece {
            Some(_) => gateway.link("ble"),
            None => gateway.datagram_link("radio", mtu),
        };
        let mut world = world_on(link, seed, acknowledged());
        for n in 0..60 {
            let size = (seed * 31 + n * 17) % 150;
            world.span_of(n, size as usize);
            (0..6).for_each(|_| world.datagram_step(piece, PACKET_LOSS, &mut host));
        }
        let mut steps = 0;
        while gateway.ledger().total().delivered < world.kept.len() as u64 {
            world.datagram_step(piece, PACKET_LOSS, &mut host);
            steps += 1;
            assert!(
                steps < 40_000,
                "seed {seed}, MTU {mtu}: {}",
                gateway.ledger().total()
            );
        }
        (0..200).for_each(|_| world.datagram_step(piece, Faults::NONE, &mut host));
        let ledger = gateway.ledger();
        let link = ledger.total().link;
        let arrived = arrived.lock().unwrap();
        let kept: HashSet<SpanId> = world.kept.iter().copied().collect();
        assert_eq!(
            arrived.keys().copied().collect::<HashSet<_>>(),
            kept,
            "seed {seed}"
        );
        assert!(arrived.values().all(|times| *times == 1), "seed {seed}");
        assert!(ledger.is_balanced() && link.is_balanced(), "{link:?}");
        assert_eq!(
            (link.link_lost, link.corrupt, link.pending),
            (0, 0, 0),
            "{link:?}"
        );
        assert_eq!(ledger.intake.malformed, 0, "no two contents were mixed");
        fragments += ledger.intake.incomplete_fragments;
    }
    assert!(fragments > 0, "some contents were larger than a datagram");
}

#[test]
fn one_way_datagrams_lose_what_the_ledger_names() {
    let (mut lost, mut unsendable) = (0, 0);
    for seed in seeds(40) {
        let mtu = MTUS[1..][seed as usize % (MTUS.len() - 1)];
        let with_fragments = seed % 3 != 0;
        let link = match with_fragments {
            true => Link::datagrams(mtu),
            false => Link::datagrams(mtu).without_fragments(),
        };
        let (gateway, arrived) = gateway();
        let mut host = gateway.datagram_link("radio", mtu);
        let mut world = world_on(link, seed, Delivery::OneWay);
        for n in 0..60 {
            let size = (seed * 31 + n * 17) % 150;
            world.span_of(n, size as usize);
            (0..3).for_each(|_| world.datagram_step(None, PACKET_LOSS, &mut host));
        }
        world.said_hello = false;
        for _ in 0..4000 {
            world.datagram_step(None, Faults::NONE, &mut host);
        }
        let ledger = gateway.ledger();
        if ledger.devices.is_empty() {
            // Its hello is larger than a frame of this link: it needs fragments.
            assert!(!with_fragments && mtu < 100, "seed {seed}, MTU {mtu}");
            continue;
        }
        let total = ledger.total();
        let arrived = arrived.lock().unwrap();
        assert!(arrived.values().all(|times| *times == 1), "seed {seed}");
        let missing = (world.kept.iter())
            .filter(|id| !arrived.contains_key(id))
            .count() as u64;
        let link = total.link;
        assert_eq!(
            link.link_lost + link.unsendable,
            missing,
            "seed {seed}: {total}"
        );
        assert_eq!(
            (total.unresolved, link.pending),
            (0, 0),
            "seed {seed}: {total}"
        );
        assert!(!with_fragments || link.unsendable == 0, "{total}");
        assert!(ledger.is_balanced() && link.is_balanced(), "{total}");
        assert_eq!(ledger.intake.malformed, 0);
        lost += link.link_lost;
        unsendable += link.unsendable;
    }
    assert!(lost > 0 && unsendable > 0, "{lost} {unsendable}");
}
