//! When which listener hears of a publication. Pure: no clock, nothing random, no sockets; it never learns a flag's name.
//!
//! Clients that hear of a version ask for all their flags, so a message is a request that comes back. Ordinary news
//! therefore go out in a *wave*: every connection has drawn one of [`SLOT_COUNT`] slots when it came, and the slots are
//! told one after the other. What is published during a wave is told to the slots that still wait; the others hear of it
//! in the next wave, a second after the start of this one at the earliest. Urgent news go to all at once and end the wave.

use std::ops::Range;

use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::ids::{SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::{NEWS_INTERVAL_MS, NEWS_SPREAD_MS_MAX};

/// Parts of a wave: with the longest one, 62 ms lie between two of them.
pub const SLOT_COUNT: u16 = 32;

/// What listeners are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct News {
    /// What the replica serves.
    pub version: SnapshotVersion,
    /// When the replica stored it, where that is known.
    pub stored_ms: Option<UnixMillis>,
}

impl News {
    /// The message as OFREP's event streams define it.
    pub fn message(&self) -> String {
        let Self { version, stored_ms } = self;
        let modified = stored_ms.map(|at| format!(",\"lastModified\":{}", at.0)).unwrap_or_default();
        format!("{{\"type\":\"refetchEvaluation\",\"etag\":\"{version}\"{modified}}}")
    }

    /// The version that a message names.
    pub fn version_in(message: &str) -> Option<SnapshotVersion> {
        let (_, behind) = message.split_once("\"etag\":\"")?;
        SnapshotVersion::parse(behind.split_once('"')?.0)
    }
}

/// Ordinary news on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wave {
    starts_at: UnixMillis,
    spread_ms: u64,
    /// Slots before this one were told.
    next_slot: u16,
}

impl Wave {
    /// When a slot is told.
    fn due_at(&self, slot: u16) -> UnixMillis {
        self.starts_at.plus(self.spread_ms * u64::from(slot) / u64::from(SLOT_COUNT))
    }
}

/// What to do about an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Nobody has to hear this.
    Nothing,
    /// Tell everybody now.
    TellAll(News),
    /// Tell those who are due, and go on until nobody waits.
    Wave,
}

/// The news of one environment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hub {
    newest: Option<News>,
    wave: Option<Wave>,
    /// Somebody was told before the newest publication and no wave will reach them.
    is_another_needed: bool,
    /// When listeners were last told, or will be.
    told_at: Option<UnixMillis>,
}

impl Hub {
    /// What a listener is told when it comes: the newest of what was announced and what its isolate serves.
    ///
    /// It is told in any case: what was published between its last evaluation and its connection it has not heard of.
    pub fn welcome(&self, served: SnapshotVersion) -> News {
        let served = News { version: served, stored_ms: None };
        self.newest.filter(|newest| newest.version >= served.version).unwrap_or(served)
    }

    /// A publication. Announcements may be repeated and may arrive in any order.
    pub fn announce(
        &mut self,
        news: News,
        urgency: Urgency,
        listener_count: usize,
        now: UnixMillis,
    ) -> Reaction {
        let newest = self.newest.map(|newest| newest.version);
        let is_new = newest.is_none_or(|version| version < news.version);
        match urgency {
            // Told again when it is known already: the same version may have been announced as ordinary first.
            Urgency::Urgent if newest.is_none_or(|version| version <= news.version) => {
                *self = Self { newest: Some(news), told_at: Some(now), ..Self::default() };
                Reaction::TellAll(news)
            }
            Urgency::Ordinary if is_new => {
                self.newest = Some(news);
                match &self.wave {
                    Some(wave) => self.is_another_needed |= wave.next_slot > 0,
                    None => self.start_wave(listener_count, now),
                }
                Reaction::Wave
            }
            Urgency::Urgent | Urgency::Ordinary => Reaction::Nothing,
        }
    }

    /// One listener a millisecond, so that a few hear at once and many come back a thousand a second, until the spread
    /// reaches its bound.
    fn start_wave(&mut self, listener_count: usize, now: UnixMillis) {
        let spread_ms = u64::try_from(listener_count).unwrap_or(u64::MAX).min(NEWS_SPREAD_MS_MAX);
        let starts_at = self.told_at.map_or(now, |told_at| now.max(told_at.plus(NEWS_INTERVAL_MS)));
        self.wave = Some(Wave { starts_at, spread_ms, next_slot: 0 });
        self.told_at = Some(starts_at);
    }

    /// The slots that are due, and what to tell them.
    pub fn due(&mut self, listener_count: usize, now: UnixMillis) -> Option<(Range<u16>, News)> {
        let (wave, news) = (self.wave.as_mut()?, self.newest?);
        let first = wave.next_slot;
        while wave.next_slot < SLOT_COUNT && wave.due_at(wave.next_slot) <= now {
            wave.next_slot += 1;
        }
        let due = first..wave.next_slot;
        if due.end == SLOT_COUNT {
            self.wave = None;
            if std::mem::take(&mut self.is_another_needed) {
                self.start_wave(listener_count, now);
            }
        }
        Some((due, news))
    }

