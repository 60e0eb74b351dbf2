use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "event")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub stream_kind: i16,
    #[sea_orm(primary_key, auto_increment = false)]
    pub stream_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub revision: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub idx: i64,
    pub time: i64,
    pub kind: String,
    pub caller: String,
    pub actor_id: Option<String>,
    pub subject_id: String,
    pub request_id: String,
    pub note: String,
    pub before_facts: String,
    pub after_facts: String,
    pub personal: Option<String>,
    pub personal_commitment: String,
    pub hash: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
