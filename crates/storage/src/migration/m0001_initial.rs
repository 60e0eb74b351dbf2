//! The first schema. Times are microseconds since 1970, words are checked, facts are JSON text.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, boolean, small_integer, string, string_null, text,
};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0001_initial"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// PostgreSQL does so anyway; SQLite must be told.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [
            account(),
            user(),
            identity(),
            member(),
            member_identity(),
            invitation(),
            invitation_token(),
            user_token(),
            outbox(),
            event(),
            request(),
            role_model(),
            meta(),
            sign_in_failure(),
            ownership_transfer(),
        ] {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        // One open invitation for an address in an account, whatever the program does.
        manager
            .get_connection()
            .execute_unprepared(
                "CREATE UNIQUE INDEX invitation_pending ON invitation (account_id, email_key) WHERE state = 'pending'",
            )
            .await?;
        // One open ticket in an account.
        manager
            .get_connection()
            .execute_unprepared(
                "CREATE UNIQUE INDEX ownership_transfer_open ON ownership_transfer (account_id) WHERE state = 'open'",
            )
            .await?;
        Ok(())
    }
}

fn table(name: &'static str) -> TableCreateStatement {
    Table::create().table(Alias::new(name)).to_owned()
}

fn column(name: &'static str) -> Alias {
    Alias::new(name)
}

fn primary(columns: &[&'static str]) -> IndexCreateStatement {
    let mut index = Index::create();
    for name in columns {
        index.col(column(name));
    }
    index.to_owned()
}

fn references(from: &'static str, columns: &'static str, to: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create().from(column(from), column(columns)).to(column(to), column("id")).to_owned()
}

fn one_of(name: &'static str, words: &[&'static str]) -> Expr {
    Expr::col(column(name)).is_in(words.iter().copied())
}

fn account() -> TableCreateStatement {
    table("account")
        .col(string("id").primary_key())
        .col(string("name"))
        .col(string("model"))
        .col(string("state").check(one_of("state", &["active", "suspended", "closed"])))
        .col(string("plan"))
        .col(big_integer_null("purchased").check(Expr::col(column("purchased")).between(0, 1_000_000)))
        .col(big_integer_null("expire_time"))
        .col(big_integer_null("grace_end_time"))
        .col(boolean("over_limit"))
        .col(big_integer_null("over_limit_end_time"))
        .col(big_integer_null("over_limit_clear_time"))
        .col(big_integer_null("seats_as_of"))
        .col(big_integer_null("subscription_as_of"))
        .col(big_integer("revision").check(Expr::col(column("revision")).gte(1)))
        .col(big_integer("nonce"))
        .col(big_integer("chg_xid"))
        .col(string("event_hash"))
        .col(big_integer("create_time"))
        .col(big_integer_null("suspend_time"))
        .col(big_integer_null("close_time"))
        .col(big_integer("changed_time"))
        .col(string("changed_event"))
        .col(big_integer("changed_revision"))
        .to_owned()
}

fn user() -> TableCreateStatement {
    table("user")
        .col(string("id").primary_key())
        .col(string_null("email"))
        .col(string_null("email_key").unique_key())
        .col(string_null("password_hash"))
        .col(big_integer("create_time"))
        .col(big_integer_null("erase_time"))
        .col(big_integer("revision"))
        .col(string("event_hash"))
        .to_owned()
}

fn identity() -> TableCreateStatement {
    table("identity")
        .col(string("issuer"))
        .col(string("username_key"))
        .col(string("username"))
        .col(string_null("subject"))
        .col(string("user_id"))
        .col(big_integer("create_time"))
        .col(big_integer_null("bind_time"))
        .primary_key(&mut primary(&["issuer", "username_key"]))
        .foreign_key(&mut references("identity", "user_id", "user"))
        .to_owned()
}