    /// Milliseconds until somebody is due; `None` when nobody waits.
    pub fn wait_ms(&self, now: UnixMillis) -> Option<u64> {
        self.wave.map(|wave| wave.due_at(wave.next_slot).since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn news(seq: u64) -> News {
        News { version: SnapshotVersion { epoch: 1, seq }, stored_ms: Some(NOW) }
    }

    /// Everything the hub tells from `from_ms` to `to_ms`, millisecond by millisecond: when, which slots, which seq.
    fn told(hub: &mut Hub, count: usize, from_ms: u64, to_ms: u64) -> Vec<(u64, Range<u16>, u64)> {
        let mut told = Vec::new();
        for ms in from_ms..to_ms {
            while hub.wait_ms(NOW.plus(ms)) == Some(0) {
                let (slots, news) = hub.due(count, NOW.plus(ms)).unwrap();
                told.push((ms, slots, news.version.seq));
            }
        }
        told
    }

    #[test]
    fn a_few_listeners_hear_of_an_ordinary_publication_at_once() {
        let mut hub = Hub::default();
        assert_eq!(hub.announce(news(1), Urgency::Ordinary, 1, NOW), Reaction::Wave);
        let told = told(&mut hub, 1, 0, 100);
        assert_eq!(told.last().unwrap().1.end, SLOT_COUNT);
        assert!(told.iter().all(|(ms, ..)| *ms <= 1), "{told:?}");
        assert_eq!(hub.wait_ms(NOW), None);
    }

    #[test]
    fn many_listeners_are_spread_evenly_and_each_slot_hears_once() {
        let mut hub = Hub::default();
        hub.announce(news(1), Urgency::Ordinary, 10_000, NOW);
        let told = told(&mut hub, 10_000, 0, 5_000);
        let slots: Vec<u16> = told.iter().flat_map(|(_, slots, _)| slots.clone()).collect();
        assert_eq!(slots, (0..SLOT_COUNT).collect::<Vec<_>>());
        assert!(told.iter().all(|(_, slots, _)| slots.len() == 1), "no two slots at once: {told:?}");
        let last_ms = told.last().unwrap().0;
        assert!((1_900..NEWS_SPREAD_MS_MAX).contains(&last_ms), "{last_ms}");
    }

    #[test]
    fn a_burst_is_one_message_now_and_one_a_second_later() {
        let mut hub = Hub::default();
        hub.announce(news(1), Urgency::Ordinary, 0, NOW);
        let mut seen = told(&mut hub, 0, 0, 1);
        for seq in 2..=50 {
            hub.announce(news(seq), Urgency::Ordinary, 0, NOW.plus(seq * 10));
        }
        seen.extend(told(&mut hub, 0, 500, 5_000));
        assert_eq!(seen, [(0, 0..SLOT_COUNT, 1), (NEWS_INTERVAL_MS, 0..SLOT_COUNT, 50)]);
    }

    #[test]
    fn a_publication_during_a_wave_reaches_those_who_wait_at_once_and_the_others_later() {
        let mut hub = Hub::default();
        hub.announce(news(1), Urgency::Ordinary, 10_000, NOW);
        let before = told(&mut hub, 10_000, 0, 1_000);
        hub.announce(news(2), Urgency::Ordinary, 10_000, NOW.plus(1_000));
        let after = told(&mut hub, 10_000, 1_000, 10_000);
        assert!(before.iter().all(|(_, _, seq)| *seq == 1) && after.iter().all(|(_, _, seq)| *seq == 2));
        let heard: Vec<u16> = after.iter().flat_map(|(_, slots, _)| slots.clone()).collect();
        let waiting = SLOT_COUNT - before.last().unwrap().1.end;
        assert_eq!(heard.len(), usize::from(waiting + SLOT_COUNT), "the rest of this wave, and a whole one");
        assert_eq!(hub.wait_ms(NOW.plus(10_000)), None);
    }

    #[test]
    fn urgent_news_reach_all_at_once_and_end_what_waits() {
        let mut hub = Hub::default();
        hub.announce(news(1), Urgency::Ordinary, 10_000, NOW);
        told(&mut hub, 10_000, 0, 500);
        let reaction = hub.announce(news(2), Urgency::Urgent, 10_000, NOW.plus(500));
        assert_eq!(reaction, Reaction::TellAll(news(2)));
        assert_eq!(hub.wait_ms(NOW.plus(500)), None, "nobody waits any longer");
        assert_eq!(hub.due(10_000, NOW.plus(500)), None);
        // An ordinary one that follows at once is part of the burst.
        hub.announce(news(3), Urgency::Ordinary, 1, NOW.plus(600));
        assert_eq!(hub.wait_ms(NOW.plus(600)), Some(NEWS_INTERVAL_MS - 100));
    }

    #[test]
    fn what_is_old_or_repeated_is_not_told_again() {
        let mut hub = Hub::default();
        hub.announce(news(5), Urgency::Ordinary, 0, NOW);
        told(&mut hub, 0, 0, 1);
        for (seq, urgency) in [(5, Urgency::Ordinary), (4, Urgency::Ordinary), (4, Urgency::Urgent)] {
            assert_eq!(hub.announce(news(seq), urgency, 0, NOW), Reaction::Nothing, "{seq} {urgency:?}");
        }
        // The same version turns out to be urgent: those who still wait for it wait no longer.
        assert_eq!(hub.announce(news(5), Urgency::Urgent, 0, NOW), Reaction::TellAll(news(5)));
    }

    #[test]
    fn who_comes_hears_the_newest_of_what_was_announced_and_what_is_served() {
        let mut hub = Hub::default();
        assert_eq!(hub.welcome(news(3).version).message(), r#"{"type":"refetchEvaluation","etag":"1.3"}"#);
        hub.announce(news(7), Urgency::Urgent, 0, NOW);
        let message = hub.welcome(news(3).version).message();
        assert_eq!(message, r#"{"type":"refetchEvaluation","etag":"1.7","lastModified":1800000000000}"#);
        assert_eq!(News::version_in(&message), Some(news(7).version));
        assert_eq!(hub.welcome(news(8).version).version.seq, 8, "an announcement may be on its way");
        // Only announcements count as told: the one on its way is not taken for a repetition.
        assert_eq!(hub.announce(news(8), Urgency::Ordinary, 0, NOW.plus(1)), Reaction::Wave);
    }
}
