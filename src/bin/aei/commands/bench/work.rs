//! A folder for files on the way, which goes however the program ends: also by Ctrl-C and `kill -9`.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

use crate::failure::{At as _, Failure};

/// See the module.
pub(super) struct Work {
    folder: TempDir,
    /// A process that waits for the end of this one, and removes the folder then.
    guard: Child,
}

impl Work {
    pub(super) fn new(program: &OsStr) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("aei-bench-").tempdir().at("temporary folder")?;
        let mut command = Command::new(program);
        command.args(["bench", "worker", "remove"]).arg(folder.path()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt as _;
            // A terminal's Ctrl-C is for all processes of a group.
            command.process_group(0);
        }
        let guard = command.spawn().at("aei itself")?;
        Ok(Self { folder, guard })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // Its input ends with this.
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// What the guard does. Its input ends when the program that started it does.
pub(super) fn remove(folder: &Path) -> Result<(), Failure> {
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    let mut result = Ok(());
    // Codecs that have not ended yet may be writing.
    for _ in 0..100 {
        result = fs::remove_dir_all(folder);
        if result.is_ok() || !folder.exists() {
            return Ok(());
        }
        sleep(Duration::from_millis(100));
    }
    result.at(folder.display())
}
