//! Folders on the server: what is in them, and making them.

use percent_encoding::percent_decode_str;

use super::request::{Asking, Server, refused};
use crate::env::UnixMillis;
use crate::net::{Payload, Xml, date_millis};
use crate::{Error, ErrorKind, Result, key, v3};

/// Folders within folders: 0.3 makes three.
const DEPTH_MAX: usize = 8;
/// A listing is about 500 bytes a file.
const LISTING_BYTES_MAX: usize = 1 << 30;

const WANTED: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:propfind xmlns:D=\"DAV:\"><D:prop><D:resourcetype/>\
    <D:getcontentlength/><D:getlastmodified/></D:prop></D:propfind>";

/// A thing in a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) is_folder: bool,
    pub(super) size: u64,
    pub(super) modified: UnixMillis,
}

/// Everything in a folder; a folder that is not there is empty.
pub(super) async fn list(server: &Server, folder: &str) -> Result<Vec<Entry>> {
    let folder = format!("{}/", folder.trim_end_matches('/'));
    let mut asking = Asking::new("list", "PROPFIND", &folder)
        .header("depth", "1")
        .header("content-type", "application/xml; charset=utf-8");
    asking.payload = Payload::Bytes(WANTED.into());
    let answer = server.send(asking).await?;
    match answer.status().as_u16() {
        404 => {
            server.check_base("list").await?;
            return Ok(Vec::new());
        }
        207 => {}
        200 => {
            let text = "an answer that is no listing";
            return Err(
                Error::new(ErrorKind::Invalid, "list", server.url(&folder), text)
                    .with_hint("the server does not speak WebDAV there: correct \"webdav-url\""),
            );
        }
        _ => return Err(refused(answer).await),
    }
    let document = answer.bytes(LISTING_BYTES_MAX).await?;
    entries(&document, &server.target(&folder)).map_err(|text| {
        let text = format!("a listing that can't be read: {text}");
        Error::new(ErrorKind::Unreachable, "list", server.url(&folder), text)
    })
}

/// `folder` is the path that was asked for: it is listed, too.
fn entries(document: &[u8], folder: &str) -> std::result::Result<Vec<Entry>, String> {
    let xml = Xml::parse(document)?;
    if xml.name != "multistatus" {
        return Err(format!("it begins with {:?}", xml.name));
    }
    let own = decoded(folder);
    let own = own.trim_matches('/');
    let mut entries = Vec::new();
    for response in xml.children("response") {
        let href = decoded(path_of(response.text_of("href").trim()));
        let path = href.trim_matches('/');
        if path == own {
            continue;
        }
        let found = |stat: &&Xml| {
            let status = stat.text_of("status");
            status.is_empty() || status.split_whitespace().nth(1) == Some("200")
        };
        let props: Vec<&Xml> = response
            .children("propstat")
            .filter(found)
            .filter_map(|stat| stat.child("prop"))
            .collect();
        let text = |name: &str| {
            let texts = props.iter().map(|prop| prop.text_of(name).trim());
            texts
                .into_iter()
                .find(|text| !text.is_empty())
                .unwrap_or_default()
        };
        let is_folder = props
            .iter()
            .filter_map(|prop| prop.child("resourcetype"))
            .any(|kind| kind.child("collection").is_some());
        let name = path.rsplit('/').next().unwrap_or_default();
        if name.is_empty() {
            continue;
        }
        if props.is_empty() {
            // One that is being removed. Whatever else was not told: without this file the listing is not whole.
            if is_gone(response) {
                continue;
            }
            return Err(format!("nothing is told of {name}"));
        }
        let size = match text("getcontentlength") {
            "" if is_folder => 0,
            size => size.parse().map_err(|_| format!("{name} has no size"))?,
        };
        entries.push(Entry {
            name: name.to_owned(),
            is_folder,
            size,
            modified: date_millis(text("getlastmodified")).unwrap_or_default(),
        });
    }
    Ok(entries)
}

/// Whether the server says of all that was asked about a thing that it is not there.
fn is_gone(response: &Xml) -> bool {
    let whole = [response.text_of("status")];
    let parts = response.children("propstat");
    let mut codes = parts
        .map(|stat| stat.text_of("status"))
        .chain(whole)
        .filter_map(|status| status.split_whitespace().nth(1))
        .peekable();
    codes.peek().is_some() && codes.all(|code| matches!(code, "404" | "410"))
}

/// The path of a reference that may be a whole URL.
fn path_of(href: &str) -> &str {
    match href.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => href,
    }
}

fn decoded(path: &str) -> String {
    percent_decode_str(path).decode_utf8_lossy().into_owned()
}