fn member() -> TableCreateStatement {
    table("member")
        .col(string("account_id"))
        .col(string("user_id"))
        .col(string("email"))
        .col(string("email_key"))
        .col(string("display_name"))
        .col(string("role"))
        .col(string("state").check(one_of("state", &["active", "suspended"])))
        .col(boolean("seat"))
        .col(big_integer("join_time"))
        // Since when state, role and seat are as they are: an explanation says so.
        .col(big_integer("state_time"))
        .col(big_integer("role_time"))
        .col(big_integer("seat_time"))
        .col(big_integer_null("first_sign_in_time"))
        .col(big_integer_null("last_sign_in_time"))
        .col(string_null("invited_by"))
        .col(big_integer("changed_time"))
        .col(string("changed_event"))
        .col(big_integer("changed_revision"))
        .primary_key(&mut primary(&["account_id", "user_id"]))
        .foreign_key(&mut references("member", "account_id", "account"))
        .foreign_key(&mut references("member", "user_id", "user"))
        // A suspended member holds no seat: the second wall behind the rule.
        .check(Expr::cust("state = 'active' OR NOT seat"))
        .to_owned()
}

fn member_identity() -> TableCreateStatement {
    table("member_identity")
        .col(string("account_id"))
        .col(string("user_id"))
        .col(string("issuer"))
        .col(string("username_key"))
        .primary_key(&mut primary(&["account_id", "user_id", "issuer", "username_key"]))
        .to_owned()
}

fn invitation() -> TableCreateStatement {
    table("invitation")
        .col(string("id").primary_key())
        .col(string("account_id"))
        .col(string("email"))
        .col(string("email_key"))
        .col(string("display_name"))
        .col(string("role"))
        .col(string("state").check(one_of("state", &["pending", "accepted", "revoked", "expired"])))
        .col(boolean("uses_seat"))
        .col(string_null("invited_by"))
        .col(big_integer("create_time"))
        .col(big_integer("expire_time"))
        .col(big_integer_null("accept_time"))
        .col(big_integer_null("revoke_time"))
        .col(string_null("accepted_user_id"))
        .col(string_null("new_user_id"))
        .col(string("language"))
        .col(string("delivery"))
        .col(string("delivery_state"))
        .col(big_integer("sends"))
        .col(big_integer_null("last_send_time"))
        .col(big_integer_null("next_attempt_time"))
        .col(string("failure"))
        .col(string_null("issuer"))
        .col(string_null("username"))
        .foreign_key(&mut references("invitation", "account_id", "account"))
        .to_owned()
}

fn invitation_token() -> TableCreateStatement {
    table("invitation_token")
        .col(string("hash").primary_key())
        .col(string("invitation_id"))
        .col(big_integer("create_time"))
        .foreign_key(&mut references("invitation_token", "invitation_id", "invitation"))
        .to_owned()
}

fn user_token() -> TableCreateStatement {
    table("user_token")
        .col(string("hash").primary_key())
        .col(string("user_id"))
        .col(string("purpose"))
        .col(string("email"))
        .col(big_integer("create_time"))
        .col(big_integer("expire_time"))
        .foreign_key(&mut references("user_token", "user_id", "user"))
        .to_owned()
}

fn outbox() -> TableCreateStatement {
    table("outbox")
        .col(string("id").primary_key())
        .col(string("kind"))
        .col(string_null("account_id"))
        .col(string("subject_id"))
        .col(string("email"))
        .col(string("email_key"))
        .col(string("language"))
        .col(string("state").check(one_of("state", &["queued", "sent", "failed", "dropped"])))
        .col(big_integer("attempts"))
        .col(big_integer("next_attempt_time"))
        .col(string_null("claim"))
        .col(big_integer_null("claimed_until"))
        .col(big_integer("create_time"))
        .col(big_integer_null("done_time"))
        .col(string("failure"))
        .to_owned()
}

fn event() -> TableCreateStatement {
    table("event")
        .col(small_integer("stream_kind"))
        .col(string("stream_id"))
        .col(big_integer("revision"))
        .col(big_integer("idx"))
        .col(big_integer("time"))
        .col(string("kind"))
        .col(string("caller"))
        .col(string_null("actor_id"))
        .col(string("subject_id"))
        .col(string("request_id"))
        .col(text("note"))
        .col(text("before_facts"))
        .col(text("after_facts"))
        .col(ColumnDef::new(column("personal")).text().null().to_owned())
        .col(string("personal_commitment"))
        .col(string("hash"))
        .primary_key(&mut primary(&["stream_kind", "stream_id", "revision", "idx"]))
        .to_owned()
}

