//! The program `feria`.

fn main() -> std::process::ExitCode {
    feria::cli::main()
}
