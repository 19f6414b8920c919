//! One span as an OTLP `Span` message, in one pass over its record.
//!
//! Input: a [`SpanView`] and a time mapping. Output: field 2 of `ScopeSpans` at the cursor. Bound: the
//! buffer; a span that does not fit leaves bytes behind the cursor's old place and nothing else.
//!
//! Fields come in the record's order, which protobuf allows; lengths are canonical.

use super::out::{Full, Open, Out, SpanHead, tag};
use super::{ATTRIBUTE_DURATION_UNKNOWN, ATTRIBUTE_ESCALATED, ATTRIBUTE_TRUNCATED_VALUES};
use crate::attribute::Value;
use crate::clock::UnixAnchor;
use crate::context::TraceFlags;
use crate::record::{
    Entry, HEADER, META_DURATION_UNKNOWN, META_ESCALATED, SpanKind, SpanView, Status, TextKind,
};

/// SpanFlags and link flags. SPEC: opentelemetry-proto, trace.proto, "SpanFlags".
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Bits 0–7 the W3C flags, then whether it is known that the other span is remote, and whether it is.
pub(super) const fn otlp_flags(flags: TraceFlags, is_remote: bool) -> u32 {
    let remote = if is_remote { IS_REMOTE } else { 0 };
    flags.to_byte() as u32 | HAS_IS_REMOTE | remote
}

/// OTLP's number of a kind; its 0 is "unspecified".
#[inline(always)]
pub(super) const fn otlp_kind(kind: SpanKind) -> u8 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

/// The event or link that the entries after its head belong to.
#[derive(Clone, Copy)]
struct Item {
    open: Open,
    is_link: bool,
    /// Where an event's name was put, and where the cursor was behind it.
    name_from: usize,
    name_to: usize,
}

impl Item {
    #[inline(always)]
    const fn attribute_tag(self) -> u8 {
        if self.is_link {
            tag::LINK_ATTRIBUTE
        } else {
            tag::EVENT_ATTRIBUTE
        }
    }
}

/// Writes the span at `pos`; returns where it ends.
#[inline(never)]
pub(super) fn encode(
    buf: &mut [u8],
    pos: usize,
    view: &SpanView<'_>,
    anchor: &UnixAnchor,
) -> Result<usize, Full> {
    let mut out = Out::new(buf, pos)?;
    let name = view.name();
    // Without entries the fields take at most 66 bytes and the name, with its length 57 of them.
    let is_short =
        view.words().len() == HEADER && name.len() < 56 && view.status() == Status::Unset;
    let span = out.open_span(
        &SpanHead {
            trace_id: view.trace_id().to_bytes(),
            span_id: view.span_id().to_bytes(),
            parent_id: view.parent_id().map(|id| id.to_bytes()),
            name,
            kind: otlp_kind(view.kind()),
            start_unix_nanos: anchor.unix_nanos(view.start()),
            end_unix_nanos: anchor.unix_nanos(view.end()),
            flags: otlp_flags(view.flags(), view.parent_is_remote()),
        },
        2 - is_short as usize,
    )?;
    let mut item: Option<Item> = None;
    let mut description = "";
    let mut truncated = 0;
    for entry in view.entries() {
        match entry {
            Entry::Attribute {
                of_item,
                key,
                value,
                ..
            } => {
                let tag = if !of_item {
                    end_item(&mut out, &mut item)?;
                    tag::SPAN_ATTRIBUTE
                } else if let Some(item) = item {
                    item.attribute_tag()
                } else {
                    // Belongs to nothing: no writer makes it.
                    continue;
                };
                out.attribute(tag, key.text, value)?;
            }
            Entry::Event { name, ticks } => {
                end_item(&mut out, &mut item)?;
                let open = out.open_event(anchor.unix_nanos(ticks))?;
                let name_from = out.pos();
                out.text(tag::EVENT_NAME, name.text)?;
                item = Some(Item {
                    open,
                    is_link: false,
                    name_from,
                    name_to: out.pos(),
                });
            }
            Entry::Link(to) => {
                end_item(&mut out, &mut item)?;
                let open = out.open_link(&to, otlp_flags(to.flags(), to.is_remote()))?;
                item = Some(Item {
                    open,
                    is_link: true,
                    name_from: 0,
                    name_to: 0,
                });
            }
            Entry::ItemText(kind, text) => out.apart(|out| item_text(out, item, kind, text))?,
            Entry::ItemCounts(dropped) => {
                if let Some(item) = item {
                    let tag = if item.is_link {
                        tag::LINK_DROPPED_ATTRIBUTES
                    } else {
                        tag::EVENT_DROPPED_ATTRIBUTES
                    };
                    out.number(tag, dropped)?;
                }
            }
            Entry::Text(kind, text) => {
                end_item(&mut out, &mut item)?;
                match kind {
                    TextKind::TraceState => out.text(tag::SPAN_TRACE_STATE, text)?,
                    TextKind::StatusDescription => description = text,
                    // `name` has found it.
                    TextKind::Name => {}
                }
            }
            Entry::Counts([attributes, events, links, values]) => {
                end_item(&mut out, &mut item)?;
                out.apart(|out| counts(out, [attributes, events, links]))?;
                truncated = values;
            }
            Entry::Scope(_) => end_item(&mut out, &mut item)?,
        }
    }
    end_item(&mut out, &mut item)?;
    if truncated != 0 || view.has(META_DURATION_UNKNOWN | META_ESCALATED) {
        out.apart(|out| own_attributes(out, view, truncated))?;
    }
    if view.status() != Status::Unset {
        out.apart(|out| status(out, view.status(), description))?;
    }
    out.close(span)?;
    Ok(out.pos())
}

