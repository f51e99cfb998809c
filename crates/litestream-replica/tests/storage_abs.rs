//! The conformance suite against Azurite.

#![cfg(feature = "abs")]

mod storage;

use storage::Place;

#[tokio::test]
async fn with_an_account_key() {
    let place = Place { keys: vec![
        ("type","abs".into()),("endpoint","http://127.0.0.1:17100/devstoreaccount1".into()),("account-name","devstoreaccount1".into()),
        ("account-key","Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==".into()),("bucket","testb".into()),("path","k".into())]};
    storage::conforms(&place).await;
}

#[tokio::test]
async fn with_a_signature() {
    let place = Place { keys: vec![
        ("type","abs".into()),("endpoint","http://127.0.0.1:17100/devstoreaccount1".into()),("account-name","devstoreaccount1".into()),
        ("sas-token","?sv=2021-12-02&sr=c&sp=racwdl&se=2030-01-01T00%3A00%3A00Z&sig=UiH%2FlHi3ZWKE4R%2BY8uPshfe0JWou0zIEPZOJT5bd824%3D".into()),("bucket","testb".into()),("path","s".into())]};
    storage::conforms(&place).await;
}
