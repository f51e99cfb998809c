//! One replica of a configuration: its keys as written, and what becomes of them.

use std::ffi::OsStr;

use litestream_replica::limits::Rates;
use litestream_replica::settings::{self, Access, Keys, Secret, Storage, TABLE, Value, ValueKind};

use super::Context;
use super::findings::{At, Findings};
use super::known::Place;
use super::reader::Reader;
use super::scalar;
use super::types::{ReplicaDefaults, ReplicaEntry};
use super::values::{SYNC_INTERVAL, positive};
use crate::failure::{Failure, Result};
use crate::place;

/// A replica as written, or the defaults for all.
#[derive(Debug, Default)]
pub struct Raw {
    /// Where it begins.
    pub at: At,
    /// `dbs[0].replica`; empty for the defaults.
    pub key: String,
    own: Keys,
    /// Secrets that lie in files: key, path, place.
    files: Vec<(&'static str, String, At)>,
    bad_size: Option<String>,
    /// Where keys stand.
    places: Vec<(&'static str, At)>,
    /// Nanoseconds.
    pub sync_interval: Option<i64>,
    max_sync_ltx_files: Option<i64>,
    auto_recover: Option<bool>,
    age: bool,
}

impl Raw {
    /// Reads the keys of a replica. At the top of the file those are left out that name one place.
    pub fn read(reader: &mut Reader, place: Place, findings: &mut Findings) -> Raw {
        let mut raw = Raw {
            at: reader.at,
            key: reader.key.clone(),
            ..Raw::default()
        };
        let one_place = ["type", "path", "url"];
        for key in TABLE
            .iter()
            .filter(|k| place == Place::Replica || !one_place.contains(&k.name))
        {
            if let Some(value) = raw.value(reader, key, findings) {
                raw.own.set(key.name, value);
                raw.places.push((key.name, reader.place(key.name)));
            }
        }
        raw.sync_interval = reader.duration("sync-interval", findings);
        raw.max_sync_ltx_files = reader.int("max-sync-ltx-files", findings);
        raw.auto_recover = reader.bool("auto-recover", findings);
        if let Some(mut age) = reader.map("age", findings) {
            for name in ["identities", "recipients"] {
                raw.age |= age
                    .texts(name, findings)
                    .is_some_and(|list| !list.is_empty());
            }
            age.finish(Place::Other, findings);
        }
        if reader.duration("validation-interval", findings).is_some() {
            let text = "has had no effect since Litestream 0.5; see validation.interval and verify.interval at the top of the file";
            findings.hint(
                reader.place("validation-interval"),
                &reader.name("validation-interval"),
                text,
            );
        }
        if place == Place::Replica && reader.text("name", findings).is_some() {
            findings.hint(
                reader.place("name"),
                &reader.name("name"),
                "deprecated, has no effect",
            );
        }
        raw.hints(reader, findings);
        raw
    }

    /// Reads only how fast and how often storage may be used.
    pub fn rates(reader: &mut Reader, findings: &mut Findings) -> Raw {
        let mut raw = Raw {
            at: reader.at,
            key: reader.key.clone(),
            ..Raw::default()
        };
        let rates = [
            "upload-rate",
            "download-rate",
            "requests-per-second",
            "concurrent-requests",
        ];
        for key in TABLE.iter().filter(|key| rates.contains(&key.name)) {
            if let Some(value) = raw.value(reader, key, findings) {
                raw.own.set(key.name, value);
            }
        }
        raw
    }

    /// What [`Raw::rates`] has read.
    pub fn as_rates(&self, context: &Context) -> Result<Rates> {
        if let Some(error) = &self.bad_size {
            return Err(context.failure(self.at, error));
        }
        Rates::read(&self.own).map_err(|e| context.failure(self.at, e))
    }

    fn value(
        &mut self,
        reader: &mut Reader,
        key: &settings::Key,
        findings: &mut Findings,
    ) -> Option<Value> {
        let name = key.name;
        Some(match key.kind {
            ValueKind::Text => Value::Text(reader.text(name, findings)?),
            ValueKind::Bool => Value::Bool(reader.bool(name, findings)?),
            ValueKind::Int => Value::Int(reader.int(name, findings)?),
            ValueKind::Duration => Value::Duration(reader.duration(name, findings)?),
            ValueKind::List => Value::List(reader.texts(name, findings)?),
            ValueKind::Size => match scalar::size(&reader.text(name, findings)?) {
                Ok(bytes) => Value::Size(bytes),
                Err(error) => {
                    self.bad_size = Some(error);
                    return None;
                }
            },
            ValueKind::Secret => {
                let in_file = format!("{name}-file");
                let secret = reader.text(name, findings);
                if let Some(path) = reader.text(&in_file, findings) {
                    let at = reader.place(&in_file);
                    if secret.is_some() {
                        let text =
                            format!("both {name} and {in_file} are given; remove one of them");
                        findings.error(at, &reader.name(&in_file), &text);
                    }
                    self.files.push((name, path, at));
                }
                Value::Secret(Secret::new(secret?))
            }
        })
    }

    /// What this engine does not need to be told.
    fn hints(&self, reader: &Reader, findings: &mut Findings) {
        let mut hint = |given: bool, key: &str, text: &str| {
            if given {
                findings.hint(reader.place(key), &reader.name(key), text);
            }
        };
        hint(
            self.max_sync_ltx_files.is_some(),
            "max-sync-ltx-files",
            "not needed here: files are uploaded one after the other, so there are no batches to limit",
        );
        hint(
            self.auto_recover.is_some(),
            "auto-recover",
            "not needed here: local files that are missing or damaged are always made good, and nothing committed is skipped",
        );
    }

    /// Reads the files that secrets lie in.
    pub fn resolve(&mut self, context: &Context) -> Result {
        for (name, path, at) in std::mem::take(&mut self.files) {
            let key = format!("{name}-file");
            let expanded = place::expand(OsStr::new(&path))?;
            let text = secret_file(&key, &path, &expanded, at, context)?;
            self.own.set(name, Value::Secret(Secret::new(text)));
        }
        if let Some(path) = self.own.text("sse-customer-key-path") {
            let expanded = match path.strip_prefix('~') {
                Some(_) => place::expand(OsStr::new(&path))?,
                None => path.clone().into(),
            };
            let text = secret_file("sse-customer-key-path", &path, &expanded, self.at, context)?;
            self.own
                .set("sse-customer-key", Value::Secret(Secret::new(text)));
            self.own.remove("sse-customer-key-path");
        }
        match &self.bad_size {
            Some(error) => Err(context.failure(self.at, error)),
            None => Ok(()),
        }
    }

    /// What the others inherit.
    pub fn defaults(&self) -> ReplicaDefaults {
        ReplicaDefaults {
            keys: self.own.clone(),
            sync_interval: self.sync_interval.map(positive),
            max_sync_ltx_files: self.max_sync_ltx_files,
            auto_recover: self.auto_recover,
        }
    }

    /// The interval in force, in nanoseconds.
    pub fn sync_interval(&self, defaults: &Raw) -> i64 {
        self.sync_interval
            .or(defaults.sync_interval)
            .unwrap_or(SYNC_INTERVAL)
    }

    /// The settings that come of it.
    pub fn entry(
        &mut self,
        defaults: &Raw,
        context: &Context,
        findings: &mut Findings,
    ) -> Result<ReplicaEntry> {
        let failure = |text: &dyn std::fmt::Display| context.failure(self.at, text);
        let path_is_url = self
            .own
            .text("path")
            .is_some_and(|p| litestream_replica::url::is_url(&p));
        if (self.age || defaults.age) && !path_is_url {
            return Err(failure(
                &"age encryption is not currently supported, if you need encryption please revert back to Litestream v0.3.x",
            ));
        }
        let kind = settings::kind(&self.own).map_err(|e| failure(&e))?;
        self.warn(&kind, defaults, findings);
        self.resolve(context)?;
        let path = self
            .own
            .text("path")
            .filter(|_| kind == "file" && !path_is_url && !self.own.is_given("url"));
        if let Some(path) = path {
            let expanded = place::expand(OsStr::new(&path))?;
            let text = expanded
                .to_str()
                .ok_or_else(|| context.failure(self.at, "path is not valid UTF-8"))?;
            self.own.set("path", Value::Text(text.to_owned()));
        }
        let storage = Storage::read(&self.own, &defaults.own);
        let access = Access::read(&self.own, &defaults.own);
        Ok(ReplicaEntry {
            storage: storage.map_err(|e| context.failure(self.at, e))?,
            access: access.map_err(|e| context.failure(self.at, e))?,
            sync_interval: positive(self.sync_interval(defaults)),
            max_sync_ltx_files: self
                .max_sync_ltx_files
                .or(defaults.max_sync_ltx_files)
                .unwrap_or(super::values::FILES_MAX),
            auto_recover: self.auto_recover.or(defaults.auto_recover).unwrap_or(false),
        })
    }

    fn place(&self, key: &str) -> At {
        let files = self.files.iter().map(|(name, _, at)| (*name, *at));
        let mut places = self.places.iter().copied().chain(files);
        places
            .find(|(name, _)| *name == key)
            .map_or(self.at, |(_, at)| at)
    }

    /// Keys that mean nothing for a replica of this kind, or not what they seem to.
    fn warn(&self, kind: &str, defaults: &Raw, findings: &mut Findings) {
        let name = |key: &str| format!("{}.{key}", self.key);
        let files = self.files.iter().map(|(name, ..)| *name);
        for key in self.own.iter().map(|(name, _)| name).chain(files) {
            if settings::lookup(key).is_some_and(|k| !k.types.contains(&kind)) {
                let text = format!("has no effect on a replica of type {kind}");
                findings.mistake(self.place(key), &name(key), text);
            }
        }
        let url = self.own.text("url");
        if url.is_some() && self.own.text("type").is_some_and(|written| written != kind) {
            let text = format!("has no effect: the URL says that the type is {kind}");
            findings.mistake(self.place("type"), &name("type"), text);
        }
        for parameter in url.iter().flat_map(|url| settings::unknown_parameters(url)) {
            let text = format!("query parameter {parameter:?} is unknown and has no effect");
            findings.mistake(self.place("url"), &name("url"), text);
        }
        if kind == "nats" && self.own.is_given("path") {
            let text = "is in force here; Litestream ignores it, so what it wrote into this bucket lies outside of that path";
            findings.hint(self.place("path"), &name("path"), text);
        }
        let endpoint = self
            .own
            .text("endpoint")
            .or_else(|| defaults.own.text("endpoint"));
        if let Some(endpoint) = endpoint.filter(|_| kind == "s3" || kind == "oss")
            && let Some(full) = settings::assumed_http(&endpoint)
        {
            let text = format!(
                "has no scheme and is taken for {full}, as in URLs; Litestream takes it for https:// here. Write the scheme that is right"
            );
            findings.hint(self.place("endpoint"), &name("endpoint"), text);
        }
    }
}

fn secret_file(
    key: &str,
    written: &str,
    path: &std::path::Path,
    at: At,
    context: &Context,
) -> Result<String> {
    let text = (context.read)(path);
    let text = text.map_err(|e| {
        let reason = if e.kind() == std::io::ErrorKind::NotFound {
            "no such file or directory".to_owned()
        } else {
            e.to_string()
        };
        context.failure(
            at,
            format_args!("cannot read {key} {written:?}: open {written}: {reason}"),
        )
    })?;
    let text = text.trim();
    if text.is_empty() {
        return Err(empty(key, written, at, context));
    }
    Ok(text.to_owned())
}

fn empty(key: &str, written: &str, at: At, context: &Context) -> Failure {
    context.failure(
        at,
        format_args!("cannot read {key} {written:?}: the file is empty"),
    )
}
