//! The frames a replica keeps in memory: those that isolates asked for lately, up to a bound. Pure: reads no disk.

use std::collections::BTreeMap;
use std::rc::Rc;

use flagfuse_shared::ids::Scope;

/// A quarter of an isolate's 128 MB; the other environments' frames are read from disk when somebody asks.
pub const FRAMES_LEN_MAX: usize = 32 * 1024 * 1024;

/// Frames by environment; the longest unused ones make room.
#[derive(Debug, Default)]
pub struct Frames {
    kept: BTreeMap<Scope, Kept>,
    len: usize,
    /// Rises with each use.
    tick: u64,
}

#[derive(Debug)]
struct Kept {
    used: u64,
    frame: Rc<Vec<u8>>,
}

impl Frames {
    /// The frame of an environment, if it is kept.
    pub fn get(&mut self, scope: &Scope) -> Option<Rc<Vec<u8>>> {
        self.tick += 1;
        let kept = self.kept.get_mut(scope)?;
        kept.used = self.tick;
        Some(Rc::clone(&kept.frame))
    }

    /// Keeps a frame in place of the environment's last one.
    pub fn put(&mut self, scope: &Scope, frame: Rc<Vec<u8>>) {
        self.tick += 1;
        self.len += frame.len();
        if let Some(last) = self.kept.insert(scope.clone(), Kept { used: self.tick, frame }) {
            self.len -= last.frame.len();
        }
        while self.len > FRAMES_LEN_MAX {
            let longest_unused = self.kept.iter().min_by_key(|(_, kept)| kept.used);
            let Some(scope) = longest_unused.map(|(scope, _)| scope.clone()) else { return };
            if let Some(gone) = self.kept.remove(&scope) {
                self.len -= gone.frame.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(n: usize) -> Scope {
        Scope::parse(&format!("default/demo/e{n}")).unwrap()
    }

    fn frame(len: usize) -> Rc<Vec<u8>> {
        Rc::new(vec![0; len])
    }

    #[test]
    fn the_longest_unused_frames_make_room() {
        let mut frames = Frames::default();
        for n in 0..4 {
            frames.put(&scope(n), frame(FRAMES_LEN_MAX / 4));
        }
        assert!(frames.get(&scope(0)).is_some());
        frames.put(&scope(4), frame(1));
        let kept: Vec<usize> = (0..5).filter(|n| frames.get(&scope(*n)).is_some()).collect();
        assert_eq!(kept, [0, 2, 3, 4]);
    }

    #[test]
    fn a_frame_takes_the_place_of_the_one_before() {
        let mut frames = Frames::default();
        for len in [10, 700, 20] {
            frames.put(&scope(0), frame(len));
        }
        assert_eq!((frames.len, frames.get(&scope(0)).map(|frame| frame.len())), (20, Some(20)));
    }
}
