//! The figures of a day as tables, for people and for Markdown.

use std::fmt;

use super::{Figures, Requests};

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spans = [
            ("while commits came", &self.work),
            ("hour after the last commit", &self.after),
            ("until quiet", &self.settling),
            ("hour after that", &self.idle),
        ];
        writeln!(f, "| requests | LIST | GET | PUT | DELETE (files) |")?;
        writeln!(f, "| --- | ---: | ---: | ---: | ---: |")?;
        for (name, requests) in spans {
            writeln!(f, "| {name} | {} |", row(requests))?;
        }
        let changed = self.counters.wal_bytes;
        writeln!(
            f,
            "\n| level | PUT | bytes | ÷ bytes in the WAL | largest | objects after the last commit | when quiet |"
        )?;
        writeln!(f, "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
        for level in 0..10 {
            let sum = |of: fn(&Requests) -> &[u64; 10]| -> u64 {
                spans.iter().map(|(_, requests)| of(requests)[level]).sum()
            };
            let (puts, bytes) = (sum(|r| &r.put), sum(|r| &r.put_bytes));
            if puts == 0 {
                continue;
            }
            let largest = spans.iter().map(|(_, r)| r.put_max[level]).max();
            writeln!(
                f,
                "| {level} | {puts} | {bytes} | {:.2} | {} | {} | {} |",
                bytes as f64 / changed.max(1) as f64,
                largest.unwrap_or(0),
                self.objects[0][level],
                self.objects[1][level]
            )?;
        }
        writeln!(
            f,
            "\n{} commits, {changed} bytes in the WAL, database of {} bytes, {} bytes read, {} listings with exact times, {} steps",
            self.commits,
            self.database,
            spans.iter().map(|(_, r)| r.get_bytes).sum::<u64>(),
            spans.iter().map(|(_, r)| r.list_exact).sum::<u64>(),
            self.steps
        )?;
        let verdict = match self.restored {
            Some(true) => "what was restored is the source",
            Some(false) => "what was restored is NOT the source",
            None => "nothing was restored",
        };
        writeln!(f, "{verdict}")
    }
}

fn row(requests: &Requests) -> String {
    format!(
        "{} | {} | {} | {} ({})",
        requests.list,
        requests.get,
        requests.put.iter().sum::<u64>(),
        requests.delete,
        requests.deleted
    )
}
