use super::bounds::Bounds;
use proptest::prelude::*;

fn close(found: f64, wanted: f64) -> bool {
    (found - wanted).abs() < 5e-9
}

/// Without disagreement 3/n; else the two rates from which what was found lies 1.96 standard errors
/// away, found by halving in another language.
#[test]
fn bounds_are_those_of_the_tables() {
    let cases = [
        ((0, 0), (0.0, 1.0)),
        ((0, 1), (0.0, 1.0)),
        ((0, 300), (0.0, 0.01)),
        ((0, 3_000), (0.0, 0.001)),
        ((3, 3_000), (0.000_340_147, 0.002_936_144)),
        ((10, 100), (0.055_229_137, 0.174_365_662)),
        ((1, 1), (0.206_549_314, 1.0)),
        ((100, 100), (0.963_006_502, 1.0)),
    ];
    for ((disagreeing, compared), (low, high)) in cases {
        let found = Bounds::of(disagreeing, compared);
        assert!(
            close(found.low, low) && close(found.high, high),
            "{disagreeing} of {compared}: {found:?}"
        );
    }
}

proptest! {
    #[test]
    fn a_rate_lies_between_its_bounds_and_more_events_bring_them_closer(
        disagreeing in 0..500_u64, more in 0..100_000_u64,
    ) {
        let compared = disagreeing + more;
        let found = Bounds::of(disagreeing, compared);
        prop_assert!(0.0 <= found.low && found.low <= found.rate);
        prop_assert!(found.rate <= found.high && found.high <= 1.0);
        let tenfold = Bounds::of(disagreeing * 10, compared * 10);
        prop_assert!(tenfold.high - tenfold.low <= found.high - found.low);
    }
}
