//! The manifests, and putting them where they can be edited.
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

macro_rules! manifests {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("manifests/", $name)))),+]
    };
}

const FILES: &[(&str, &str)] = manifests![
    "details.yaml",
    "legacy.yaml",
    "mysql.yaml",
    "orders.yaml",
    "payments.yaml",
    "productpage.yaml",
    "ratings.yaml",
    "reviews.yaml",
    "vault.yaml",
];

/// What the shop's traffic must become, for `pointsman test`; written beside the manifests.
const CASES: (&str, &str) = ("shop.test.yaml", include_str!("shop.test.yaml"));

/// The manifests of the shop: file name and text, in the order of the names.
pub fn files() -> &'static [(&'static str, &'static str)] {
    FILES
}

/// What [`write()`] did, by file name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Made, or replaced because it was asked for.
    pub written: Vec<&'static str>,
    /// There, with another text: somebody edited them, or another version wrote them. Left alone.
    pub kept: Vec<&'static str>,
}

impl Written {
    /// A sentence about files that were left alone; `None` if there are none.
    pub fn notice(&self, dir: &Path) -> Option<String> {
        if self.kept.is_empty() {
            return None;
        }
        Some(format!(
            "Kept as edited in {}: {} (--force puts the originals back)",
            dir.display(),
            self.kept.join(", ")
        ))
    }
}

/// A file or directory could not be read or written.
#[derive(Debug)]
pub struct WriteError {
    path: PathBuf,
    source: io::Error,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(
            f,
            "cannot put the sample manifests at {path}: {}",
            self.source
        )
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Puts the manifests, and the cases they pass, into a directory, which is made if it is missing. A file with another text
/// is replaced only if `force` is set. Files with other names are not touched.
///
/// # Errors
/// The first path the system refuses. Files before it are already written.
pub fn write(dir: &Path, force: bool) -> Result<Written, WriteError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| WriteError { path, source }
    };
    fs::create_dir_all(dir).map_err(failed(dir))?;
    let mut done = Written::default();
    for &(name, text) in FILES.iter().chain([&CASES]) {
        let path = dir.join(name);
        match fs::read(&path) {
            Ok(known) if known == text.as_bytes() => continue,
            Ok(_) if !force => {
                done.kept.push(name);
                continue;
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&path)(error)),
        }
        fs::write(&path, text).map_err(failed(&path))?;
        done.written.push(name);
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manifest_in_the_folder_is_embedded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/demo/manifests");
        let mut there: Vec<String> = fs::read_dir(folder)
            .expect("the source tree")
            .map(|entry| {
                entry
                    .expect("readable")
                    .file_name()
                    .into_string()
                    .expect("a name")
            })
            .collect();
        there.sort();
        let embedded: Vec<&str> = files().iter().map(|file| file.0).collect();
        assert_eq!(there, embedded);
    }

    #[test]
    fn edited_files_are_kept_unless_forced() {
        let dir = std::env::temp_dir().join(format!("pointsman-demo-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let names = files().iter().map(|file| file.0);
        let all: Vec<&str> = names.chain([CASES.0]).collect();

        let first = write(&dir, false).expect("writable");
        assert_eq!((first.written, first.kept), (all, vec![]));
        assert_eq!(write(&dir, false).expect("writable"), Written::default());

        fs::write(dir.join("reviews.yaml"), "# mine\n").expect("writable");
        fs::write(dir.join("other.yaml"), "# mine\n").expect("writable");
        let again = write(&dir, false).expect("writable");
        assert_eq!(again.kept, ["reviews.yaml"]);
        let notice = again.notice(&dir).expect("something was kept");
        assert!(notice.contains("reviews.yaml") && notice.contains("--force"));
        assert_eq!(
            fs::read_to_string(dir.join("reviews.yaml")).expect("there"),
            "# mine\n"
        );

        let forced = write(&dir, true).expect("writable");
        assert_eq!(
            (forced.written, forced.kept),
            (vec!["reviews.yaml"], vec![])
        );
        assert_eq!(
            fs::read_to_string(dir.join("other.yaml")).expect("there"),
            "# mine\n"
        );
        fs::remove_dir_all(&dir).expect("removable");
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let file = std::env::temp_dir().join(format!("pointsman-demo-{}.file", std::process::id()));
        fs::write(&file, "").expect("writable");
        let error = write(&file.join("below"), false).expect_err("no directory");
        assert!(error.to_string().contains("pointsman-demo-"), "{error}");
        fs::remove_file(&file).expect("removable");
    }
}
