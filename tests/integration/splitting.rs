//! Traffic splits by weight.

use crate::stage::{HOST, Stage, client, versions};
use sidle_test_support::manifest::split;
use sidle_test_support::sidle::Sidle;

#[tokio::test]
async fn ninety_to_ten_over_ten_thousand_requests_is_within_three_sigma() {
    let stage = Stage::new();
    let sidle = Sidle::run(&(stage.manifests() + &split("echo", HOST, &[("v1", 90), ("v2", 10)])));
    let mut client = client(&sidle).await;
    let mut deviations = Vec::new();
    // A fair split misses three sigma once in 370 throws, and three times running once in 50 million.
    for _ in 0..3 {
        let answered = versions(&mut client, "/", 10_000).await;
        let second = answered.iter().filter(|version| *version == "v2").count() as f64;
        let sigma = (10_000.0_f64 * 0.1 * 0.9).sqrt();
        deviations.push((second - 1_000.0) / sigma);
        if deviations[deviations.len() - 1].abs() <= 3.0 {
            return;
        }
    }
    panic!("off by {deviations:?} sigma");
}

#[tokio::test]
async fn weights_need_not_sum_to_a_hundred_and_zero_means_never() {
    let stage = Stage::new();
    let sidle = Sidle::run(&(stage.manifests() + &split("echo", HOST, &[("v1", 0), ("v2", 7)])));
    let mut client = client(&sidle).await;
    assert!(versions(&mut client, "/", 200).await.iter().all(|version| version == "v2"));
}

#[tokio::test]
async fn one_destination_gets_everything_whatever_its_weight() {
    let stage = Stage::new();
    let sidle = Sidle::run(&(stage.manifests() + &split("echo", HOST, &[("v2", 0)])));
    let mut client = client(&sidle).await;
    assert!(versions(&mut client, "/", 50).await.iter().all(|version| version == "v2"));
}
