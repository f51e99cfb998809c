//! Keys, and what files of known hosts say of them.

use super::*;

const ONE: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
const TWO: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G2sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";
const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=";

fn key(text: &str) -> PublicKey {
    PublicKey::from_openssh(text).unwrap()
}

fn judge(host: &str, pinned: Option<&str>, known: &str) -> Judge {
    let address = Address::parse(host).unwrap();
    Judge {
        keys: HostKeys::new(address, pinned).unwrap(),
        entries: entries_of(known, Path::new("/known")),
    }
}

#[test]
fn a_pinned_key_is_the_only_one() {
    let judge = judge("h", Some(&format!("{ONE} a comment")), &format!("h {TWO}"));
    assert!(judge.check(&key(ONE)).is_ok());
    let error = judge.check(&key(TWO)).unwrap_err();
    assert!(!error.is_retryable() && error.to_string().contains("is not the one given"));
    let bad = HostKeys::new(Address::parse("h").unwrap(), Some("ssh-ed25519 x"));
    let error = bad.err().unwrap().to_string();
    assert!(error.starts_with("cannot parse sftp host key: "), "{error}");
}

#[test]
fn a_known_host_must_show_a_known_key() {
    for (host, line, known) in [
        ("h", "h", true),
        ("h", "H", true),
        ("h", "other,h,1.2.3.4", true),
        ("h.example.com", "*.example.com", true),
        ("h.example.com", "h.*", true),
        ("h.example.com", "?.example.com", true),
        ("h.example.com", "*.example.com,!h.example.com", false),
        ("h.example.com", "*.example.org", false),
        ("h:2222", "[h]:2222", true),
        ("[::1]:2222", "[::1]:2222", true),
        ("::1", "::1", true),
        ("h", "[h]:2222", false),
        ("pijul.org", "#pijul.org", false),
        (
            "example.com",
            "|1|O33ESRMWPVkMYIwJ1Uw+n877jTo=|nuuC5vEqXlEZ/8BXQR7m619W6Ak=",
            true,
        ),
        (
            "example.org",
            "|1|O33ESRMWPVkMYIwJ1Uw+n877jTo=|nuuC5vEqXlEZ/8BXQR7m619W6Ak=",
            false,
        ),
        ("h", "|1|x|y", false),
    ] {
        let judge = judge(host, None, &format!("\n# x\n{line} {ONE} comment\n"));
        assert!(judge.check(&key(ONE)).is_ok(), "{host} {line}");
        let other = judge.check(&key(TWO)).map_err(|e| e.to_string());
        if known {
            assert!(
                other.unwrap_err().contains("/known, line 3"),
                "{host} {line}"
            );
        } else {
            // The first key was taken on trust.
            assert!(
                other.unwrap_err().contains("has changed from"),
                "{host} {line}"
            );
        }
    }
}

#[test]
fn a_key_that_can_not_be_read_is_known_and_another_one() {
    for line in [
        "h ssh-ed25519 AAAAbroken",
        "h ssh-ed25519",
        "h ssh-new AAAA",
        "h",
    ] {
        let error = judge("h", None, line).check(&key(ONE)).unwrap_err();
        assert!(error.to_string().contains("/known, line 1"), "{error}");
        let both = judge("h", None, &format!("{line}\nh {ONE}"));
        assert!(both.check(&key(ONE)).is_ok(), "{line}");
    }
}

#[test]
fn known_hosts_that_can_not_be_read_are_no_reason_to_believe_anybody() {
    let disk = crate::env::real::env().disk;
    let folder = tempfile::tempdir().unwrap();
    let judge_by = |pinned, file: PathBuf| {
        let keys = HostKeys::new(Address::parse("h").unwrap(), pinned).unwrap();
        keys.judge_by(&*disk, vec![file]).map(drop)
    };
    assert!(judge_by(None, folder.path().join("missing")).is_ok());
    // A folder can't be read as a file.
    let error = judge_by(None, folder.path().to_owned()).unwrap_err();
    assert!(
        !error.is_retryable() && error.to_string().contains("host-key"),
        "{error}"
    );
    assert!(judge_by(Some(ONE), folder.path().to_owned()).is_ok());
}

#[test]
fn another_port_is_another_server_but_the_name_vouches() {
    let known = format!("h {ONE}");
    assert!(judge("h:2222", None, &known).check(&key(ONE)).is_ok());
    assert!(judge("h:2222", None, &known).check(&key(TWO)).is_ok());
    assert!(judge("h:22", None, &known).check(&key(TWO)).is_err());
}

#[test]
fn revoked_keys_and_authorities() {
    let known = format!("@revoked * {ONE}\n@cert-authority * {TWO}\n");
    let judge = judge("h", None, &known);
    let error = judge.check(&key(ONE)).unwrap_err().to_string();
    assert!(error.contains("revoked by /known, line 1"), "{error}");
    assert!(judge.check(&key(TWO)).is_ok());
}

#[test]
fn the_kind_of_key_that_is_known_is_asked_for_first() {
    let default = russh::Preferred::DEFAULT.key;
    let order = |judge: &Judge| judge.preferred(&default);
    let known = judge("h", None, &format!("h {ECDSA}\nh {ECDSA}"));
    assert_eq!(order(&known)[0], key(ECDSA).algorithm());
    assert_eq!(order(&known).len(), default.len());
    assert_eq!(order(&judge("h", None, "")), default.to_vec());
    assert_eq!(
        order(&judge("h", Some(ECDSA), ""))[0],
        key(ECDSA).algorithm()
    );
}
