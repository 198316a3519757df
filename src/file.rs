//! Files that are replaced as a whole: whoever reads one finds the old content or the new one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::{Builder, NamedTempFile};

/// Replaces the file at `path`, or makes it.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    Beside::write(path, content)?.replace()
}

/// The new content, complete and on the disk, beside the file that it is to replace. Dropped, it is gone.
pub(crate) struct Beside {
    new: NamedTempFile,
    path: PathBuf,
}

impl Beside {
    /// Writes `content` to a file of its own, so that two who write at once do not mix. It has the ending
    /// of `path`, and the permissions of the file there or else those of any new file.
    pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<Self> {
        let old = fs::metadata(path).ok();
        let Some(name) = path.file_stem().filter(|_| old.as_ref().is_none_or(|old| old.is_file()))
        else {
            // A device would be replaced by an ordinary file.
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not an ordinary file"));
        };
        let (mut prefix, mut ending) = (name.to_owned(), OsString::new());
        prefix.push(".part.");
        if let Some(extension) = path.extension() {
            ending.push(".");
            ending.push(extension);
        }
        let mut builder = Builder::new();
        builder.prefix(&prefix).suffix(&ending);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less the umask
        let mut new = builder.tempfile_in(folder(path))?;
        new.write_all(content)?;
        if let Some(old) = old {
            new.as_file().set_permissions(old.permissions())?;
        }
        new.as_file().sync_all()?;
        Ok(Self { new, path: path.to_owned() })
    }

    /// Where the new content is until it takes its place.
    #[cfg(feature = "polars")]
    pub(crate) fn path(&self) -> &Path {
        self.new.path()
    }

    /// Puts the new content into its place.
    pub(crate) fn replace(self) -> io::Result<()> {
        self.new.persist(&self.path).map_err(|refused| refused.error)?;
        // The file is in its place. Where the system cannot sync a folder (Windows, some network drives),
        // a power cut may bring the old one back, whole as it was.
        let _ = File::open(folder(&self.path)).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

/// The folder that a file is in.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string();
        fs::read_dir(folder).unwrap().map(|entry| name(entry).unwrap()).collect()
    }

    #[test]
    fn two_who_write_one_file_at_once_do_not_mix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let first = Beside::write(&path, b"first").unwrap();
        let second = Beside::write(&path, b"the second").unwrap();
        assert!(
            names(folder.path())
                .iter()
                .all(|name| { name.starts_with("a.part.") && name.ends_with(".csv") })
        );
        first.replace().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        second.replace().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"the second");
        assert_eq!(names(folder.path()), ["a.csv"]);
    }

    #[test]
    fn what_is_not_put_into_place_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        replace(&path, b"old").unwrap();
        drop(Beside::write(&path, b"new").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn what_is_no_ordinary_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        for path in [inner.as_path(), Path::new("/"), Path::new("")] {
            let error = replace(path, b"new").unwrap_err();
            assert_eq!(error.to_string(), "it is not an ordinary file", "{path:?}");
        }
        assert!(inner.is_dir());
        assert_eq!(names(folder.path()), ["inner"]);
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_the_old_file_or_of_any_new_one() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let [ordinary, path] = ["ordinary", "a"].map(|name| folder.path().join(name));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        fs::write(&ordinary, "").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(mode(&path), mode(&ordinary));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        replace(&path, b"newer").unwrap();
        assert_eq!(mode(&path) & 0o777, 0o640);
    }
}
