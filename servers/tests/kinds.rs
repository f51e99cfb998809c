//! Each kind of server starts, answers, is killed and comes back on the same port.

use std::net::TcpStream;

use litestream_servers::{Kind, Server};

fn starts(kind: Kind) {
    let mut server = Server::start(kind).expect("start");
    let port = server.port();
    let place = server.new_place("one").expect("a place");
    assert_eq!(place.key("type"), Some(kind.backend()));
    assert_ne!(
        place.yaml(),
        server.new_place("two").expect("another").yaml()
    );
    server.kill();
    assert!(
        TcpStream::connect(("127.0.0.1", port)).is_err(),
        "it listens after its end"
    );
    server.restart().expect("restart");
    assert_eq!(server.port(), port);
    let again = server.new_place("one").expect("the place again");
    if server.keeps_data() {
        assert_eq!(again.yaml(), place.yaml());
    }
}

macro_rules! kinds {
    ($($name:ident: $kind:ident,)*) => {
        $(#[test] fn $name() { starts(Kind::$kind); })*
    };
}

kinds! {
    moto: Moto,
    moto_auth: MotoAuth,
    rclone_s3: RcloneS3,
    gcs: Gcs,
    gcs_for_oracle: GcsForOracle,
    azurite: Azurite,
    azurite_sas: AzuriteSas,
    nats: Nats,
    nats_old: NatsOld,
    sshd: Sshd,
    rclone_sftp: RcloneSftp,
    rclone_webdav: RcloneWebdav,
    nginx: Nginx,
    apache_basic: ApacheBasic,
    apache_digest: ApacheDigest,
    wsgidav: Wsgidav,
    oss: Oss,
}

#[test]
#[ignore = "must be built from source for minutes"]
fn s3s_fs() {
    starts(Kind::S3sFs);
}

#[test]
#[ignore = "must be built from source for half an hour"]
fn garage() {
    starts(Kind::Garage);
}
