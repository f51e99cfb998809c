//! Collects figures by metric and program, compares medians with targets, prints them.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::json;

use crate::program::Who;
use crate::stats::median;

/// What a figure of ours should be.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// Not more.
    AtMost(f64),
    /// Not less.
    AtLeast(f64),
    /// Only shown.
    None,
}

struct Metric {
    name: String,
    target: Target,
    /// The mean is shown, not the median.
    mean: bool,
    /// By [`Who`].
    values: [Vec<f64>; 3],
}

impl Metric {
    fn middle(&self, who: usize) -> Option<f64> {
        let values = &self.values[who];
        if self.mean && !values.is_empty() {
            return Some(values.iter().sum::<f64>() / values.len() as f64);
        }
        median(values)
    }
}

/// The figures of one scenario.
pub struct Report {
    scenario: &'static str,
    metrics: Vec<Metric>,
    checked: [usize; 2],
    wrong: Vec<String>,
}

impl Report {
    /// Without figures yet.
    pub fn new(scenario: &'static str) -> Report {
        Report {
            scenario,
            metrics: Vec::new(),
            checked: [0; 2],
            wrong: Vec::new(),
        }
    }

    /// Adds a figure of which the mean matters.
    pub fn add_mean(&mut self, name: &str, target: Target, who: Who, value: f64) {
        self.metric(name, target, true).values[who as usize].push(value);
    }

    /// Adds a figure of which the median matters.
    pub fn add(&mut self, name: &str, target: Target, who: Who, value: f64) {
        eprintln!("   {:7} {name}: {}", who.name(), show(value));
        self.metric(name, target, false).values[who as usize].push(value);
    }

    fn metric(&mut self, name: &str, target: Target, mean: bool) -> &mut Metric {
        let known = self.metrics.iter().position(|m| m.name == name);
        let index = known.unwrap_or_else(|| {
            self.metrics.push(Metric {
                name: name.to_owned(),
                target,
                mean,
                values: Default::default(),
            });
            self.metrics.len() - 1
        });
        &mut self.metrics[index]
    }

    /// Adds the outcome of a comparison of a result with its source.
    pub fn check(&mut self, who: Who, what: &str, outcome: Result<()>) {
        if let Some(count) = self.checked.get_mut(who as usize) {
            *count += 1;
        }
        if let Err(error) = outcome {
            let text = format!("{}: {what}: {error:#}", who.name());
            eprintln!("   WRONG {text}");
            self.wrong.push(text);
        }
    }

    /// Whether every result of ours was right.
    pub fn is_correct(&self) -> bool {
        !self.wrong.iter().any(|text| text.starts_with("ours"))
    }

    /// For people, and for Markdown.
    pub fn table(&self) -> String {
        let mut out = format!(
            "\n| {} | ours | theirs | base | theirs ÷ ours | target |\n| --- | ---: | ---: | ---: | ---: | --- |\n",
            self.scenario,
        );
        for metric in &self.metrics {
            let [ours, theirs, base] = [0, 1, 2].map(|who| metric.middle(who));
            let ratio = ours
                .zip(theirs)
                .filter(|(o, _)| *o > 0.0)
                .map(|(o, t)| t / o);
            let cell = |value: Option<f64>| value.map_or_else(String::new, show);
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} |",
                metric.name,
                cell(ours),
                cell(theirs),
                cell(base),
                cell(ratio),
                verdict(metric.target, ours)
            );
        }
        let [ours, theirs] = self.checked;
        let _ = writeln!(
            out,
            "\nMedians. Results compared with their source: {ours} of ours, {theirs} of theirs; wrong: {}",
            self.wrong.len()
        );
        for wrong in &self.wrong {
            let _ = writeln!(out, "* {wrong}");
        }
        out
    }

    /// For programs: all values, not only medians.
    pub fn json(&self) -> String {
        let metrics: Vec<_> = self
            .metrics
            .iter()
            .map(|m| {
                let [ours, theirs, base] = &m.values;
                json!({"metric": m.name, "ours": ours, "theirs": theirs, "base": base,
                    "target": verdict(m.target, m.middle(0))})
            })
            .collect();
        json!({"scenario": self.scenario, "metrics": metrics, "checked": self.checked, "wrong": self.wrong})
            .to_string()
    }
}

fn verdict(target: Target, ours: Option<f64>) -> String {
    let (text, met) = match target {
        Target::AtMost(limit) => (format!("≤ {limit}"), ours.map(|v| v <= limit)),
        Target::AtLeast(limit) => (format!("≥ {limit}"), ours.map(|v| v >= limit)),
        Target::None => return String::new(),
    };
    match met {
        Some(true) => format!("{text} met"),
        Some(false) => format!("{text} **missed**"),
        None => text,
    }
}

fn show(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
