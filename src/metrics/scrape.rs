//! What is read when somebody scrapes: levels, and counters that their owners keep.

use super::latencies::{BOUNDS, Latencies};
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

/// Metrics that are made at a scrape. Names and help texts are written where they are read.
#[derive(Debug, Default)]
pub struct Scrape(Vec<MetricFamily>);

/// A label's name and its value.
pub type Labelled<'a> = (&'static str, &'a str);

impl Scrape {
    /// A level without labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.add(name, help, MetricType::GAUGE, vec![gauge(&[], value)]);
    }

    /// Levels of one name, each with its labels.
    pub fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Vec<Labelled<'a>>, f64)>,
    ) {
        let metrics = values.into_iter().map(|(with, value)| gauge(&with, value));
        self.add(name, help, MetricType::GAUGE, metrics.collect());
    }

    /// A counter without labels; its name ends in `_total`.
    pub fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.add(name, help, MetricType::COUNTER, vec![counter(&[], value)]);
    }

    /// Counters of one name, each with its labels.
    pub fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Vec<Labelled<'a>>, f64)>,
    ) {
        let metrics = values
            .into_iter()
            .map(|(with, value)| counter(&with, value));
        self.add(name, help, MetricType::COUNTER, metrics.collect());
    }

    /// A histogram of seconds.
    pub fn latencies(&mut self, name: &str, help: &str, latencies: &Latencies) {
        let shown = latencies.show();
        let bucket = |(bound, count): (&f64, &u64)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(*count);
            bucket
        };
        let mut histogram = Histogram::default();
        histogram.set_bucket(BOUNDS.iter().zip(&shown.cumulative).map(bucket).collect());
        histogram.set_sample_count(shown.count);
        histogram.set_sample_sum(shown.seconds);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        self.add(name, help, MetricType::HISTOGRAM, vec![metric]);
    }

    /// Puts these among others, sorted by name.
    pub(super) fn merge_into(self, families: &mut Vec<MetricFamily>) {
        families.extend(self.0);
        families.sort_by(|one, other| one.name().cmp(other.name()));
    }

    /// A family without a metric isn't shown.
    fn add(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }
}

/// A count as a sample. Exact below 2^53.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "samples are floating-point numbers"
)]
pub const fn float(count: u64) -> f64 {
    count as f64
}

fn labels(labels: &[Labelled<'_>]) -> Vec<LabelPair> {
    let pair = |(name, value): &Labelled<'_>| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}

fn gauge(with: &[Labelled<'_>], value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(labels(with));
    metric.set_gauge(gauge);
    metric
}

fn counter(with: &[Labelled<'_>], value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::from_label(labels(with));
    metric.set_counter(counter);
    metric
}
