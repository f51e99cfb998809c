//! Which request asks for what. Pure.

use hyper::Method;
use litestream_replica::url::clean_path;

use super::query;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// About the daemon.
    Info,
    /// All databases.
    List,
    /// A database's position.
    Txid,
    /// What databases are doing.
    SyncStatus,
    /// Sync one now.
    Sync,
    /// Resume one.
    Start,
    /// Pause one.
    Stop,
    /// Add one.
    Register,
    /// Remove one.
    Unregister,
    /// Read the configuration again.
    Reload,
}

/// What an address leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// This.
    To(Endpoint),
    /// Another address.
    Moved(String),
    /// Something that takes only these methods.
    NotAllowed(&'static str),
    /// Nothing.
    Nowhere,
}

const LOOKS: [(&str, Endpoint); 4] = [
    ("/info", Endpoint::Info),
    ("/list", Endpoint::List),
    ("/txid", Endpoint::Txid),
    ("/debug/sync-status", Endpoint::SyncStatus),
];

const ACTIONS: [(&str, Endpoint); 6] = [
    ("/sync", Endpoint::Sync),
    ("/start", Endpoint::Start),
    ("/stop", Endpoint::Stop),
    ("/register", Endpoint::Register),
    ("/unregister", Endpoint::Unregister),
    ("/reload", Endpoint::Reload),
];

/// Finds the way of a request.
pub fn find(method: &Method, path: &str, query: Option<&str>) -> Route {
    if !path.starts_with('/') {
        return Route::Nowhere;
    }
    let clean = clean(path);
    if clean != path {
        let query = query.map_or_else(String::new, |query| format!("?{query}"));
        return Route::Moved(clean + &query);
    }
    let Some(path) = query::decode(path, false) else {
        return Route::Nowhere;
    };
    let named = |table: &[(&str, Endpoint)]| {
        table
            .iter()
            .find(|(p, _)| p.as_bytes() == path)
            .map(|f| f.1)
    };
    if let Some(endpoint) = named(&LOOKS) {
        return match *method {
            Method::GET | Method::HEAD => Route::To(endpoint),
            _ => Route::NotAllowed("GET, HEAD"),
        };
    }
    match named(&ACTIONS) {
        Some(endpoint) if *method == Method::POST => Route::To(endpoint),
        Some(_) => Route::NotAllowed("POST"),
        None => Route::Nowhere,
    }
}

/// Without `.`, `..` and doubled slashes; a slash at the end stays.
fn clean(path: &str) -> String {
    let mut clean = clean_path(path);
    if path.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_leads_where_litestream_leads() {
        let moved = |to: &str| Route::Moved(to.to_owned());
        for (method, address, route) in [
            (Method::GET, "/list", Route::To(Endpoint::List)),
            (Method::HEAD, "/list", Route::To(Endpoint::List)),
            (Method::GET, "/%6cist", Route::To(Endpoint::List)),
            (Method::POST, "/sync", Route::To(Endpoint::Sync)),
            (Method::POST, "/list", Route::NotAllowed("GET, HEAD")),
            (Method::GET, "/sync", Route::NotAllowed("POST")),
            (Method::HEAD, "/sync", Route::NotAllowed("POST")),
            (Method::OPTIONS, "/stop", Route::NotAllowed("POST")),
            (Method::GET, "/list/", Route::Nowhere),
            (Method::GET, "/", Route::Nowhere),
            (Method::GET, "/LIST", Route::Nowhere),
            (Method::GET, "*", Route::Nowhere),
            (Method::GET, "/%zz", Route::Nowhere),
            (Method::GET, "/debug/pprof/", Route::Nowhere),
            (Method::POST, "//list", moved("/list")),
            (
                Method::GET,
                "/debug//sync-status",
                moved("/debug/sync-status"),
            ),
            (Method::GET, "/a/../list/", moved("/list/")),
            (Method::GET, "/x//y?q=1", moved("/x/y?q=1")),
            (Method::GET, "/%2e%2e/list", Route::Nowhere),
            (Method::GET, "//%2e//%20?%", moved("/%2e/%20?%")),
            (Method::GET, "//ä b", moved("/ä b")),
        ] {
            let (path, query) = address
                .split_once('?')
                .map_or((address, None), |(path, query)| (path, Some(query)));
            assert_eq!(find(&method, path, query), route, "{method} {address}");
        }
    }
}
