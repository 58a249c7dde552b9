//! A bucket for each key, of a bounded number of keys.

use super::Level;
use foldhash::{HashMap, HashMapExt};
use sidle_model::ir::TokenBucket;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// Enough that workers seldom meet at one; and so many keys at least in each, that it is seldom full before the others.
const SHARDS: u32 = 64;
const KEYS_OF_SHARD: u32 = 128;

#[derive(Debug)]
pub(super) struct Keyed {
    shards: Box<[Mutex<Shard>]>,
    keys: AtomicUsize,
}

#[derive(Debug)]
struct Shard {
    most: usize,
    /// How full, and when it was last asked.
    levels: HashMap<u64, (Level, u64)>,
    /// Keys by that; the first is the next to go.
    by_use: BTreeMap<u64, u64>,
    clock: u64,
}

impl Keyed {
    /// At most so many keys, and one at least.
    pub fn new(most: u32) -> Self {
        let shards = (most / KEYS_OF_SHARD).clamp(1, SHARDS);
        let shard = |at: u32| Shard {
            most: (most / shards + u32::from(at < most % shards)).max(1) as usize,
            levels: HashMap::new(),
            by_use: BTreeMap::new(),
            clock: 0,
        };
        Keyed { shards: (0..shards).map(|at| Mutex::new(shard(at))).collect(), keys: AtomicUsize::new(0) }
    }

    pub fn take(&self, key: u64, bucket: &TokenBucket, fills: u32) -> (bool, Level) {
        let shard = &self.shards[key as usize % self.shards.len()];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let before = shard.levels.len();
        let taken = shard.take(key, bucket, fills);
        if shard.levels.len() > before {
            self.keys.fetch_add(1, Relaxed);
        }
        taken
    }

    pub fn len(&self) -> usize {
        self.keys.load(Relaxed)
    }
}

impl Shard {
    fn take(&mut self, key: u64, bucket: &TokenBucket, fills: u32) -> (bool, Level) {
        self.clock += 1;
        let known = self.levels.get(&key).copied();
        if let Some((_, used)) = known {
            self.by_use.remove(&used);
        } else if self.levels.len() >= self.most
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.levels.remove(&oldest);
        }
        let level = known.map_or(Level { fills, tokens: bucket.max_tokens }, |(level, _)| level);
        let level = level.filled(bucket, fills);
        let taken = level.taken();
        let level = taken.unwrap_or(level);
        self.levels.insert(key, (level, self.clock));
        self.by_use.insert(self.clock, key);
        (taken.is_some(), level)
    }
}
