//! Reading an account.

use usher_domain::account::AccountView;
use usher_domain::caller::{Acting, Caller};
use usher_storage::Tx;

use super::App;
use super::access::Access;
use super::members::Read;
use crate::error::{Error, Missing};

/// The platform sees closed accounts too; members see theirs while it is not closed.
///
/// # Errors
/// See the contract's `GetAccount`.
pub async fn get_account(app: App, _caller: Caller, command: Read) -> Result<(AccountView, i64), Error> {
    let now = app.clock.now();
    app.store
        .read(async |tx: &Tx| {
            let account = tx.account_fetch(&command.account_id).await?;
            if command.acting == Acting::Platform {
                let account = account.ok_or(Error::Missing(Missing::Account))?;
                return Ok((account.view(), account.revision));
            }
            let access = Access::open(app.roles, now, tx, account, &command.acting).await?;
            access.require("account.view")?;
            Ok((access.account.view(), access.account.revision))
        })
        .await
}
