//! Files for other programs. Each format has its module.

mod csv;
mod hgrm;
mod hlog;

use std::path::Path;
use std::str::FromStr;

pub use self::csv::{write_csv, write_csv_rows};
pub use self::hgrm::write_hgrm;
pub use self::hlog::HlogWriter;
pub(super) use self::hlog::write_hlog;

/// The format of a file, chosen by the extension of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.json`: the document, [`RunResult::to_json`](crate::measured::RunResult::to_json).
    Json,
    /// `.csv`: a line of names and a line of figures, [`write_csv`].
    Csv,
    /// `.hgrm`: the distribution of response times by percentile, [`write_hgrm`].
    Hgrm,
    /// `.html`: a page with figures, [`run_page`](super::run_page).
    Html,
    /// `.hlog`: the histogram of each interval, [`HlogWriter`].
    Hlog,
}

impl Format {
    /// Returns the format that the extension of a path names.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use resound::report::Format;
    ///
    /// assert_eq!(Format::of(Path::new("out/today.hgrm")), Ok(Format::Hgrm));
    /// assert!(Format::of(Path::new("json")).is_err(), "it has no extension");
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with a sentence that names the extensions.
    pub fn of(path: &Path) -> Result<Format, String> {
        let extension =
            path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "json" => Ok(Format::Json),
            "csv" => Ok(Format::Csv),
            "hgrm" => Ok(Format::Hgrm),
            "html" => Ok(Format::Html),
            "hlog" => Ok(Format::Hlog),
            _ => Err("expected a file that ends in .json, .html, .csv, .hgrm or .hlog, such as \
                      run.json"
                .to_owned()),
        }
    }
}

impl FromStr for Format {
    type Err = String;

    /// Returns the [`Format::of`] the text, read as a path.
    fn from_str(text: &str) -> Result<Format, String> {
        Format::of(Path::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_chooses_the_format() {
        let cases = [
            ("a.json", Format::Json),
            ("/tmp/run.1.CSV", Format::Csv),
            ("x/.y.hgrm", Format::Hgrm),
            ("a.hlog", Format::Hlog),
            ("page.html", Format::Html),
        ];
        for (text, format) in cases {
            assert_eq!(text.parse(), Ok(format), "{text}");
        }
        for text in ["", "json", ".json", "a.txt", "a.json.gz", "a."] {
            let refused = text.parse::<Format>().unwrap_err();
            assert!(refused.contains(".json, .html, .csv, .hgrm or .hlog"), "{text}: {refused}");
        }
    }
}
