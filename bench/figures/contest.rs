//! Servers that are measured in turn, round by round, so that what else the machine does meets all
//! of them.

use super::application::Application;
use super::load::{Count, Load, Pace, Plan, Until};
use super::process::Process;
use std::time::Duration;

/// Rounds that count; one more before them warms up.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
/// So many answers of a hundred must bear the mark, or something else was measured.
const MARKED: u64 = 99;

/// A server and its load.
pub struct Contestant {
    process: Process,
    load: Load,
    application: Application,
    counts: Count,
    /// Whether an answer's mark says that an event was acknowledged, which is delivered then.
    delivers: bool,
}

/// A head that only an acknowledgement has.
pub const ACKNOWLEDGED: &str = "idegate-event: ";

impl Contestant {
    pub fn new(process: Process, application: Application, plan: Plan) -> Self {
        let delivers = plan.mark == ACKNOWLEDGED;
        Self {
            process,
            load: Load::new(plan),
            application,
            counts: Count::default(),
            delivers,
        }
    }

    /// Sends without measuring.
    pub fn warm(&mut self, until: Until) -> Count {
        let taken = self.application.taken();
        let count = self.load.run(until);
        self.await_delivery(taken, count);
        count
    }

    /// Microseconds of processor time of a call; until its last event is delivered.
    pub fn measure_call(&mut self) -> f64 {
        let (before, taken) = (self.process.processor_time(), self.application.taken());
        let count = self.load.run(Until::Time(ROUND));
        self.await_delivery(taken, count);
        self.counts.calls += count.calls;
        self.counts.marked += count.marked;
        (self.process.processor_time() - before) as f64 / count.calls as f64
    }

    /// Microseconds of processor time of a call, but for what threads of these names take.
    pub fn measure_call_but(&mut self, threads: &[&str]) -> f64 {
        let before = self.process.processor_time_but(threads);
        let count = self.load.run(Until::Time(ROUND));
        (self.process.processor_time_but(threads) - before) as f64 / count.calls as f64
    }

    /// Microseconds within which 99 of 100 calls are answered.
    pub fn measure_p99(&mut self, pace: Pace) -> f64 {
        let taken = self.application.taken();
        let (count, latencies) = self.load.pace(pace);
        self.await_delivery(taken, count);
        self.counts.calls += count.calls;
        self.counts.marked += count.marked;
        latencies.value_at_quantile(0.99) as f64
    }

    fn await_delivery(&self, taken: u64, count: Count) {
        if self.delivers {
            self.application.wait_for(taken + count.marked);
        }
    }

    /// Why its figure says nothing, if so.
    pub fn fault(&self) -> Option<String> {
        let Count { calls, marked, .. } = self.counts;
        let what = if self.delivers {
            "acknowledged"
        } else {
            "hits"
        };
        (marked * 100 < calls * MARKED).then(|| format!("invalid: {marked} of {calls} were {what}"))
    }
}

/// What a server was found to take, round by round.
#[derive(Debug, Default)]
pub struct Series(Vec<f64>);

impl Series {
    pub fn median(&self) -> f64 {
        median(self.0.clone())
    }

    /// The median of this one's ratios to another one's of the same rounds.
    pub fn ratio_to(&self, other: &Self) -> f64 {
        median(
            self.0
                .iter()
                .zip(&other.0)
                .map(|(this, other)| this / other)
                .collect(),
        )
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Goes round the servers; a series of each.
pub fn alternate<const N: usize>(
    mut contestants: [&mut Contestant; N],
    measure: impl Fn(&mut Contestant) -> f64,
) -> [Series; N] {
    let mut all = std::array::from_fn(|_| Series::default());
    for number in 0..=ROUNDS {
        for (contestant, series) in contestants.iter_mut().zip(&mut all) {
            let found = measure(contestant);
            if number > 0 {
                series.0.push(found);
            }
        }
    }
    all
}
