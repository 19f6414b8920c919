//! What the checkout's services do, and how long each step takes: five incidents, as data.
//!
//! Input: the number of an incident and a seed. Output: the length of each step, shuffled within bounds;
//! what is retried and what fails. Bound: a step is within 15 % of what the incident says.

use std::time::Duration;

/// A checkout that went wrong. Times are the story's, in milliseconds.
pub(crate) struct Incident {
    /// So many times quicker than the story.
    pub(crate) scale: u32,
    /// Steps and their milliseconds; a step that is not here is not taken.
    pub(crate) steps: &'static [(&'static str, u32)],
    /// Steps that are tried again, and why; one entry a retry.
    pub(crate) retries: &'static [(&'static str, &'static str)],
    /// Steps that fail now and then, with what they say. The checkout goes on.
    pub(crate) failures: &'static [(&'static str, &'static str)],
}

pub(crate) const INCIDENTS: [Incident; 5] = [
    Incident {
        scale: 10,
        steps: &[
            ("gateway.route", 10),
            ("gateway.answer", 10),
            ("order.validate", 100),
            ("inventory.reserve", 120),
            ("payment.prepare", 20),
            ("fraud.score", 2400),
            ("card.charge", 350),
            ("payment.finish", 30),
            ("order.publish", 5),
            ("order.finish", 140),
            ("notification.send", 45),
        ],
        retries: &[
            ("fraud.score", "model timeout"),
            ("fraud.score", "model timeout"),
        ],
        failures: &[("notification.send", "451 mailbox busy, try again later")],
    },
    Incident {
        scale: 10,
        steps: &[
            ("gateway.route", 10),
            ("gateway.answer", 10),
            ("order.validate", 150),
            ("inventory.reserve", 50),
            ("payment.prepare", 150),
            ("fraud.score", 3200),
            ("payment.finish", 150),
            ("notification.direct", 100),
            ("order.finish", 190),
        ],
        retries: &[("fraud.score", "connection reset")],
        failures: &[("notification.direct", "451 mailbox busy, try again later")],
    },
    Incident {
        scale: 1,
        steps: &[
            ("gateway.route", 12),
            ("gateway.answer", 5),
            ("order.validate", 3),
            ("order.parallel", 0),
            ("inventory.reserve", 45),
            ("payment.prepare", 5),
            ("payment.external", 275),
            ("payment.finish", 10),
            ("order.insert", 4),
            ("order.publish", 1),
            ("notification.send", 25),
        ],
        retries: &[("inventory.reserve", "lock timeout")],
        failures: &[("notification.send", "451 mailbox busy, try again later")],
    },
    Incident {
        scale: 1,
        steps: &[
            ("gateway.route", 15),
            ("gateway.answer", 15),
            ("order.validate", 40),
            ("payment.prepare", 10),
            ("payment.bank", 280),
            ("fraud.prepare", 10),
            ("fraud.inference", 460),
            ("fraud.answer", 10),
            ("payment.limits", 130),
            ("payment.points", 135),
            ("payment.finish", 15),
            ("order.finish", 35),
            ("order.publish", 2),
            ("notification.send", 30),
        ],
        retries: &[("fraud.inference", "model was not loaded")],
        failures: &[("notification.send", "451 mailbox busy, try again later")],
    },
    Incident {
        scale: 10,
        steps: &[
            ("gateway.route", 10),
            ("gateway.answer", 10),
            ("order.validate", 20),
            ("inventory.reserve", 100),
            ("order.rates", 4500),
            ("rates.quote", 60),
            ("payment.prepare", 30),
            ("card.charge", 200),
            ("payment.finish", 20),
            ("order.publish", 5),
            ("order.finish", 20),
            ("notification.send", 45),
        ],
        retries: &[("card.charge", "connection reset")],
        failures: &[("notification.send", "451 mailbox busy, try again later")],
    },
];

/// Steps of `GET /stock/{sku}`, the requests in the background, in real microseconds.
const STOCK: [(&str, u32); 3] = [
    ("gateway.stock", 500),
    ("stock.cache", 300),
    ("stock.query", 2_000),
];
/// So many requests in the background; one of them fails.
pub(crate) const BACKGROUND: u64 = 8;

/// An incident with its dice thrown.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) incident: &'static Incident,
    pub(crate) seed: u64,
}

impl Plan {
    /// Of incident 1 to 5. `None` for others.
    pub(crate) fn new(incident: usize, seed: u64) -> Option<Self> {
        let incident = INCIDENTS.get(incident.checked_sub(1)?)?;
        Some(Plan { incident, seed })
    }
    /// From `DEMO_INCIDENT` and `DEMO_SEED`; incident 1 with seed 1 without.
    pub(crate) fn from_env() -> Result<Self, String> {
        let number = |name: &str| match std::env::var(name) {
            Ok(text) => text
                .parse()
                .map_err(|_| format!("{name} is no number: {text}")),
            Err(_) => Ok(1),
        };
        let incident = usize::try_from(number("DEMO_INCIDENT")?).unwrap_or(usize::MAX);
        Plan::new(incident, number("DEMO_SEED")?).ok_or_else(|| "DEMO_INCIDENT is 1 to 5".into())
    }
    /// Whether the incident takes this step.
    pub(crate) fn has(&self, step: &str) -> bool {
        self.incident.steps.iter().any(|(name, _)| *name == step)
    }
    /// How long this step takes; nothing for one that is not taken.
    pub(crate) fn length(&self, step: &str) -> Duration {
        let story = self.incident.steps.iter().find(|(name, _)| *name == step);
        let stock = STOCK.iter().find(|(name, _)| *name == step);
        let micros = match (story, stock) {
            (Some((_, ms)), _) => u64::from(*ms) * 1000 / u64::from(self.incident.scale),
            (_, Some((_, micros))) => u64::from(*micros),
            _ => 0,
        };
        Duration::from_micros(micros * (85 + self.dice(step) % 31) / 100)
    }
    /// Why this step is tried again, once for each time.
    pub(crate) fn retries(&self, step: &str) -> impl Iterator<Item = &'static str> + use<> {
        let of_step = self
            .incident
            .retries
            .iter()
            .filter(|(name, _)| *name == step);
        of_step
            .map(|(_, reason)| *reason)
            .collect::<Vec<_>>()
            .into_iter()
    }
    /// Why this step fails, if it does: with one seed in three.
    pub(crate) fn failure(&self, step: &str) -> Option<&'static str> {
        let (_, reason) = self
            .incident
            .failures
            .iter()
            .find(|(name, _)| *name == step)?;
        self.dice("failure").is_multiple_of(3).then_some(reason)
    }
    /// Whether the request for this article in the background fails: one of them does.
    pub(crate) fn stock_fails(&self, sku: i64) -> bool {
        u64::try_from(sku) == Ok(self.dice("stock") % BACKGROUND)
    }
    /// A number that follows from the seed and a word.
    pub(crate) fn dice(&self, word: &str) -> u64 {
        // FNV-1a, then the finish of SplitMix64.
        let hash = word.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut x = hash ^ self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }
}
