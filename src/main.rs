//! The program `feria`.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    feria::client::install_tls_provider();
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(err, "error: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let run = feria::cli::run(std::env::args_os(), &mut out, &mut err);
    ExitCode::from(runtime.block_on(run))
}
