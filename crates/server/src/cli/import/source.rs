//! The lines of a file, in either format, as fields by name.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::{Map, Value};
use usher_domain::import::{Fault, ImportError};

use super::fields::{FIELDS, Fields};
use crate::error::nearest;

/// The longest line, in bytes.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// The most lines of a file; all of them are held in memory.
const LINES_MAX: u64 = 5_000_000;

pub(super) type Source = Box<dyn Read>;

pub(super) fn open(file: &Path) -> Result<Source, String> {
    if file == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    match File::open(file) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(format!("cannot read `{}`: {error}", file.display())),
    }
}

/// Hands over line after line. What is wrong with one does not end it.
pub(super) fn each(
    source: Source,
    is_csv: bool,
    mut take: impl FnMut(Result<Fields, Fault>),
) -> Result<(), String> {
    let mut lines: u64 = 0;
    let mut counted = |fields| {
        lines += 1;
        take(fields);
        if lines > LINES_MAX {
            return Err(format!("the file has more than {LINES_MAX} lines; divide it by accounts"));
        }
        Ok(())
    };
    if is_csv { csv(source, &mut counted) } else { json_lines(source, &mut counted) }
}

type Take<'a> = &'a mut dyn FnMut(Result<Fields, Fault>) -> Result<(), String>;

fn malformed(line: u64, why: String) -> Fault {
    Fault { line, field: "", wrong: ImportError::Malformed(why) }
}

fn json_lines(source: Source, take: Take<'_>) -> Result<(), String> {
    let mut reader = BufReader::new(source);
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let read = reader.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut bytes);
        if read.map_err(|error| format!("cannot read line {line}: {error}"))? == 0 {
            break;
        }
        if bytes.len() as u64 > LINE_BYTES_MAX {
            return Err(format!("line {line} is longer than {LINE_BYTES_MAX} bytes; is it JSON lines?"));
        }
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        take(match serde_json::from_slice::<Map<String, Value>>(text) {
            Ok(values) => Ok(Fields { line, values }),
            Err(error) => Err(malformed(line, format!("is no JSON object: {error}"))),
        })?;
    }
    Ok(())
}

fn csv(source: Source, take: Take<'_>) -> Result<(), String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(source);
    let headers = reader.headers().map_err(|error| format!("cannot read the first line: {error}"))?.clone();
    check_headers(&headers)?;
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) if error.is_io_error() => return Err(format!("cannot read the file: {error}")),
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                take(Err(malformed(line, error.to_string())))?;
                continue;
            }
        };
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != headers.len() {
            let why = format!("has {} cells, and the first line {}", record.len(), headers.len());
            take(Err(malformed(line, why)))?;
            continue;
        }
        let cells = headers.iter().zip(&record);
        let values = cells.map(|(name, cell)| (name.to_owned(), Value::String(cell.to_owned())));
        take(Ok(Fields { line, values: values.collect() }))?;
    }
    Ok(())
}

fn check_headers(headers: &csv::StringRecord) -> Result<(), String> {
    if headers.iter().any(|name| name.contains([';', '\t'])) {
        return Err("the first line names no columns that are separated by commas".into());
    }
    for (place, name) in headers.iter().enumerate() {
        if !FIELDS.contains(&name) || name == "identities" {
            let hint = nearest(name, FIELDS.iter().copied());
            let hint = hint.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default();
            return Err(format!("the first line names the columns, and `{name}` is none{hint}"));
        }
        if headers.iter().take(place).any(|before| before == name) {
            return Err(format!("the first line names the column `{name}` twice"));
        }
    }
    match headers.iter().any(|name| name == "account_id") {
        true => Ok(()),
        false => Err("the first line names no column `account_id`".into()),
    }
}
