//! `aei export-model`.

use std::ffi::OsString;
use std::process::ExitCode;

use aei::Model;
use clap::Args;

use super::{Common, Session};
use crate::failure::Failure;
use crate::paths::Place;

/// Write the model as a file, for builds of aei that have none in them
///
/// `src/wasm/build.sh` uses it for the decoder in web pages.
#[derive(Args)]
#[command(after_help = crate::failure::exit_codes_help())]
pub(crate) struct ExportModel {
    /// File to write to; "-" is standard output
    #[arg(value_name = "FILE")]
    output: OsString,
    /// Leave out what encoding alone needs: nearly half of it
    #[arg(long)]
    decoder_only: bool,
    /// Overwrite a file that exists
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

impl ExportModel {
    pub(super) fn run(&self, session: &Session) -> Result<ExitCode, Failure> {
        let output = Place::from(&self.output);
        if session.console.json && output == Place::Standard {
            return Err(Failure::usage("--json and the model cannot both go to standard output; give the name of a file"));
        }
        let model = session.model.clone().map_or_else(Model::embedded, Ok)?;
        let bytes = if self.decoder_only { model.decoder_file() } else { model.file().to_vec() };
        Ok(session.export(&output, self.force, &bytes, &model))
    }
}
