//! Weighted choice at constant cost: Walker's alias method with Vose's construction.
//!
//! Each of n columns is filled to the same height by at most two endpoints: its own, up to a threshold, and an alias above
//! it. One random number gives the column (its high part times n) and the height within (what remains).
//! Invariants: the share of an endpoint is its weight over the sum, up to n / 2^64.

/// Weighted choice at constant cost.
#[derive(Debug)]
pub(crate) struct AliasTable {
    columns: Vec<Column>,
}

#[derive(Debug, Clone, Copy)]
struct Column {
    /// Heights below this belong to the column's own endpoint; all of them if it is the maximum.
    threshold: u64,
    alias: u32,
}

impl AliasTable {
    /// For weights that are at least 1.
    pub fn new(weights: &[u32]) -> Self {
        let count = weights.len() as u128;
        let total: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
        // Weights times n, so that the height of a column is the whole number `total`.
        let mut rest: Vec<u128> = weights.iter().map(|&weight| u128::from(weight) * count).collect();
        let mut columns: Vec<Column> =
            (0..weights.len()).map(|i| Column { threshold: u64::MAX, alias: i as u32 }).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|&i| rest[i] < total);
        while let (Some(&low), Some(&high)) = (small.last(), large.last()) {
            small.pop();
            columns[low] = Column { threshold: fraction(rest[low], total), alias: high as u32 };
            rest[high] -= total - rest[low];
            if rest[high] < total {
                large.pop();
                small.push(high);
            }
        }
        AliasTable { columns }
    }

    /// The endpoint that a uniform random number falls on.
    pub fn sample(&self, random: u64) -> usize {
        let product = u128::from(random) * self.columns.len() as u128;
        let (index, height) = ((product >> 64) as usize, product as u64);
        let column = self.columns[index];
        if height < column.threshold || column.threshold == u64::MAX { index } else { column.alias as usize }
    }
}

/// `part / whole` in units of 2^-64; `part` is less than `whole`, and both are below 2^64.
fn fraction(part: u128, whole: u128) -> u64 {
    ((part << 64) / whole) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The exact share of each endpoint, from the table itself.
    fn shares(table: &AliasTable) -> Vec<f64> {
        let mut shares = vec![0.0; table.columns.len()];
        for (index, column) in table.columns.iter().enumerate() {
            let own =
                if column.threshold == u64::MAX { 1.0 } else { column.threshold as f64 / 2f64.powi(64) };
            shares[index] += own / table.columns.len() as f64;
            shares[column.alias as usize] += (1.0 - own) / table.columns.len() as f64;
        }
        shares
    }

    proptest! {
        #[test]
        fn shares_are_the_weights(weights in prop::collection::vec(1..=u32::MAX, 1..60)) {
            let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
            for (share, &weight) in shares(&AliasTable::new(&weights)).iter().zip(&weights) {
                prop_assert!((share - f64::from(weight) / total).abs() < 1e-9, "{share} for {weight} of {total}");
            }
        }

        #[test]
        fn samples_are_in_range(weights in prop::collection::vec(1..100u32, 1..60), random: u64) {
            prop_assert!(AliasTable::new(&weights).sample(random) < weights.len());
            prop_assert!(AliasTable::new(&weights).sample(u64::MAX) < weights.len());
        }
    }

    #[test]
    fn samples_follow_the_weights() {
        let table = AliasTable::new(&[1, 2, 5]);
        let mut counts = [0u32; 3];
        // Every 80,000th of the range, once: a uniform source without chance.
        for step in 0..80_000u64 {
            counts[table.sample(step * (u64::MAX / 80_000))] += 1;
        }
        for (count, expected) in counts.iter().zip([10_000, 20_000, 50_000]) {
            assert!(count.abs_diff(expected) <= 3, "{counts:?}");
        }
    }
}
