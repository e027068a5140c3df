//! A file that gets its name when all of it is on the disk.
//!
//! On Linux it has no name at all until then, so that nothing is left behind however the program ends: Ctrl-C, `kill -9`, a power failure. File systems that
//! cannot do this, and other systems, get a hidden name in the same folder, which is removed unless the program is killed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// See the module.
#[derive(Debug)]
pub(crate) enum WholeFile {
    #[cfg(target_os = "linux")]
    Nameless {
        file: File,
        folder: PathBuf,
    },
    Named(NamedTempFile),
}

impl WholeFile {
    /// For a file that will be called `path`, and has the rights of a new file. Made in the same folder: renaming works within one file system only.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let folder: PathBuf = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).into();
        #[cfg(target_os = "linux")]
        if let Some(file) = nameless::create(&folder)? {
            return Ok(Self::Nameless { file, folder });
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".aei-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // Less what the user's umask says, as for any other new file.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        builder.tempfile_in(folder).map(Self::Named)
    }

    /// What is written to.
    pub(crate) fn file(&mut self) -> &mut File {
        match self {
            #[cfg(target_os = "linux")]
            Self::Nameless { file, .. } => file,
            Self::Named(file) => file.as_file_mut(),
        }
    }

    /// Brings the contents to the disk and gives the file its name.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if there is a file of that name and `replace` is false.
    pub(crate) fn persist(mut self, path: &Path, replace: bool) -> io::Result<()> {
        self.file().sync_all()?;
        match self {
            #[cfg(target_os = "linux")]
            Self::Nameless { file, folder } => nameless::persist(&file, &folder, path, replace),
            Self::Named(file) if replace => file.persist(path).map(drop).map_err(|e| e.error),
            Self::Named(file) => file.persist_noclobber(path).map(drop).map_err(|e| e.error),
        }
    }
}

#[cfg(target_os = "linux")]
mod nameless {
    use std::fs::{self, File};
    use std::io;
    use std::os::fd::AsRawFd as _;
    use std::path::Path;

    use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
    use rustix::io::Errno;

    /// `None` where the file system cannot do it, or the name could not be given later because there is no `/proc`.
    pub(super) fn create(folder: &Path) -> io::Result<Option<File>> {
        if !Path::new("/proc/self/fd").is_dir() {
            return Ok(None);
        }
        match open(folder, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::from_raw_mode(0o666)) {
            Ok(file) => Ok(Some(file.into())),
            // Old kernels and some file systems say so in one of these ways.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn persist(file: &File, folder: &Path, path: &Path, replace: bool) -> io::Result<()> {
        let link = |to: &Path| linkat(CWD, format!("/proc/self/fd/{}", file.as_raw_fd()), CWD, to, AtFlags::SYMLINK_FOLLOW);
        match link(path) {
            Err(Errno::EXIST) if replace => {}
            other => return Ok(other?),
        }
        // A link does not replace a file, but a renaming does. The name between is that of a finished file, for the time of two system calls.
        for attempt in 0..u32::MAX {
            let between = folder.join(format!(".aei-{}-{attempt}", std::process::id()));
            match link(&between) {
                Ok(()) => return fs::rename(&between, path).inspect_err(|_| drop(fs::remove_file(&between))),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Both kinds of files, in folders of their own.
    fn both(check: impl Fn(&Path, &dyn Fn(&Path) -> WholeFile)) {
        let folder = tempfile::tempdir().unwrap();
        check(folder.path(), &|path| WholeFile::create(path).unwrap());
        let folder = tempfile::tempdir().unwrap();
        check(folder.path(), &|path| WholeFile::Named(NamedTempFile::new_in(path.parent().unwrap()).unwrap()));
    }

    #[test]
    fn whole_or_not_at_all() {
        both(|folder, create| {
            let path = folder.join("picture");
            let mut file = create(&path);
            file.file().write_all(b"half").unwrap();
            drop(file);
            assert!(names(folder).is_empty());

            let mut file = create(&path);
            file.file().write_all(b"first").unwrap();
            file.persist(&path, false).unwrap();
            assert_eq!((names(folder), fs::read(&path).unwrap()), (vec!["picture".to_owned()], b"first".to_vec()));

            let mut file = create(&path);
            file.file().write_all(b"second").unwrap();
            assert_eq!(file.persist(&path, false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!((names(folder), fs::read(&path).unwrap()), (vec!["picture".to_owned()], b"first".to_vec()));

            let mut file = create(&path);
            file.file().write_all(b"third").unwrap();
            file.persist(&path, true).unwrap();
            assert_eq!((names(folder), fs::read(&path).unwrap()), (vec!["picture".to_owned()], b"third".to_vec()));
        });
    }
}
