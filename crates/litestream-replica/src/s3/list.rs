//! Listing: what is below a prefix, page by page, and several pages at once where there are many.
//!
//! A seek goes by the *last* TXID of files and keys are sorted by the first, so nothing before a seek can be left out on the service's side:
//! any file there may reach over it. What saves time is to ask for far-apart pages side by side.

use std::collections::BTreeMap;

use aws_sdk_s3::types::Object;
use futures_util::future::try_join_all;
use ltx::{FileName, Txid};

use super::errors;
use super::service::Service;
use crate::env::UnixMillis;
use crate::{Error, ErrorKind, FileInfo, Level, Result, v3};

/// Pages that are asked for at once.
const PAGES: usize = 8;
/// How far apart they begin, as a share of what a page held so far: a page that ends before the next begins costs one more request.
const OVERLAP: f64 = 0.98;

/// The LTX files of a level, by name, with the time of the upload.
pub(super) async fn level(
    service: &Service,
    level: Level,
    seek: Option<Txid>,
) -> Result<Vec<FileInfo>> {
    let prefix = service.level(level);
    let mut walk = Walk {
        service,
        prefix: &prefix,
        level,
        files: BTreeMap::new(),
    };
    walk.run().await?;
    let files = walk.files.into_values();
    let wanted = |file: &FileInfo| seek.is_none_or(|seek| file.name.max >= seek);
    Ok(files.filter(wanted).collect())
}

/// Everything that Litestream 0.3 left, by path.
pub(super) async fn v3(service: &Service) -> Result<Vec<v3::Object>> {
    let before = service.before_v3();
    let prefix = format!("{before}{}/", v3::FOLDER);
    let mut objects = Vec::new();
    let mut next = None;
    loop {
        let page = page(service, &prefix, Begin::Token(next)).await?;
        for object in &page.objects {
            let Some(path) = object.key().and_then(|key| key.strip_prefix(&before)) else {
                continue;
            };
            // A folder that somebody made in a file browser.
            if path.ends_with('/') {
                continue;
            }
            objects.push(v3::Object {
                path: path.to_owned(),
                size: size(service, object)?,
                created: modified(object),
            });
        }
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    objects.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(objects)
}

/// Where a page begins.
enum Begin {
    /// Where the page before ended.
    Token(Option<String>),
    /// After a key.
    Key(String),
}

struct Page {
    objects: Vec<Object>,
    next: Option<String>,
}

async fn page(service: &Service, prefix: &str, from: Begin) -> Result<Page> {
    let request = service.client().await?.list_objects_v2();
    let request = request.bucket(&service.settings.bucket).prefix(prefix);
    let request = match from {
        Begin::Token(token) => request.set_continuation_token(token),
        Begin::Key(key) => request.start_after(key),
    };
    let subject = || service.subject(prefix);
    let answer = request
        .send()
        .await
        .map_err(|e| errors::failed_bucket("list", &subject(), &e))?;
    let next = match (answer.is_truncated(), answer.next_continuation_token()) {
        (Some(true), None) => {
            let text = "the list goes on, but the service does not say where";
            return Err(Error::new(ErrorKind::Other, "list", subject(), text));
        }
        (Some(true), Some(token)) => Some(token.to_owned()),
        _ => None,
    };
    Ok(Page {
        objects: answer.contents.unwrap_or_default(),
        next,
    })
}

/// A level being listed. Everything up to where the walk stands is in `files`.
struct Walk<'a> {
    service: &'a Service,
    prefix: &'a str,
    level: Level,
    files: BTreeMap<(Txid, Txid), FileInfo>,
}

/// What several pages at once came to.
enum Wave {
    /// The list ends with them.
    End,
    /// The last of those that follow each other without a gap.
    Page(Page),
    /// The service does not begin where it is told to, or forgets what it promised.
    Useless,
}