fn request() -> TableCreateStatement {
    table("request")
        .col(string("caller"))
        .col(string("rpc"))
        .col(string("account_id"))
        .col(string("request_id"))
        .col(string("digest"))
        .col(text("outcome"))
        .col(big_integer("create_time"))
        .primary_key(&mut primary(&["caller", "rpc", "account_id", "request_id"]))
        .to_owned()
}

fn role_model() -> TableCreateStatement {
    table("role_model").col(string("id").primary_key()).col(string("digest")).col(text("matrix")).to_owned()
}

fn sign_in_failure() -> TableCreateStatement {
    table("sign_in_failure")
        .col(string("email_key").primary_key())
        .col(big_integer("failures"))
        .col(big_integer("last_time"))
        .col(big_integer("next_time"))
        .to_owned()
}

fn ownership_transfer() -> TableCreateStatement {
    table("ownership_transfer")
        .col(string("id").primary_key())
        .col(string("account_id"))
        .col(string("role"))
        .col(string("state").check(one_of("state", &["open", "approved", "cancelled", "expired"])))
        .col(string_null("present_owner_id"))
        .col(string_null("successor_role"))
        .col(string("new_owner_id"))
        .col(string("ticket_ref"))
        .col(string("requested_by"))
        .col(text("note"))
        .col(string("opened_by"))
        .col(big_integer("open_time"))
        .col(big_integer("expire_time"))
        .col(string_null("ended_by"))
        .col(big_integer_null("end_time"))
        .foreign_key(&mut references("ownership_transfer", "account_id", "account"))
        .to_owned()
}

fn meta() -> TableCreateStatement {
    table("meta").col(string("key").primary_key()).col(text("value")).to_owned()
}

fn indexes() -> Vec<IndexCreateStatement> {
    let index = |name: &'static str, table: &'static str, columns: &[&'static str]| {
        let mut index = Index::create();
        index.name(name).table(column(table));
        for name in columns {
            index.col(column(name));
        }
        index.to_owned()
    };
    vec![
        // The poller asks which accounts changed since the snapshot before.
        index("account_chg_xid", "account", &["chg_xid"]),
        index("identity_subject", "identity", &["issuer", "subject"]).unique().to_owned(),
        index("identity_user", "identity", &["user_id"]),
        index("member_user", "member", &["user_id"]),
        index("member_email", "member", &["account_id", "email_key", "user_id"]),
        index("member_role", "member", &["account_id", "role", "state", "seat"]),
        index("member_identity_name", "member_identity", &["issuer", "username_key", "account_id"]),
        index("invitation_email", "invitation", &["account_id", "email_key", "id"]),
        index("invitation_open", "invitation", &["account_id", "state", "expire_time"]),
        index("invitation_sponsor", "invitation", &["account_id", "invited_by", "state"]),
        index("invitation_token_invitation", "invitation_token", &["invitation_id", "create_time"]),
        index("user_token_user", "user_token", &["user_id", "purpose"]),
        index("outbox_due", "outbox", &["state", "next_attempt_time"]),
        index("outbox_account", "outbox", &["account_id", "create_time"]),
        index("outbox_subject", "outbox", &["subject_id"]),
        index("outbox_email", "outbox", &["email_key", "kind"]),
        index("ownership_transfer_list", "ownership_transfer", &["account_id", "open_time", "id"]),
        index("invitation_accepted", "invitation", &["accepted_user_id"]),
        index("invitation_email_key", "invitation", &["email_key"]),
        index("event_subject", "event", &["subject_id"]),
        index("event_time", "event", &["stream_kind", "stream_id", "time"]),
        index("request_age", "request", &["create_time"]),
    ]
}
