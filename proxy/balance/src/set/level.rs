//! Priorities: how much of the load each gets, by how many of its endpoints are well.
//!
//! Invariants: while a priority is well enough, those after it get nothing; what it cannot take spills over to the next ones, in
//! order. Percent are whole numbers, as in Envoy, so that a hash finds the same priority behind both.
//! Source: Envoy's "Priority levels" and "Panic threshold".

use std::ops::Range;

/// Percent of the endpoints of a priority that it can lose and still take all of the load: 140 % of those that are well.
const OVERPROVISIONING: u64 = 140;

/// A priority that has endpoints.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Level {
    pub priority: u32,
    /// Its groups.
    pub groups: Range<usize>,
    /// What it can take of the whole load, in percent.
    pub health: u32,
}

/// What a priority is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// What it can take of the whole load, in percent.
    pub health: u32,
    /// Whether so few are well that all are used.
    pub panics: bool,
}

/// Percent of its load that so many endpoints that are well can take.
pub(super) fn health(all: usize, well: usize) -> u32 {
    let percent = (OVERPROVISIONING * well as u64).checked_div(all as u64).unwrap_or(0);
    percent.min(100) as u32
}

/// Where each priority stands, given how many endpoints it has and how many of them are well.
pub(super) fn standings(levels: &[(usize, usize)], panic_threshold: u8) -> Vec<Standing> {
    let mut standings: Vec<_> =
        levels.iter().map(|&(all, well)| Standing { health: health(all, well), panics: false }).collect();
    let total: u32 = standings.iter().map(|standing| standing.health).sum();
    if total < 100 {
        for (standing, &(all, well)) in standings.iter_mut().zip(levels) {
            standing.panics = well * 100 < all * usize::from(panic_threshold);
        }
    }
    if standings.iter().all(|standing| standing.panics) {
        // Nobody is trusted, so everybody is: by number.
        let count = levels.iter().map(|(all, _)| all).sum::<usize>().max(1);
        for (standing, (all, _)) in standings.iter_mut().zip(levels) {
            standing.health = (all * 100 / count) as u32;
        }
    }
    standings
}

/// The priority that a percent of the load falls on, leaving out those that `is_excluded`; `None` if none of the others can take any.
pub(super) fn level_at(
    levels: &[Level],
    percent: u32,
    is_excluded: impl Fn(&Level) -> bool,
) -> Option<&Level> {
    let candidates = || levels.iter().filter(|level| level.health > 0 && !is_excluded(level));
    let total = candidates().map(|level| level.health).sum::<u32>().min(100);
    let mut until = 0;
    for level in candidates() {
        until += level.health * 100 / total;
        if percent < until {
            return Some(level);
        }
    }
    candidates().next() // what rounding left over
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Percent of the load that each priority gets.
    fn loads(levels: &[(usize, usize)], panic_threshold: u8) -> Vec<u32> {
        let levels: Vec<_> = standings(levels, panic_threshold)
            .into_iter()
            .zip(0..)
            .map(|(standing, priority)| Level { priority, groups: 0..0, health: standing.health })
            .collect();
        let mut loads = vec![0; levels.len()];
        for percent in 0..100 {
            if let Some(level) = level_at(&levels, percent, |_| false) {
                loads[level.priority as usize] += 1;
            }
        }
        loads
    }

    /// The tables of Envoy's documentation.
    #[test]
    fn what_a_priority_cannot_take_spills_over() {
        for (well, expected) in [
            ([100, 100], [100, 0]),
            ([72, 72], [100, 0]),
            ([71, 71], [99, 1]),
            ([50, 50], [70, 30]),
            ([25, 100], [35, 65]),
            ([25, 25], [50, 50]),
            ([0, 100], [0, 100]),
        ] {
            assert_eq!(loads(&well.map(|well| (100, well)), 0), expected, "{well:?}");
        }
        for (well, expected) in [
            ([100, 100, 100], [100, 0, 0]),
            ([72, 72, 100], [100, 0, 0]),
            ([50, 50, 50], [70, 30, 0]),
            ([50, 0, 50], [70, 0, 30]),
            ([25, 25, 25], [35, 35, 30]),
            ([20, 20, 20], [34, 33, 33]),
            ([25, 25, 100], [35, 35, 30]),
        ] {
            assert_eq!(loads(&well.map(|well| (100, well)), 0), expected, "{well:?}");
        }
    }

    #[test]
    fn panic_is_for_those_that_the_others_cannot_stand_in_for() {
        let panics = |levels: &[(usize, usize)], threshold| {
            standings(levels, threshold).iter().map(|standing| standing.panics).collect::<Vec<_>>()
        };
        assert_eq!(panics(&[(4, 1)], 50), [true]);
        assert_eq!(panics(&[(4, 2)], 50), [false]);
        assert_eq!(panics(&[(4, 1)], 0), [false]);
        assert_eq!(panics(&[(4, 1), (4, 4)], 50), [false, false], "the second takes what the first cannot");
        assert_eq!(panics(&[(100, 25), (100, 51)], 50), [false, false], "35 and 71 are enough");
        assert_eq!(panics(&[(100, 5), (100, 60)], 50), [true, false]);
        assert_eq!(loads(&[(100, 0), (300, 0)], 50), [25, 75], "everywhere, by number");
        assert_eq!(loads(&[(100, 0), (300, 0)], 0), [0, 0], "nowhere");
    }

    #[test]
    fn what_is_excluded_is_spilled_too() {
        let levels =
            [(0, 70), (1, 100), (2, 100)].map(|(priority, health)| Level { priority, groups: 0..0, health });
        let at = |percent, excluded: &[u32]| {
            level_at(&levels, percent, |level| excluded.contains(&level.priority)).map(|level| level.priority)
        };
        assert_eq!((at(69, &[]), at(70, &[]), at(99, &[])), (Some(0), Some(1), Some(1)));
        assert_eq!((at(0, &[0]), at(99, &[0])), (Some(1), Some(1)));
        assert_eq!((at(69, &[1]), at(70, &[1])), (Some(0), Some(2)));
        assert_eq!(at(0, &[0, 1, 2]), None);
    }

    proptest! {
        #[test]
        fn all_of_the_load_goes_somewhere_and_the_first_that_is_well_takes_it(
            levels in prop::collection::vec((1..200usize, 0..200usize), 1..6),
            threshold in 0..=100u8,
        ) {
            let levels: Vec<_> = levels.into_iter().map(|(all, well)| (all, well.min(all))).collect();
            let loads = loads(&levels, threshold);
            let anybody = levels.iter().any(|&(all, well)| health(all, well) > 0);
            prop_assert_eq!(loads.iter().sum::<u32>(), if anybody || threshold > 0 { 100 } else { 0 });
            let enough = levels.iter().position(|&(all, well)| health(all, well) == 100);
            if let Some(first) = enough {
                prop_assert!(loads[first + 1..].iter().all(|&load| load == 0), "{loads:?} of {levels:?}");
            }
            for (standing, &(all, well)) in standings(&levels, threshold).iter().zip(&levels) {
                prop_assert!(!standing.panics || well * 100 < all * usize::from(threshold));
            }
        }
    }
}
