//! The plans in `corpus/` each found something once; now every one of them must be good.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test: it fails by panicking and reads its own files"
)]

use std::path::Path;

use litestream_sim::episode;
use litestream_sim::plan::Plan;

#[test]
fn every_plan_is_good() {
    let mut broken = Vec::new();
    let mut seen = 0;
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "plan") {
            continue;
        }
        let plan: Plan = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        let outcome = episode::run(&plan);
        seen += 1;
        if !outcome.is_good() {
            broken.push(format!("{}: {:?}", path.display(), outcome.violations));
        }
    }
    assert!(seen > 0, "the corpus is gone");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
