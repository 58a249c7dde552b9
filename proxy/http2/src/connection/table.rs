//! All streams of a connection.
//!
//! Invariants: a place belongs to its stream until both messages have ended and all handles are gone; a number leads to a place only
//! while frames may come for it.

use super::stream::{Stream, StreamError};
use crate::frame::window::Window;
use foldhash::{HashMap, HashMapExt as _};

/// Streams that we reset, of which frames may still come that their sender sent before it knew.
const RESET: usize = 1_024;

/// The streams.
#[derive(Debug)]
pub struct Table {
    places: Vec<Stream>,
    free: Vec<u32>,
    numbers: HashMap<u32, u32>,
    active: u32,
    reset: Vec<u32>,
    next_reset: usize,
}

impl Default for Table {
    fn default() -> Self {
        Table {
            // One: of most connections that idle no more was needed, and the smallest that grows by itself has room for four.
            places: Vec::with_capacity(1),
            free: Vec::new(),
            numbers: HashMap::new(),
            active: 0,
            reset: Vec::new(),
            next_reset: 0,
        }
    }
}

impl Table {
    /// Streams of which a message has not ended.
    pub fn active(&self) -> u32 {
        self.active
    }

    /// Places that are not free.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Begins a stream.
    pub fn begin(&mut self, id: u32, receive: Window, send: Window) -> u32 {
        let key = match self.free.pop() {
            Some(key) => key,
            None => {
                self.places.push(Stream::default());
                (self.places.len() - 1) as u32
            }
        };
        self.places[key as usize].begin(id, receive, send);
        self.numbers.insert(id, key);
        self.active += 1;
        key
    }

    /// Where a stream is for which frames may come.
    pub fn find(&self, id: u32) -> Option<u32> {
        self.numbers.get(&id).copied()
    }

    /// A place.
    pub fn at(&mut self, key: u32) -> &mut Stream {
        &mut self.places[key as usize]
    }

    /// The same, to look at.
    pub fn look(&self, key: u32) -> &Stream {
        &self.places[key as usize]
    }

    /// A place, if it is still this stream's, and it is open.
    pub fn of(&mut self, key: u32, id: u32) -> Option<&mut Stream> {
        self.places.get_mut(key as usize).filter(|stream| stream.id == id && stream.open)
    }

    /// No more frames count for this stream. Its place is free once its handles are gone.
    pub fn close(&mut self, key: u32) {
        let stream = &mut self.places[key as usize];
        if std::mem::replace(&mut stream.open, false) {
            (stream.receiving, stream.sending, stream.waiting) = (false, false, false);
            self.numbers.remove(&stream.id);
            self.active -= 1;
        }
        if stream.handles == 0 && stream.id != 0 {
            stream.clear();
            self.free.push(key);
        }
    }

    /// We reset this stream.
    pub fn remember_reset(&mut self, id: u32) {
        if self.reset.len() < RESET {
            self.reset.push(id);
        } else {
            self.reset[self.next_reset] = id;
            self.next_reset = (self.next_reset + 1) % RESET;
        }
    }

    /// Whether we reset it, not long ago.
    pub fn was_reset(&self, id: u32) -> bool {
        self.reset.contains(&id)
    }

    /// Calls `each` with all that are open.
    pub fn each(&mut self, mut each: impl FnMut(&mut Stream)) {
        self.places.iter_mut().filter(|stream| stream.open).for_each(&mut each);
    }

    /// Where open streams are whose numbers are above this one.
    pub fn open_above(&self, id: u32) -> Vec<u32> {
        let open = self.places.iter().enumerate().filter(|(_, stream)| stream.open && stream.id > id);
        open.map(|(key, _)| key as u32).collect()
    }

    /// Ends all.
    pub fn fail_all(&mut self, error: StreamError) {
        for key in 0..self.places.len() {
            let stream = &mut self.places[key];
            if stream.open {
                stream.fail(error);
                self.close(key as u32);
            }
        }
    }
}
