//! What goes wrong, as one line for people and one number for programs.

use std::fmt::{self, Write as _};
use std::io;
use std::process::ExitCode;

/// Why the program, or its work on one file, failed. The value is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Internal = 1,
    Usage = 2,
    Io = 3,
    BadFile = 4,
    Limits = 5,
    Unsupported = 6,
    /// Not a failure: the picture is there, but not all of it.
    Salvaged = 7,
    Cancelled = 8,
}

/// All exit codes, as `--help` lists them.
const EXIT_CODES: [(u8, &str); 9] = [
    (0, "all went well"),
    (Cause::Internal as u8, "unexpected failure, a mistake in aei"),
    (
        Cause::Usage as u8,
        "the command line makes no sense, or asks for what cannot be: a size or score out of reach, a region beyond the picture, measures of different sizes",
    ),
    (Cause::Io as u8, "a file is missing, cannot be read or written, or exists already"),
    (Cause::BadFile as u8, "a file is damaged, truncated or of another kind"),
    (Cause::Limits as u8, "a picture, or the memory that it needs, is larger than the limits allow"),
    (
        Cause::Unsupported as u8,
        "a file needs what this version or this model cannot do, or has no preview; a model file, a device or another codec cannot be used",
    ),
    (Cause::Salvaged as u8, "a damaged file was decoded with --salvage; the messages tell what was lost"),
    (Cause::Cancelled as u8, "the work was stopped before its end"),
];

/// The table of exit codes as text.
pub(crate) fn exit_codes_help() -> String {
    let mut text = String::from("Exit codes:\n");
    for (code, meaning) in EXIT_CODES {
        let _ = writeln!(text, "  {code}  {meaning}");
    }
    text.push_str("With several files, the work goes on after a failure, and the code is that of the first one.");
    text
}

/// A failure, told in one line: what is wrong; what to do.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) cause: Cause,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(cause: Cause, message: impl Into<String>) -> Self {
        // Messages quote files and other crates; one line it stays.
        let message = message.into().split(['\n', '\r']).collect::<Vec<_>>().join(" ");
        Self { cause, message }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Cause::Usage, message)
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.cause as u8)
    }

    /// Puts the name of the file in front.
    pub(crate) fn at(self, name: impl fmt::Display) -> Self {
        Self::new(self.cause, format!("{name}: {}", self.message))
    }
}

impl From<aei::Error> for Failure {
    fn from(error: aei::Error) -> Self {
        let error = match error {
            aei::Error::Io(error) => return error.into(),
            other => other,
        };
        let cause = match &error {
            aei::Error::Format(_) => Cause::BadFile,
            aei::Error::Limits(_) => Cause::Limits,
            aei::Error::Unsupported(_) | aei::Error::Model(_) | aei::Error::Device(_) => Cause::Unsupported,
            aei::Error::Cancelled => Cause::Cancelled,
            // A parameter that got past the command line's checks, or a variant that this program has not learned about.
            _ => Cause::Internal,
        };
        let advice = if cause == Cause::Limits { "; if you trust the file, raise --max-pixels or --max-memory" } else { "" };
        Self::new(cause, format!("{error}{advice}"))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::*;
        let message = match error.kind() {
            NotFound => "there is no such file or folder; check the name".into(),
            PermissionDenied => "permission denied; check who may read or write here".into(),
            IsADirectory => "this is a folder, not a file; name the files in it, or use encode or decode with -r".into(),
            NotADirectory => "part of this path is a file, not a folder; check the name".into(),
            // Files that are in the way of other files are told elsewhere.
            AlreadyExists => "this is not a folder; give the name of one, or of one that can be made".into(),
            InvalidFilename => "this name is too long, or not possible here; choose another".into(),
            StorageFull | QuotaExceeded => "the disk is full; make room or choose another place with -o".into(),
            BrokenPipe => "the reader of the output has gone away".into(),
            _ => error.to_string(),
        };
        Self::new(Cause::Io, message)
    }
}

/// Names the file that a failure is about.
pub(crate) trait At<T> {
    fn at(self, name: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Into<Failure>> At<T> for Result<T, E> {
    fn at(self, name: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| error.into().at(name))
    }
}
