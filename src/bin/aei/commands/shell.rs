//! `aei completions` and `aei man`: what a package of the program installs beside it.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::console::Console;
use crate::failure::{At as _, Failure};
use crate::paths::Place;

/// Print a script that lets a shell complete aei's options
///
/// For example `aei completions bash >~/.local/share/bash-completion/completions/aei`.
#[derive(Args)]
pub(crate) struct Completions {
    /// Shell that will read it
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Result<ExitCode, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut visible(&crate::Cli::command()), "aei", &mut script);
        Console::plain().result(String::from_utf8_lossy(&script).trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A command without what is hidden, which completions would offer.
fn visible(command: &clap::Command) -> clap::Command {
    // Names of commands live as long as the program, which ends soon.
    let owned = |text: &str| -> &'static str { text.to_owned().leak() };
    let mut copy = clap::Command::new(owned(command.get_name()))
        .args(command.get_arguments().filter(|argument| !argument.is_hide_set()))
        .subcommands(command.get_subcommands().filter(|command| !command.is_hide_set()).map(visible));
    if let Some(about) = command.get_about() {
        copy = copy.about(about.clone());
    }
    if let Some(about) = command.get_long_about() {
        copy = copy.long_about(about.clone());
    }
    if let Some(version) = command.get_version() {
        copy = copy.version(owned(version));
    }
    copy
}

/// Print the manual page, or write those of all subcommands to a folder
///
/// For example `aei man | man -l -`, or `aei man -o ~/.local/share/man/man1/`.
#[derive(Args)]
pub(crate) struct Man {
    /// Folder for aei.1, aei-encode.1 and so on; it is made if there is none, and pages in it are replaced
    #[arg(short, long, value_name = "DIR")]
    output: Option<OsString>,
}

impl Man {
    pub(super) fn run(&self) -> Result<ExitCode, Failure> {
        // The help subcommand would have a page for each subcommand again.
        let command = crate::Cli::command().disable_help_subcommand(true);
        match self.output.as_ref().map(Path::new) {
            Some(folder) => {
                fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder)).at(Place::Path(folder.into()))?;
            }
            None => {
                let mut roff = Vec::new();
                clap_mangen::Man::new(command).render(&mut roff)?;
                Console::plain().result(String::from_utf8_lossy(&roff).trim_end())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
