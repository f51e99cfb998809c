//! Medians and percentiles.

/// The middle value; the mean of the middle two.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(sorted[sorted.len() / 2 - 1], upper))
}

/// The smallest value that at least this part of the values does not exceed.
pub fn percentile(sorted: &[f64], part: f64) -> f64 {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1).min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn middle_and_ranks() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0]), Some(2.0));
        assert_eq!(median(&[3.0, 1.0, 9.0]), Some(3.0));
        let values: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert!((percentile(&values, 0.5) - 500.0).abs() < 1e-9);
        assert!((percentile(&values, 0.999) - 999.0).abs() < 1e-9);
        assert!((percentile(&values, 1.0) - 1000.0).abs() < 1e-9);
    }
}
