//! The page that Prometheus reads, as numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One reading: each sample's number by its name and labels.
pub(crate) struct Page {
    pub(crate) text: String,
    samples: BTreeMap<(String, BTreeMap<String, String>), f64>,
}

impl Page {
    pub(crate) async fn read(address: &str) -> Self {
        let (status, head, text) = ask(address, "GET", "/metrics").await.expect("an answer");
        assert_eq!(status, 200);
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(sample);
        Self { samples: samples.collect(), text }
    }

    /// Reads again until it is as wanted.
    pub(crate) async fn until(address: &str, wanted: impl Fn(&Self) -> bool) -> Self {
        let reading = async {
            loop {
                let page = Self::read(address).await;
                if wanted(&page) {
                    return page;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), reading).await.expect("the page becomes as wanted")
    }

    /// The sum of the samples of this name that have these labels, and perhaps others.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |(known, of): &(String, BTreeMap<String, String>)| {
            known == name
                && labels.iter().all(|(key, value)| of.get(*key).is_some_and(|known| known == value))
        };
        self.samples.iter().filter(|(key, _)| fits(key)).map(|(_, value)| value).sum()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.samples.keys().any(|(known, _)| known == name)
    }

    /// Every value that a label has.
    pub(crate) fn values(&self, label: &str) -> Vec<&str> {
        self.samples.keys().filter_map(|(_, labels)| labels.get(label).map(String::as_str)).collect()
    }
}

/// The status, the head and the body of an answer; `None` when nobody listens.
pub(crate) async fn ask(address: &str, method: &str, path: &str) -> Option<(u16, String, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer}"));
    let status = head.split(' ').nth(1).unwrap_or_else(|| panic!("no status: {head}"));
    Some((status.parse().unwrap(), head.to_lowercase(), body.to_owned()))
}

/// `name{label="value",…} number`
fn sample(line: &str) -> ((String, BTreeMap<String, String>), f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
    let value = value.parse().unwrap_or_else(|e| panic!("{line}: {e}"));
    let Some((name, labels)) = series.split_once('{') else {
        return ((series.to_owned(), BTreeMap::new()), value);
    };
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("no end of labels: {line}"));
    let labels = labels.split("\",").filter(|label| !label.is_empty()).map(|label| {
        let (key, value) = label.split_once("=\"").unwrap_or_else(|| panic!("no label `{label}`: {line}"));
        (key.to_owned(), value.trim_end_matches('"').to_owned())
    });
    ((name.to_owned(), labels.collect()), value)
}
