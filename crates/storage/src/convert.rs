//! Between columns and values. A value that does not parse is a corrupt row, never a default.

use serde::Serialize;
use serde::de::DeserializeOwned;
use usher_domain::id::{AccountId, InvitationId, TransferId, UserId};
use usher_domain::time::Time;

use crate::error::Error;

pub(crate) fn time(micros: i64) -> Time {
    Time::from_micros(micros)
}

pub(crate) fn time_opt(micros: Option<i64>) -> Option<Time> {
    micros.map(Time::from_micros)
}

pub(crate) fn micros(time: Option<Time>) -> Option<i64> {
    time.map(Time::micros)
}

/// The stored word of a unit variant: its serde name.
pub(crate) fn word<T: Serialize>(value: T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("only unit variants are stored as words, not {other:?}"),
    }
}

pub(crate) fn from_word<T: DeserializeOwned>(what: &str, word: &str) -> Result<T, Error> {
    serde_json::from_value(serde_json::Value::String(word.to_owned())).map_err(|_| Error::corrupt(what, word))
}

pub(crate) fn json<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|e| Error::Internal(e.to_string()))
}

pub(crate) fn from_json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|e| Error::corrupt(what, e))
}

pub(crate) fn account_id(text: &str) -> Result<AccountId, Error> {
    AccountId::parse(text).map_err(|_| Error::corrupt("account id", text))
}

pub(crate) fn user_id(text: &str) -> Result<UserId, Error> {
    UserId::parse(text).map_err(|_| Error::corrupt("user id", text))
}

pub(crate) fn user_id_opt(text: Option<&str>) -> Result<Option<UserId>, Error> {
    text.map(user_id).transpose()
}

pub(crate) fn invitation_id(text: &str) -> Result<InvitationId, Error> {
    InvitationId::parse(text).map_err(|_| Error::corrupt("invitation id", text))
}

pub(crate) fn transfer_id(text: &str) -> Result<TransferId, Error> {
    TransferId::parse(text).map_err(|_| Error::corrupt("transfer id", text))
}

pub(crate) fn count(n: i64) -> Result<u32, Error> {
    u32::try_from(n).map_err(|_| Error::corrupt("count", n))
}
