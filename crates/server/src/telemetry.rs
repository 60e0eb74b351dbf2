//! Logs.

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};
use crate::lifecycle::StartError;

/// Begins to log, to stderr.
///
/// # Errors
/// When the filter cannot be read.
pub fn log(config: &LogConfig) -> Result<(), StartError> {
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|e| StartError(format!("`log.filter` cannot be read: {e}")))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let done = match config.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).try_init(),
    };
    done.map_err(|e| StartError(format!("logs cannot begin: {e}")))
}
