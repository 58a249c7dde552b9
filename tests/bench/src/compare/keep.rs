//! What each subject was started with, left for a reader: that nothing is switched off is to be seen there.

use crate::void::Void;
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where it is left, if it is.
#[derive(Default)]
pub struct Keep(Option<PathBuf>);

impl Keep {
    /// In this folder, which is made: beside what is there already, nobody could tell what was used.
    ///
    /// # Errors
    /// When it has something in it, or nothing can be written there.
    pub fn open(folder: Option<&Path>) -> Result<Self, Void> {
        if let Some(folder) = folder {
            let wrong = |why: String| Void::usage(format!("--keep {}: {why}", folder.display()));
            let writable = fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder));
            writable.and_then(|_| fs::read_dir(folder)).map_err(|error| wrong(error.to_string())).and_then(
                |mut held| held.next().map_or(Ok(()), |_| Err(wrong("it is not empty".to_owned()))),
            )?;
        }
        Ok(Keep(folder.map(Path::to_owned)))
    }

    /// Copies the files of a subject that is about to start, and writes its command line beside them. Each start writes over the one before.
    ///
    /// # Errors
    /// When there is no room.
    pub fn leave(&self, scenario: &str, subject: &str, folder: &Path, command: &Command) -> Result<(), Void> {
        let Some(kept) = &self.0 else { return Ok(()) };
        let kept = kept.join(scenario).join(subject);
        fs::create_dir_all(&kept)?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), kept.join(entry.file_name()))?;
            }
        }
        fs::write(kept.join("command"), line(command) + "\n")?;
        Ok(())
    }
}

/// As one types it, with what of the environment is its own.
fn line(command: &Command) -> String {
    let variables = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), quoted(value?))));
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted);
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |character: char| character.is_alphanumeric() || "-_./=:,+@%".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_the_command_line_are_left() {
        let (kept, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(own.path().join("proxy.cfg"), "workers 1").unwrap();
        fs::create_dir(own.path().join("cache")).unwrap();
        let mut command = Command::new("/bin/proxy");
        command.args(["-c", "it's"]).env("LEVEL", "a b").env_remove("HOME");
        let keep = Keep::open(Some(&kept.path().join("new"))).unwrap();
        for _ in 0..2 {
            keep.leave("h1", "proxy", own.path(), &command).unwrap();
        }
        let read = |name: &str| fs::read_to_string(kept.path().join("new/h1/proxy").join(name)).unwrap();
        assert_eq!(read("proxy.cfg"), "workers 1");
        assert_eq!(read("command"), "LEVEL='a b' /bin/proxy -c 'it'\\''s'\n");
        assert!(Keep::default().leave("h1", "proxy", own.path(), &command).is_ok());
    }

    #[test]
    fn where_nothing_can_be_written_is_told_at_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "").unwrap();
        for (path, why) in [(file.path(), "exists"), (folder.path(), "not empty")] {
            let told = Keep::open(Some(path)).err().unwrap().to_string();
            assert!(told.starts_with("--keep ") && told.contains(why), "{told}");
        }
    }
}
