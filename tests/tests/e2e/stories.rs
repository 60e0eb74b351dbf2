//! The stories that the contract was walked with, each from end to end: what a service, a page or a person at
//! the help desk does, and that the answers carry what they need for it.

mod at_work;
mod billing;
mod coming_and_going;
mod help_desk;
