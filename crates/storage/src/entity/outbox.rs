use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "outbox")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub kind: String,
    pub account_id: Option<String>,
    pub subject_id: String,
    pub email: String,
    pub email_key: String,
    pub language: String,
    pub state: String,
    pub attempts: i64,
    pub next_attempt_time: i64,
    pub claim: Option<String>,
    pub claimed_until: Option<i64>,
    pub create_time: i64,
    pub done_time: Option<i64>,
    pub failure: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
