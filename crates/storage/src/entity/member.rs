use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "member")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    pub email: String,
    pub email_key: String,
    pub display_name: String,
    pub role: String,
    pub state: String,
    pub seat: bool,
    pub join_time: i64,
    pub state_time: i64,
    pub role_time: i64,
    pub seat_time: i64,
    pub first_sign_in_time: Option<i64>,
    pub last_sign_in_time: Option<i64>,
    pub invited_by: Option<String>,
    pub changed_time: i64,
    pub changed_event: String,
    pub changed_revision: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
