use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "account")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub name: String,
    pub model: String,
    pub state: String,
    pub plan: String,
    pub purchased: Option<i64>,
    pub expire_time: Option<i64>,
    pub grace_end_time: Option<i64>,
    pub over_limit: bool,
    pub over_limit_end_time: Option<i64>,
    pub over_limit_clear_time: Option<i64>,
    pub seats_as_of: Option<i64>,
    pub subscription_as_of: Option<i64>,
    pub revision: i64,
    pub nonce: i64,
    pub chg_xid: i64,
    pub event_hash: String,
    pub create_time: i64,
    pub suspend_time: Option<i64>,
    pub close_time: Option<i64>,
    pub changed_time: i64,
    pub changed_event: String,
    pub changed_revision: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
