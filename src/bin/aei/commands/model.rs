//! `aei export-model`.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use aei::Model;
use clap::Args;

use super::{Common, Session};
use crate::failure::{At as _, Failure};
use crate::paths::{self, Place};

/// Write the model as a file, for builds of aei that have none in them
///
/// `src/wasm/build.sh` uses it for the decoder in web pages.
#[derive(Args)]
#[command(after_help = crate::failure::exit_codes_help())]
pub(crate) struct ExportModel {
    /// File to write to
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
        let model = session.model.clone().map_or_else(Model::embedded, Ok)?;
        let bytes = if self.decoder_only { model.decoder_file() } else { model.file().to_vec() };
        let place = Place::Path(Path::new(&self.output).to_owned());
        paths::check_output(&place, self.force)?;
        paths::write(&place, &bytes, self.force).at(&place)?;
        session.console.say(format_args!("{place}  {} bytes, model {}", bytes.len(), model.id()));
        Ok(ExitCode::SUCCESS)
    }
}
