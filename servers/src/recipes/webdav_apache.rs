//! WebDAV: Apache, with Basic or Digest authentication.

use anyhow::Result;

use super::{Recipe, Site, args, s3, webdav};
use crate::place::Place;
use crate::process::Program;
use crate::server::open_to_all;

/// The name and the password of every server here, as `openssl passwd -apr1` writes it.
const BASIC_USERS: &str = "u:$apr1$abcdefgh$lKHOHBb./ijGRYF9lVCjs/\n";
/// The same for the realm `dav`: the MD5 of `u:dav:` and the password.
const DIGEST_USERS: &str = "u:dav:89542aa2cfd7bf29aabd2dcd231eb553\n";

const MODULES: &[&str] = &[
    "mpm_event",
    "authz_core",
    "authn_core",
    "authn_file",
    "authz_user",
    "auth_basic",
    "auth_digest",
    "dav",
    "dav_fs",
];

pub(super) struct Apache {
    /// Digest, else Basic.
    pub(super) digest: bool,
}

impl Recipe for Apache {
    fn prepare(&self, site: &Site) -> Result<()> {
        for folder in ["data", "apache"] {
            let folder = site.dir.join(folder);
            std::fs::create_dir(&folder)?;
            // Apache gives up root's rights.
            open_to_all(&folder, 0o777)?;
        }
        let (auth, users) = if self.digest {
            ("Digest", DIGEST_USERS)
        } else {
            ("Basic", BASIC_USERS)
        };
        std::fs::write(site.dir.join("users"), users)?;
        let mut config = format!(
            "ServerRoot {dir}/apache\nListen 127.0.0.1:{port}\nServerName localhost\nPidFile {dir}/httpd.pid\n\
             ErrorLog /dev/stderr\nUser www-data\nGroup www-data\nKeepAlive On\nMaxKeepAliveRequests 0\n",
            dir = site.dir.display(),
            port = site.port(),
        );
        let modules = MODULES.iter().map(|module| {
            format!("LoadModule {module}_module /usr/lib/apache2/modules/mod_{module}.so\n")
        });
        config.extend(modules);
        config.extend([format!(
            "DAVLockDB {dir}/apache/locks\nDocumentRoot {dir}/data\n<Directory {dir}/data>\n  Dav On\n\
             \x20 AuthType {auth}\n  AuthName dav\n  AuthUserFile {dir}/users\n  Require valid-user\n</Directory>\n",
            dir = site.dir.display(),
        )]);
        std::fs::write(site.dir.join("httpd.conf"), config)?;
        Ok(())
    }

    fn programs(&self, site: &Site) -> Vec<Program> {
        vec![Program {
            name: "apache",
            // One process, so that a kill leaves nothing behind.
            args: args!["/usr/sbin/apache2", "-X", "-f", site.path("httpd.conf")],
            env: Vec::new(),
            port: site.port(),
            probe: s3::probe,
        }]
    }

    fn place(&self, _site: &Site, name: &str, port: u16) -> Result<Place> {
        Ok(webdav::place(port, name, true))
    }
}
