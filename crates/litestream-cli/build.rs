//! Tells the program which compiler built it, for `litestream version -verbose`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = std::process::Command::new(rustc).arg("--version").output();
    let version = output
        .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
        .unwrap_or_default();
    println!(
        "cargo::rustc-env=LITESTREAM_RUSTC={}",
        version.strip_prefix("rustc ").unwrap_or(&version)
    );
}
