//! What is known of a callsite once for all: its scope, and whether its spans say their kind.
//!
//! Input: the metadata of a span. Output: a static, made at the first span of each callsite. Bound: one for each
//! callsite of the program, in chains that are read without a lock.

use spanlet::InstrumentationScope;
use std::sync::OnceLock;
use tracing_core::Metadata;

pub(super) struct Callsite {
    pub(super) metadata: &'static Metadata<'static>,
    /// Named by the target.
    pub(super) scope: InstrumentationScope<'static>,
    pub(super) has_kind: bool,
}

struct Node {
    callsite: Callsite,
    next: Link,
}
type Link = OnceLock<&'static Node>;

const HEADS: usize = 256;
static CALLSITES: [Link; HEADS] = [const { OnceLock::new() }; HEADS];

impl Callsite {
    #[inline]
    pub(super) fn of(metadata: &'static Metadata<'static>) -> &'static Self {
        // Addresses of statics of one size: the upper bits of the product are spread.
        let hash = core::ptr::from_ref(metadata)
            .addr()
            .wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as usize);
        let Some(mut link) = CALLSITES.get(hash >> (usize::BITS - HEADS.trailing_zeros())) else {
            unreachable!("as many bits as there are heads");
        };
        while let Some(node) = link.get() {
            if core::ptr::eq(node.callsite.metadata, metadata) {
                return &node.callsite;
            }
            link = &node.next;
        }
        meet(link, metadata)
    }
}

/// The first span of a callsite.
#[cold]
fn meet(mut link: &'static Link, metadata: &'static Metadata<'static>) -> &'static Callsite {
    let node: &'static Node = Box::leak(Box::new(Node {
        callsite: Callsite {
            metadata,
            scope: InstrumentationScope::new(metadata.target()),
            has_kind: metadata.fields().field("otel.kind").is_some(),
        },
        next: OnceLock::new(),
    }));
    // A thread that meets it at the same time leaks a second one, which nobody finds.
    while link.set(node).is_err() {
        let Some(other) = link.get() else { break };
        link = &other.next;
    }
    &node.callsite
}
