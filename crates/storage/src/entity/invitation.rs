use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "invitation")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub account_id: String,
    pub email: String,
    pub email_key: String,
    pub display_name: String,
    pub role: String,
    pub state: String,
    pub uses_seat: bool,
    pub invited_by: Option<String>,
    pub create_time: i64,
    pub expire_time: i64,
    pub accept_time: Option<i64>,
    pub revoke_time: Option<i64>,
    pub accepted_user_id: Option<String>,
    pub new_user_id: Option<String>,
    pub language: String,
    pub delivery: String,
    pub delivery_state: String,
    pub sends: i64,
    pub last_send_time: Option<i64>,
    pub next_attempt_time: Option<i64>,
    pub failure: String,
    pub issuer: Option<String>,
    pub username: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
