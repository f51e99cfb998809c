//! The program `litestream`.

fn main() -> std::process::ExitCode {
    litestream_cli::dispatch::main(std::env::args_os().skip(1).collect())
}
