//! Whatever a span can hold crosses the wire and reads the same on the other side.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod frames;

use frames::{Host, describe, encoder, input, record, send};
use proptest::prelude::*;
use spanlet::LocalRecord;
use spanlet::frame::{FrameEncoder, Link, Progress, StreamDecoder};

/// Sends, receives, compares all that was sendable.
fn check<const B: usize, const S: usize>(records: &[LocalRecord<'_>], link: Link, mtu: usize) {
    let mut encoder: Box<FrameEncoder<B, S>> = encoder(link);
    let (frames, unsendable) = send(&mut encoder, 0, records);
    let mut host = Host::default();
    for frame in &frames {
        assert!(frame.len() <= mtu, "{} bytes", frame.len());
        host.take(frame);
    }
    assert_eq!((host.refused, host.unresolved()), (0, 0));
    let ledger = host.tracker.ledger();
    assert!(ledger.is_balanced(), "{ledger:?}");
    assert_eq!(ledger.unsendable, u64::from(unsendable));
    assert_eq!((ledger.link_lost, ledger.pending, ledger.open), (0, 0, 0));
    assert_eq!(host.spans.len() + unsendable as usize, records.len());
    for (sequence, got) in &host.spans {
        assert_eq!(*got, describe(&records[*sequence as usize]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_span_survives(inputs in proptest::collection::vec(input(), 1..8)) {
        record(&inputs, |records| {
            // One large frame; a full dictionary; none; fragments; and small frames that lose the large.
            check::<8192, 64>(records, Link::datagrams(8192), 8192);
            check::<8192, 5>(records, Link::datagrams(1400), 1400);
            check::<8192, 0>(records, Link::datagrams(200), 200);
            check::<8192, 64>(records, Link::datagrams(48), 48);
            check::<400, 64>(records, Link::datagrams(128).without_fragments(), 128);
        });
    }

    #[test]
    fn streams_in_any_pieces(
        inputs in proptest::collection::vec(input(), 1..6),
        cuts in proptest::collection::vec(1usize..200, 1..60),
    ) {
        record(&inputs, |records| {
            let mut encoder: Box<FrameEncoder<8192, 32>> = encoder(Link::stream());
            let (frames, unsendable) = send(&mut encoder, 0, records);
            let stream: Vec<u8> = frames.concat();
            let (mut decoder, mut host) = (StreamDecoder::<8192>::new(), Host::default());
            let (mut rest, mut cuts) = (&stream[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (mut piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                rest = after;
                while let Progress::Frame(frame) = decoder.feed(&mut piece) {
                    host.take(frame);
                }
            }
            assert_eq!(host.spans.len() + unsendable as usize, records.len());
            for (sequence, got) in &host.spans {
                assert_eq!(*got, describe(&records[*sequence as usize]));
            }
            assert_eq!(decoder.skipped_bytes(), 0);
        });
    }
}
