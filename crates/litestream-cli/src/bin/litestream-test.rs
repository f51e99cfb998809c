//! The program `litestream-test`: makes databases, loads them, and checks what is restored of them.

fn main() -> std::process::ExitCode {
    litestream_cli::testtool::main(std::env::args_os().skip(1).collect())
}
