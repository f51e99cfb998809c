//! One replica's place on a server: all that a configuration, a command line or a test needs to use it.

use std::fmt::Write as _;
use std::path::Path;

/// A replica of its own on a running server, empty at first.
#[derive(Debug, Clone)]
pub struct Place {
    /// The replica's URL, where one can say everything (with [`Place::env`] for credentials).
    pub url: Option<String>,
    /// Keys and values of a `replica:` mapping, `type` first. They say everything but [`Place::env`].
    pub keys: Vec<(&'static str, String)>,
    /// Environment that the program needs: credentials for the URL, the address of an emulator.
    pub env: Vec<(String, String)>,
}

impl Place {
    /// The value of a key of the `replica:` mapping.
    pub fn key(&self, name: &str) -> Option<&str> {
        let found = self.keys.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The `replica:` mapping's lines, not indented. Litestream reads them too.
    pub fn yaml(&self) -> String {
        self.indented("")
    }

    /// A whole configuration that replicates one database to this place.
    pub fn config(&self, database: &Path) -> String {
        format!(
            "dbs:\n  - path: {}\n    replica:\n{}",
            database.display(),
            self.indented("      ")
        )
    }

    /// The mapping's lines after so much blank space.
    pub fn indented(&self, indent: &str) -> String {
        let mut lines = String::new();
        for (key, value) in &self.keys {
            // Quoted the way that JSON and YAML agree on; `true` stays a truth value.
            let value = match value.as_str() {
                "true" | "false" => value.clone(),
                text => serde_json::Value::from(text).to_string(),
            };
            // Writing into text cannot fail.
            let _ = writeln!(lines, "{indent}{key}: {value}");
        }
        lines
    }
}
