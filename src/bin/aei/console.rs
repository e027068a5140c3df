//! What the program says: messages and progress on standard error, results on standard output.

use std::fmt;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::ops::ControlFlow;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::failure::{At as _, Failure};
use crate::paths::Place;

/// How much to say, and in which form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Console {
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
    pub(crate) json: bool,
}

impl Console {
    /// Neither quiet nor talkative.
    pub(crate) fn plain() -> Self {
        Self { quiet: false, verbose: false, json: false }
    }

    /// A line about what was done.
    pub(crate) fn say(&self, line: impl fmt::Display) {
        if !self.quiet && !self.json {
            to_stderr(line);
        }
    }

    /// A line about how it was done.
    pub(crate) fn detail(&self, line: impl fmt::Display) {
        if self.verbose && !self.quiet {
            to_stderr(format_args!("aei: {line}"));
        }
    }

    /// Something that went well, but perhaps not as expected.
    pub(crate) fn notice(&self, name: impl fmt::Display, notice: impl fmt::Display) {
        if !self.quiet {
            to_stderr(format_args!("aei: {name}: note: {notice}"));
        }
    }

    /// Something that is lost although the work was done. Said even when quiet.
    pub(crate) fn warning(&self, name: impl fmt::Display, warning: impl fmt::Display) {
        to_stderr(format_args!("aei: {name}: warning: {warning}"));
    }

    /// What the library calls with a line about something that was done in another way than asked for.
    pub(crate) fn device_warning(self) -> impl Fn(&str) + Send + Sync + 'static {
        move |line| {
            if !self.quiet {
                to_stderr(format_args!("aei: warning: {line}"));
            }
        }
    }

    /// What went wrong with `input`. Said even when quiet; programs get it as an object too.
    pub(crate) fn failure(&self, input: Option<&Place>, failure: &Failure) {
        self.failure_of("input", input, failure);
    }

    /// As [`Console::failure`], where there is no input but an output.
    pub(crate) fn output_failure(&self, output: &Place, failure: &Failure) {
        self.failure_of("output", Some(output), failure);
    }

    fn failure_of(&self, what: &str, place: Option<&Place>, failure: &Failure) {
        self.failure_about(place.map(|place| json!({ what: place.name() })), failure);
    }

    /// As [`Console::failure`], where one name does not say what it is about: `about` is the object that programs get, without the error.
    pub(crate) fn failure_about(&self, about: Option<Value>, failure: &Failure) {
        to_stderr(format_args!("aei: {}", failure.message));
        if let (true, Some(mut object)) = (self.json, about) {
            object["error"] = json!({ "code": failure.cause as u8, "message": failure.message });
            // There is a failure already; that it cannot be told to a program does not change it.
            let _ = self.object(object);
        }
    }

    /// One JSON object on one line of standard output.
    pub(crate) fn object(&self, value: Value) -> Result<(), Failure> {
        self.result(value)
    }

    /// Text on standard output. It is no failure when its reader has read enough.
    pub(crate) fn result(&self, text: impl fmt::Display) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            other => other.at("standard output"),
        }
    }

    /// A progress bar for the work on one file, where somebody can see it.
    pub(crate) fn progress(&self, name: &impl fmt::Display) -> Progress {
        let bar = if self.quiet || !io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr())
        };
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:40}] {percent:>3} % {eta}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(name.to_string());
        Progress(bar)
    }
}

/// A progress bar that disappears when it is dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// What the library calls with the work done and the whole.
    pub(crate) fn callback(&self) -> impl Fn(u64, u64) -> ControlFlow<()> + Send + Sync + 'static {
        let bar = self.0.clone();
        move |done, total| {
            bar.set_length(total);
            bar.set_position(done);
            ControlFlow::Continue(())
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Unlike `eprintln!`, no panic where standard error is closed.
fn to_stderr(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
