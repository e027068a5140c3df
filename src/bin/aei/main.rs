//! The `aei` program: pictures to `.aei` files and back.

mod commands;
mod console;
mod failure;
mod paths;
mod whole_file;

use std::ffi::OsString;
use std::panic;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use commands::Command;
use failure::Cause;

/// Turns pictures into small .aei files and back. Files decode to the same pixels on every machine.
#[derive(Parser)]
#[command(name = "aei", version, after_help = failure::exit_codes_help(), max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let mut command = Cli::command();
    // The long version asks for the model and the kernel: only where it is going to be printed.
    let arguments = arguments();
    if arguments.iter().any(|argument| argument == "--version") {
        let text: &'static str = long_version().leak();
        command = command.long_version(text);
    }
    let matches = command.get_matches_from(arguments);
    match Cli::from_arg_matches(&matches) {
        // The panic has been told by then; what is left is to keep the promise about exit codes.
        Ok(cli) => panic::catch_unwind(|| cli.command.run()).unwrap_or(ExitCode::from(Cause::Internal as u8)),
        Err(error) => error.exit(),
    }
}

/// The command line. Shells of Windows leave it to programs to look for what `*.png` stands for.
fn arguments() -> Vec<OsString> {
    let arguments: Vec<_> = std::env::args_os().collect();
    #[cfg(windows)]
    // `photo[1].png` is a name there, and a pattern only beside those that cannot be names.
    if arguments.iter().any(|argument| argument.as_encoded_bytes().iter().any(|byte| b"*?".contains(byte))) {
        return wild::args_os().collect();
    }
    arguments
}

/// What decides the bits of files and the speed of the work.
fn long_version() -> String {
    let model = aei::Model::embedded().map_or_else(|e| format!("none ({e})"), |model| format!("{} {}", model.name(), model.id()));
    let kernel = aei::kernel_name().map_or_else(|e| format!("none ({e})"), str::to_owned);
    format!("{}\nmodel   {model}\nkernel  {kernel}", env!("CARGO_PKG_VERSION"))
}
