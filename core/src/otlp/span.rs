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
    Entry, HEADER, META_DURATION_UNKNOWN, META_ESCALATED, SpanKind, SpanView, Status, Text,
    TextKind, Visit,
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
    let mut body = Body {
        out,
        anchor,
        item: None,
        description: "",
        truncated: 0,
    };
    let mut entries = view.entries();
    while let Some(written) = entries.show_next(&mut body) {
        written?;
    }
    body.end_item()?;
    let Body {
        mut out,
        description,
        truncated,
        ..
    } = body;
    if truncated != 0 || view.has(META_DURATION_UNKNOWN | META_ESCALATED) {
        out.apart(|out| own_attributes(out, view, truncated))?;
    }
    if view.status() != Status::Unset {
        out.apart(|out| status(out, view.status(), description))?;
    }
    out.close(span)?;
    Ok(out.pos())
}

/// A span message behind its head.
struct Body<'b, 'a> {
    out: Out<'b>,
    anchor: &'b UnixAnchor,
    item: Option<Item>,
    description: &'a str,
    truncated: u32,
}

impl Body<'_, '_> {
    #[inline(always)]
    fn end_item(&mut self) -> Result<(), Full> {
        match self.item.take() {
            Some(item) => self.out.apart(|out| end_item(out, item)),
            None => Ok(()),
        }
    }
}

impl<'a> Visit<'a> for Body<'_, 'a> {
    type Out = Result<(), Full>;

    #[inline(always)]
    fn attribute(
        &mut self,
        of_item: bool,
        key: Text<'a>,
        value: Value<'a>,
        _by_ref: bool,
    ) -> Result<(), Full> {
        let tag = if !of_item {
            self.end_item()?;
            tag::SPAN_ATTRIBUTE
        } else if let Some(item) = self.item {
            item.attribute_tag()
        } else {
            // Belongs to nothing: no writer makes it.
            return Ok(());
        };
        self.out.attribute(tag, key.text, value)
    }

    #[inline(always)]
    fn other(&mut self, entry: Entry<'a>) -> Result<(), Full> {
        match entry {
            Entry::Attribute {
                of_item,
                key,
                value,
                value_by_ref,
            } => return self.attribute(of_item, key, value, value_by_ref),
            Entry::Event { name, ticks } => {
                self.end_item()?;
                let out = &mut self.out;
                let open = out.open_event(self.anchor.unix_nanos(ticks))?;
                let name_from = out.pos();
                out.text(tag::EVENT_NAME, name.text)?;
                self.item = Some(Item {
                    open,
                    is_link: false,
                    name_from,
                    name_to: out.pos(),
                });
            }
            Entry::Link(to) => {
                self.end_item()?;
                let flags = otlp_flags(to.flags(), to.is_remote());
                self.item = Some(Item {
                    open: self.out.open_link(&to, flags)?,
                    is_link: true,
                    name_from: 0,
                    name_to: 0,
                });
            }
            Entry::ItemText(kind, text) => {
                let item = self.item;
                self.out.apart(|out| item_text(out, item, kind, text))?;
            }
            Entry::ItemCounts(dropped) => {
                if let Some(item) = self.item {
                    let tag = if item.is_link {
                        tag::LINK_DROPPED_ATTRIBUTES
                    } else {
                        tag::EVENT_DROPPED_ATTRIBUTES
                    };
                    self.out.number(tag, dropped)?;
                }
            }
            Entry::Text(kind, text) => {
                self.end_item()?;
                match kind {
                    TextKind::TraceState => self.out.text(tag::SPAN_TRACE_STATE, text)?,
                    TextKind::StatusDescription => self.description = text,
                    // `name` has found it.
                    TextKind::Name => {}
                }
            }
            Entry::Counts([attributes, events, links, values]) => {
                self.end_item()?;
                self.out
                    .apart(|out| counts(out, [attributes, events, links]))?;
                self.truncated = values;
            }
            Entry::Scope | Entry::End => self.end_item()?,
        }
        Ok(())
    }
}

#[inline(never)]
fn end_item(mut out: Out<'_>, item: Item) -> Result<usize, Full> {
    out.close(item.open)?;
    Ok(out.pos())
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
