//! `aei bench`: aei against other codecs.

mod codecs;
mod measure;
mod rd;
mod report;
mod results;
mod summary;
mod work;
mod worker;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Compare aei with other codecs on your own pictures
#[derive(Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Subcommand)]
enum BenchCommand {
    Rd(Box<rd::Rd>),
    /// What `aei bench` runs as processes of its own
    #[command(subcommand, hide = true)]
    Worker(worker::Worker),
}

impl Bench {
    pub(super) fn start(self) -> ExitCode {
        match self.command {
            BenchCommand::Rd(rd) => rd.common.clone().run(|session| rd.run(session)),
            BenchCommand::Worker(worker) => worker.run(),
        }
    }
}