#[inline(always)]
fn end_item(out: &mut Out<'_>, item: &mut Option<Item>) -> Result<(), Full> {
    match item.take() {
        Some(item) => out.close(item.open),
        None => Ok(()),
    }
}

#[inline(never)]
fn item_text(
    mut out: Out<'_>,
    item: Option<Item>,
    kind: TextKind,
    text: &str,
) -> Result<usize, Full> {
    match (item, kind) {
        (Some(item), TextKind::TraceState) if item.is_link => {
            out.text(tag::LINK_TRACE_STATE, text)?;
        }
        (Some(item), TextKind::Name) if !item.is_link => {
            // Instead of the head's name. Behind attributes it would come as a second name, and of two
            // the decoder takes the last.
            if out.pos() == item.name_to {
                out.rewind(item.name_from);
            }
            out.text(tag::EVENT_NAME, text)?;
        }
        _ => {}
    }
    Ok(out.pos())
}

#[inline(never)]
fn counts(mut out: Out<'_>, [attributes, events, links]: [u32; 3]) -> Result<usize, Full> {
    out.number(tag::SPAN_DROPPED_ATTRIBUTES, attributes)?;
    out.number(tag::SPAN_DROPPED_EVENTS, events)?;
    out.number(tag::SPAN_DROPPED_LINKS, links)?;
    Ok(out.pos())
}

/// What OTLP has no field for.
#[cold]
fn own_attributes(mut out: Out<'_>, view: &SpanView<'_>, truncated: u32) -> Result<usize, Full> {
    let (tag, yes) = (tag::SPAN_ATTRIBUTE, Value::Bool(true));
    if truncated != 0 {
        out.attribute(
            tag,
            ATTRIBUTE_TRUNCATED_VALUES,
            Value::I64(truncated.into()),
        )?;
    }
    if view.is_duration_unknown() {
        out.attribute(tag, ATTRIBUTE_DURATION_UNKNOWN, yes)?;
    }
    if view.is_escalated() {
        out.attribute(tag, ATTRIBUTE_ESCALATED, yes)?;
    }
    Ok(out.pos())
}

#[inline(never)]
fn status(mut out: Out<'_>, status: Status, description: &str) -> Result<usize, Full> {
    let open = out.open(tag::SPAN_STATUS, 1)?;
    // SPEC: Trace API, "Set Status": a description is for errors only.
    if status == Status::Error {
        out.text(tag::STATUS_MESSAGE, description)?;
    }
    out.number(tag::STATUS_CODE, status.to_wire().into())?;
    out.close(open)?;
    Ok(out.pos())
}

#[cfg(test)]
#[allow(
    unsafe_code,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests, which make a record as the decoder does"
)]
mod tests {
    use super::*;
    use crate::record::{EntryWriter, OF_ITEM, Room};
    use std::vec::Vec;

    struct Words(Vec<u64>);
    impl Room for Words {
        fn room(&mut self, n: usize) -> Option<*mut u64> {
            let at = self.0.len();
            self.0.resize(at + n, 0);
            Some(self.0[at..].as_mut_ptr())
        }
    }

    fn encoded(write: impl FnOnce(&mut Words)) -> Vec<u8> {
        let mut words = Words(std::vec![0; HEADER]);
        words.0[1] = 1;
        words.0[3] = 1;
        write(&mut words);
        // SAFETY: a header whose name is empty, and entries of the writer with static texts.
        let view = unsafe { SpanView::new(&words.0) }.unwrap();
        let anchor = UnixAnchor::new(crate::Ticks(0), 0, crate::TickRate::NANOSECONDS);
        let mut buf = [0; 256];
        let end = encode(&mut buf, 0, &view, &anchor).unwrap();
        // Behind tag, length, ids, kind and flags.
        buf[2 + 18 + 10 + 2 + 6..end].to_vec()
    }

    #[test]
    fn a_copied_event_name_takes_the_place_of_the_referenced_one() {
        let plain = encoded(|to| {
            EntryWriter::event(to, "copied", 5);
            EntryWriter::attribute(to, "k", OF_ITEM, Value::Bool(true));
        });
        let both = encoded(|to| {
            EntryWriter::event(to, "old", 5);
            EntryWriter::text(to, TextKind::Name, OF_ITEM, "copied");
            EntryWriter::attribute(to, "k", OF_ITEM, Value::Bool(true));
        });
        assert_eq!(both, plain);
        let text = encoded(|to| {
            EntryWriter::event(to, "", 5);
            EntryWriter::text(to, TextKind::Name, OF_ITEM, "copied");
            EntryWriter::attribute(to, "k", OF_ITEM, Value::Bool(true));
        });
        assert_eq!(text, plain);
    }

    #[test]
    fn what_belongs_to_no_item_is_left_out() {
        let stray = encoded(|to| {
            EntryWriter::attribute(to, "k", OF_ITEM, Value::Bool(true));
            EntryWriter::item_counts(to, 3);
            EntryWriter::text(to, TextKind::Name, OF_ITEM, "n");
        });
        assert_eq!(stray, []);
    }
}
