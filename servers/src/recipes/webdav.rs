//! WebDAV: rclone, nginx, WsgiDAV.

use anyhow::Result;

use super::{PASSWORD, Recipe, Site, USER, args, s3};
use crate::place::Place;
use crate::process::Program;

/// A replica in a folder of a WebDAV server, with name and password or without.
pub(super) fn place(port: u16, name: &str, with_password: bool) -> Place {
    let mut keys = vec![
        ("type", "webdav".to_owned()),
        ("webdav-url", format!("http://127.0.0.1:{port}")),
    ];
    let mut login = String::new();
    if with_password {
        keys.push(("webdav-username", USER.to_owned()));
        keys.push(("webdav-password", PASSWORD.to_owned()));
        login = format!("{USER}:{PASSWORD}@");
    }
    keys.push(("path", format!("/{name}")));
    Place {
        url: Some(format!("webdav://{login}127.0.0.1:{port}/{name}")),
        keys,
        env: Vec::new(),
    }
}

/// Makes the folder that is served.
fn make_data(site: &Site) -> Result<()> {
    std::fs::create_dir(site.dir.join("data"))?;
    Ok(())
}

pub(super) struct Rclone;

impl Recipe for Rclone {
    fn prepare(&self, site: &Site) -> Result<()> {
        make_data(site)
    }

    fn programs(&self, site: &Site) -> Vec<Program> {
        vec![Program {
            name: "rclone",
            args: args![
                site.python("rclone"),
                "serve",
                "webdav",
                "--config",
                site.path("rclone.conf"),
                "--cache-dir",
                site.path("cache"),
                "--addr",
                format!("127.0.0.1:{}", site.port()),
                "--user",
                USER,
                "--pass",
                PASSWORD,
                site.path("data")
            ],
            env: Vec::new(),
            port: site.port(),
            probe: s3::probe,
        }]
    }

    fn place(&self, _site: &Site, name: &str, port: u16) -> Result<Place> {
        Ok(place(port, name, true))
    }
}

pub(super) struct Nginx;

impl Recipe for Nginx {
    fn prepare(&self, site: &Site) -> Result<()> {
        make_data(site)?;
        // One process, so that a kill leaves nothing behind.
        let config = format!(
            "load_module /usr/lib/nginx/modules/ngx_http_dav_ext_module.so;\n\
             daemon off;\nmaster_process off;\npid {dir}/nginx.pid;\nerror_log stderr;\n\
             events {{ worker_connections 512; }}\n\
             http {{\n  access_log off;\n  client_body_temp_path {dir}/bodies;\n  proxy_temp_path {dir}/proxy;\n\
             \x20 fastcgi_temp_path {dir}/fastcgi;\n  uwsgi_temp_path {dir}/uwsgi;\n  scgi_temp_path {dir}/scgi;\n\
             \x20 client_max_body_size 0;\n  server {{\n    listen 127.0.0.1:{port};\n    location / {{\n\
             \x20     root {dir}/data;\n      dav_methods PUT DELETE MKCOL COPY MOVE;\n\
             \x20     dav_ext_methods PROPFIND OPTIONS;\n      create_full_put_path on;\n    }}\n  }}\n}}\n",
            dir = site.dir.display(),
            port = site.port(),
        );
        std::fs::write(site.dir.join("nginx.conf"), config)?;
        Ok(())
    }

    fn programs(&self, site: &Site) -> Vec<Program> {
        vec![Program {
            name: "nginx",
            args: args![
                "/usr/sbin/nginx",
                "-c",
                site.path("nginx.conf"),
                "-e",
                "stderr"
            ],
            env: Vec::new(),
            port: site.port(),
            probe: s3::probe,
        }]
    }

    fn place(&self, _site: &Site, name: &str, port: u16) -> Result<Place> {
        Ok(place(port, name, false))
    }
}

pub(super) struct Wsgidav;

impl Recipe for Wsgidav {
    fn prepare(&self, site: &Site) -> Result<()> {
        make_data(site)
    }

    fn programs(&self, site: &Site) -> Vec<Program> {
        vec![Program {
            name: "wsgidav",
            args: args![
                site.python("wsgidav"),
                "--no-config",
                "--host=127.0.0.1",
                format!("--port={}", site.port()),
                format!("--root={}", site.path("data")),
                "--auth=anonymous",
                "--server=gevent"
            ],
            env: Vec::new(),
            port: site.port(),
            probe: s3::probe,
        }]
    }

    fn place(&self, _site: &Site, name: &str, port: u16) -> Result<Place> {
        Ok(place(port, name, false))
    }
}