impl Walk<'_> {
    async fn run(&mut self) -> Result<()> {
        let mut at = page(self.service, self.prefix, Begin::Token(None)).await?;
        self.take(&at.objects)?;
        let mut obeys = true;
        while let Some(token) = at.next.take() {
            if let Some(stretch) = stretch(self.prefix, &at.objects).filter(|_| obeys) {
                match self.wave(stretch).await? {
                    Wave::End => return Ok(()),
                    Wave::Page(last) => {
                        at = last;
                        continue;
                    }
                    Wave::Useless => obeys = false,
                }
            }
            at = page(self.service, self.prefix, Begin::Token(Some(token))).await?;
            self.take(&at.objects)?;
        }
        Ok(())
    }

    /// Asks for several pages at once and keeps those that follow each other without a gap.
    async fn wave(&mut self, stretch: Stretch) -> Result<Wave> {
        let mut begins = vec![stretch.last.clone()];
        begins.extend((1..PAGES as u64).map_while(|n| stretch.after(self.prefix, n)));
        let pages = begins
            .iter()
            .map(|begin| page(self.service, self.prefix, Begin::Key(begin.clone())));
        let pages = match try_join_all(pages).await {
            Ok(pages) => pages,
            Err(error) if error.is_retryable() => return Err(error),
            // Pages by tokens may be allowed all the same; if not, they say why.
            Err(error) => {
                tracing::debug!(%error, "pages can't be listed side by side");
                return Ok(Wave::Useless);
            }
        };
        let mut reached = stretch.last;
        let mut last = Wave::Useless;
        for (begin, page) in begins.iter().zip(pages) {
            let first = page.objects.first().and_then(Object::key);
            if first.is_some_and(|key| key <= begin.as_str()) {
                return Ok(Wave::Useless);
            }
            if *begin > reached {
                break;
            }
            let end = page.objects.last().and_then(Object::key);
            // The page before said that more follows.
            if page.next.is_none() && end.is_none_or(|key| key <= reached.as_str()) {
                return Ok(Wave::Useless);
            }
            self.take(&page.objects)?;
            if page.next.is_none() {
                return Ok(Wave::End);
            }
            if let Some(key) = end {
                key.clone_into(&mut reached);
            }
            last = Wave::Page(page);
        }
        Ok(last)
    }

    fn take(&mut self, objects: &[Object]) -> Result<()> {
        for object in objects {
            if let Some(name) = name(self.prefix, object) {
                let info = FileInfo {
                    level: self.level,
                    name,
                    size: size(self.service, object)?,
                    created: modified(object),
                };
                self.files.insert((name.min, name.max), info);
            }
        }
        Ok(())
    }
}

/// How densely TXIDs lie in a full page, to guess where pages to come will begin.
struct Stretch {
    /// The page's last key.
    last: String,
    last_txid: u64,
    /// TXIDs of a page.
    txids: u64,
}

/// `None` where the keys of a page are not those of LTX files.
fn stretch(prefix: &str, objects: &[Object]) -> Option<Stretch> {
    let (first, last) = (objects.first()?, objects.last()?);
    let (begin, end) = (name(prefix, first)?.min, name(prefix, last)?.min);
    let txids = end.get().checked_sub(begin.get())? as f64 * OVERLAP;
    (txids >= 1.0).then(|| Stretch {
        last: last.key().unwrap_or_default().to_owned(),
        last_txid: end.get(),
        txids: txids as u64,
    })
}

impl Stretch {
    /// The key after which the `n`th page from here on is to begin; `None` beyond the last TXID there can be.
    fn after(&self, prefix: &str, n: u64) -> Option<String> {
        let txid = self.last_txid.checked_add(self.txids.checked_mul(n)?)?;
        // Sorts before every file that begins with this TXID.
        Some(format!("{prefix}{txid:016x}"))
    }
}

fn name(prefix: &str, object: &Object) -> Option<FileName> {
    FileName::parse(object.key()?.strip_prefix(prefix)?)
}

fn size(service: &Service, object: &Object) -> Result<u64> {
    let size = object.size().and_then(|size| u64::try_from(size).ok());
    size.ok_or_else(|| {
        let subject = service.subject(object.key().unwrap_or_default());
        let text = "the list does not say how large the object is";
        Error::new(ErrorKind::Other, "list", subject, text)
    })
}

fn modified(object: &Object) -> UnixMillis {
    let millis = object.last_modified().and_then(|at| at.to_millis().ok());
    UnixMillis(millis.unwrap_or_default())
}
