use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "ownership_transfer")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub account_id: String,
    pub role: String,
    pub state: String,
    pub present_owner_id: Option<String>,
    pub successor_role: Option<String>,
    pub new_owner_id: String,
    pub ticket_ref: String,
    pub requested_by: String,
    pub note: String,
    pub opened_by: String,
    pub open_time: i64,
    pub expire_time: i64,
    pub ended_by: Option<String>,
    pub end_time: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
