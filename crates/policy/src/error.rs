//! What is wrong with a role model file, and where.
//!
//! All mistakes of a file are reported at once, in the order of its lines, so that a person repairs
//! it in one round.

use std::fmt;

/// The most mistakes that are reported of one file.
pub const ERRORS_MAX: usize = 100;

/// One mistake. Displays as `file:line: message; suggestion`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    pub file: String,
    /// Counted from 1, like the column; `None` when the file could not be read at all.
    pub line: Option<usize>,
    pub column: Option<usize>,
    pub message: String,
    pub suggestion: Option<String>,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; {suggestion}"),
            None => Ok(()),
        }
    }
}

/// The mistakes of one or more files, at least one. Displays one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceErrors(Vec<SourceError>);

impl SourceErrors {
    pub fn iter(&self) -> impl Iterator<Item = &SourceError> {
        self.0.iter()
    }

    pub(crate) fn of_file(file: &str, message: impl Into<String>) -> Self {
        let (file, message) = (file.to_owned(), message.into());
        Self(vec![SourceError { file, line: None, column: None, message, suggestion: None }])
    }

    pub(crate) fn of_files(all: Vec<Self>) -> Option<Self> {
        let all: Vec<_> = all.into_iter().flat_map(|errors| errors.0).collect();
        (!all.is_empty()).then_some(Self(all))
    }
}

impl fmt::Display for SourceErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SourceErrors {}

/// A value and where it stands in the file, as a byte offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) at: usize,
}

/// Collects the mistakes of one file.
pub(crate) struct Report<'a> {
    file: &'a str,
    text: &'a str,
    errors: Vec<SourceError>,
    left_out: usize,
}

impl<'a> Report<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, errors: Vec::new(), left_out: 0 }
    }

    pub(crate) fn error(&mut self, at: usize, message: impl Into<String>) {
        self.push(at, message.into(), None);
    }

    pub(crate) fn error_with(
        &mut self,
        at: usize,
        message: impl Into<String>,
        suggestion: impl Into<String>,
    ) {
        self.push(at, message.into(), Some(suggestion.into()));
    }

    /// Whether further mistakes are only counted; then it is not worth looking for suggestions.
    pub(crate) fn is_full(&self) -> bool {
        self.errors.len() >= ERRORS_MAX
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    fn push(&mut self, at: usize, message: String, suggestion: Option<String>) {
        if self.is_full() {
            self.left_out += 1;
            return;
        }
        let (line, column) = self.place(at);
        let (file, line, column) = (self.file.to_owned(), Some(line), Some(column));
        self.errors.push(SourceError { file, line, column, message, suggestion });
    }

    fn place(&self, at: usize) -> (usize, usize) {
        let before = self.text.as_bytes().get(..at).unwrap_or(self.text.as_bytes());
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        // Bytes that continue a character are not counted.
        let column = 1 + before[line_start..].iter().filter(|b| (**b & 0xC0) != 0x80).count();
        (line, column)
    }

    /// `Err` when anything was reported.
    pub(crate) fn finish(mut self) -> Result<(), SourceErrors> {
        if self.errors.is_empty() {
            return Ok(());
        }
        self.errors.sort_by_key(|error| (error.line, error.column));
        if self.left_out > 0 {
            let message = format!("{} more mistakes are not shown", self.left_out);
            let file = self.file.to_owned();
            self.errors.push(SourceError { file, line: None, column: None, message, suggestion: None });
        }
        Err(SourceErrors(self.errors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters() {
        let report = Report::new("f", "a\nbä c\n");
        assert_eq!(report.place(0), (1, 1));
        assert_eq!(report.place(2), (2, 1));
        assert_eq!(report.place(5), (2, 3), "after a character of two bytes");
        assert_eq!(report.place(999), (3, 1), "past the end is the end");
    }

    #[test]
    fn a_flood_of_mistakes_is_cut() {
        let mut report = Report::new("f", "");
        (0..ERRORS_MAX + 5).for_each(|_| report.error(0, "wrong"));
        let errors = report.finish().unwrap_err();
        assert_eq!(errors.iter().count(), ERRORS_MAX + 1);
        assert!(errors.to_string().ends_with("f: 5 more mistakes are not shown"), "{errors}");
    }
}