/// Makes a folder and those above it, as far as they are missing, from the deepest that is there.
pub(super) async fn make(server: &Server, folder: &str) -> Result<()> {
    let folder = folder.trim_matches('/');
    let ends: Vec<usize> = folder
        .match_indices('/')
        .map(|(at, _)| at)
        .chain([folder.len()])
        .collect();
    // Upwards until one can be made or is there, then down again.
    let mut at = ends.len();
    let mut result = Ok(());
    while at > 0 {
        result = make_one(server, &folder[..ends[at - 1]]).await;
        match &result {
            Ok(()) => break,
            // No folder above it, in the words of one server or another.
            Err(e) if e.is_not_found() || e.kind() == ErrorKind::Invalid => at -= 1,
            Err(_) => return result,
        }
    }
    if at == 0 {
        // Not even the first one: that is what is wrong.
        return result;
    }
    for end in &ends[at..] {
        make_one(server, &folder[..*end]).await?;
    }
    Ok(())
}

/// Makes one folder; one that is there is fine.
async fn make_one(server: &Server, folder: &str) -> Result<()> {
    let path = format!("{folder}/");
    let asking = Asking::new("create folder", "MKCOL", &path);
    let answer = server.send(asking).await?;
    match answer.status().as_u16() {
        200 | 201 | 204 | 405 => return Ok(()),
        404 | 409 => return Err(refused(answer).await),
        _ => {}
    }
    let error = refused(answer).await;
    // Another writer may have been faster: not every server says so.
    let asking = Asking::new("create folder", "PROPFIND", &path).header("depth", "0");
    match server.send(asking).await?.status().as_u16() {
        207 => Ok(()),
        _ => Err(error),
    }
}

/// Every file below the folder of Litestream 0.3, by path.
pub(super) async fn list_v3(server: &Server, prefix: &str) -> Result<Vec<v3::Object>> {
    let mut objects = Vec::new();
    let mut open = vec![(v3::FOLDER.to_owned(), 0)];
    while let Some((path, depth)) = open.pop() {
        let folder = key::below(prefix, &path);
        if depth > DEPTH_MAX {
            let text = "folders within folders without end";
            return Err(Error::new(ErrorKind::Invalid, "list", folder, text));
        }
        for entry in list(server, &folder).await? {
            let path = format!("{path}/{}", entry.name);
            if entry.is_folder {
                open.push((path, depth + 1));
            } else {
                objects.push(v3::Object {
                    path,
                    size: entry.size,
                    created: entry.modified,
                });
            }
        }
    }
    objects.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_of_several_servers() {
        let document = br#"<?xml version="1.0"?><d:multistatus xmlns:d="DAV:">
<d:response><d:href>http://h:8080/dav/a%20b</d:href><d:propstat><d:prop><d:resourcetype><d:collection/></d:resourcetype></d:prop>
<d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>
<d:response><d:href>/dav/a b/one</d:href><d:propstat><d:prop><d:getcontentlength> 7 </d:getcontentlength><d:resourcetype/>
<d:getlastmodified>Sun, 06 Nov 1994 08:49:37 GMT</d:getlastmodified></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat>
<d:propstat><d:prop><d:quota/></d:prop><d:status>HTTP/1.1 404 Not Found</d:status></d:propstat></d:response>
<d:response><d:href>http://h/dav/a%20b/t%77o/</d:href><d:propstat><d:prop><d:resourcetype><d:collection/></d:resourcetype></d:prop></d:propstat></d:response>
<d:response><d:href>/dav/a%20b/gone</d:href><d:status>HTTP/1.1 404 Not Found</d:status></d:response>
</d:multistatus>"#;
        let found = entries(document, "/dav/a%20b/").unwrap();
        let entry = |name: &str, is_folder, size, modified| Entry {
            name: name.into(),
            is_folder,
            size,
            modified: UnixMillis(modified),
        };
        assert_eq!(
            found,
            [
                entry("one", false, 7, 784_111_777_000),
                entry("two", true, 0, 0)
            ]
        );
    }

    #[test]
    fn what_is_no_listing_is_an_error() {
        let sizeless = "<multistatus><response><href>/x</href><propstat><prop/></propstat></response></multistatus>";
        for text in ["", "<html/>", "<multistatus>", sizeless] {
            assert!(entries(text.as_bytes(), "/").is_err(), "{text}");
        }
        assert!(entries(b"<multistatus/>", "/").unwrap().is_empty());
    }

    #[test]
    fn a_member_that_the_server_does_not_tell_of_is_not_left_out() {
        let whole = |status: &str| {
            format!("<multistatus><response><href>/x</href>{status}</response></multistatus>")
        };
        let status = |code: u16| format!("<status>HTTP/1.1 {code} X</status>");
        let part = |code: u16| format!("<propstat><prop><a/></prop>{}</propstat>", status(code));
        for code in [404, 410] {
            for text in [whole(&status(code)), whole(&part(code))] {
                assert!(entries(text.as_bytes(), "/").unwrap().is_empty(), "{text}");
            }
        }
        for text in [
            whole(&status(500)),
            whole(&part(403)),
            whole(&(part(404) + &part(423))),
            whole(""),
        ] {
            assert!(entries(text.as_bytes(), "/").is_err(), "{text}");
        }
    }
}
