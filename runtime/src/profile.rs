//! Where compiled code notes when each step of a plan begins.
//!
//! Code that was compiled to keep time calls [`crate::abi::Helpers::mark`] at the
//! begin of every step and at its end. Each thread writes to a track of its own,
//! so that marking neither waits nor disturbs another thread. A step lasts until
//! the next mark of its thread.

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::barrier::Padded;

/// The step number of the mark that ends a run.
pub const END: u32 = u32::MAX;

/// The begin of a step on one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The number of the step, as the code generator counts; [`END`] after the
    /// last one.
    pub step: u32,
    /// When, by [`crate::clock::now_ns`].
    pub time_ns: u64,
}

/// The marks of one run at a time, a track for each thread.
#[derive(Debug)]
pub struct Profile {
    tracks: Box<[Padded<Track>]>,
}

#[derive(Debug, Default)]
struct Track {
    /// Step and time. Atomic only so that sharing them is sound: one thread
    /// writes, and readers come after the run.
    marks: Box<[(AtomicU32, AtomicU64)]>,
    /// Marks so far, those without room included.
    count: AtomicUsize,
}

impl Profile {
    /// Room for `capacity` marks on each of `threads` threads.
    pub fn new(threads: usize, capacity: usize) -> Self {
        let track = |_| {
            Padded(Track {
                marks: (0..capacity).map(|_| Default::default()).collect(),
                count: AtomicUsize::new(0),
            })
        };
        Profile {
            tracks: (0..threads).map(track).collect(),
        }
    }

    /// The number of tracks.
    pub fn threads(&self) -> usize {
        self.tracks.len()
    }

    /// Notes that a step begins now. Ignored on a thread without a track;
    /// counted as lost where there is no room.
    pub fn mark(&self, thread: u32, step: u32) {
        let Some(Padded(track)) = self.tracks.get(thread as usize) else {
            return;
        };
        let at = track.count.load(Ordering::Relaxed);
        track.count.store(at + 1, Ordering::Relaxed);
        if let Some((number, time)) = track.marks.get(at) {
            number.store(step, Ordering::Relaxed);
            time.store(crate::clock::now_ns(), Ordering::Relaxed);
        }
    }

    /// The marks of a thread, in order. Complete once the run has ended.
    pub fn marks(&self, thread: usize) -> impl Iterator<Item = Mark> {
        let track = self.tracks.get(thread).map(|t| &t.0);
        let kept = track.map_or(&[][..], |t| {
            &t.marks[..t.count.load(Ordering::Relaxed).min(t.marks.len())]
        });
        kept.iter().map(|(step, time)| Mark {
            step: step.load(Ordering::Relaxed),
            time_ns: time.load(Ordering::Relaxed),
        })
    }

    /// How many marks found no room, on all threads.
    pub fn lost(&self) -> usize {
        let lost = |t: &Padded<Track>| {
            let count = t.0.count.load(Ordering::Relaxed);
            count.saturating_sub(t.0.marks.len())
        };
        self.tracks.iter().map(lost).sum()
    }

    /// Forgets all marks.
    pub fn clear(&mut self) {
        for track in &mut self.tracks {
            *track.0.count.get_mut() = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracks_are_separate_and_in_order() {
        let mut profile = Profile::new(2, 3);
        for step in 0..3 {
            profile.mark(1, step);
        }
        profile.mark(0, 7);
        profile.mark(2, 9);
        let marks: Vec<Mark> = profile.marks(1).collect();
        assert_eq!(marks.iter().map(|m| m.step).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(marks.windows(2).all(|w| w[0].time_ns <= w[1].time_ns));
        assert_eq!(profile.marks(0).count(), 1);
        assert_eq!(profile.marks(2).count(), 0);
        assert_eq!(profile.lost(), 0);
        profile.clear();
        assert_eq!(profile.marks(1).count(), 0);
    }

    #[test]
    fn marks_without_room_are_counted() {
        let profile = Profile::new(1, 2);
        for step in 0..5 {
            profile.mark(0, step);
        }
        assert_eq!((profile.marks(0).count(), profile.lost()), (2, 3));
    }
}
