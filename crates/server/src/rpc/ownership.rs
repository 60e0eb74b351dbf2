//! The messages of AccountService that are about ownership tickets.

use usher_contract::v1 as pb;
use usher_domain::id::TransferId;
use usher_domain::ownership::{OwnershipTransfer, TICKET_REF_LENGTH_MAX, TransferState};
use usher_domain::text::{NAME_LENGTH_MAX, NOTE_LENGTH_MAX};
use usher_domain::time::Time;

use super::account::by_platform;
use super::convert::timestamp;
use super::member::choices;
use super::parse::{Parse, Parser, Party, party};
use super::{Answer, token_of};
use crate::app::App;
use crate::app::change::Changed;
use crate::app::ownership::{
    EndOwnershipTransfer, GetOwnershipTransfer, ListOwnershipTransfers, OpenOwnershipTransfer, ReadTransfers,
    TransferOutcome, Transfers,
};

impl Parse for pb::OpenOwnershipTransferRequest {
    type Command = OpenOwnershipTransfer;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<OpenOwnershipTransfer> {
        let change = by_platform(parser, &self.account_id, &self.request_id, &self.note);
        let new_owner_id = parser.user("new_owner_id", &self.new_owner_id);
        let ticket_ref = parser.required_line("ticket_ref", &self.ticket_ref, TICKET_REF_LENGTH_MAX);
        let operator_id = parser.line("operator_id", &self.operator_id, NAME_LENGTH_MAX);
        let role = if self.role.is_empty() { Some(String::new()) } else { parser.word("role", &self.role) };
        let requested_by = parser.line("requested_by", &self.requested_by, NOTE_LENGTH_MAX);
        Some(OpenOwnershipTransfer {
            change: change?,
            new_owner_id: new_owner_id?,
            ticket_ref: ticket_ref?,
            operator_id: operator_id?,
            role: role?,
            requested_by: requested_by?,
        })
    }
}

fn ending(
    parser: &mut Parser,
    account: &str,
    (request_id, note): (&str, &str),
    (transfer_id, operator_id): (&str, &str),
) -> Option<EndOwnershipTransfer> {
    let change = by_platform(parser, account, request_id, note);
    let transfer_id = parser.take("transfer_id", TransferId::parse(transfer_id));
    let operator_id = parser.line("operator_id", operator_id, NAME_LENGTH_MAX);
    Some(EndOwnershipTransfer { change: change?, transfer_id: transfer_id?, operator_id: operator_id? })
}

impl Parse for pb::ApproveOwnershipTransferRequest {
    type Command = EndOwnershipTransfer;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<EndOwnershipTransfer> {
        let said = (self.request_id.as_str(), self.note.as_str());
        ending(parser, &self.account_id, said, (&self.transfer_id, &self.operator_id))
    }
}

impl Parse for pb::CancelOwnershipTransferRequest {
    type Command = EndOwnershipTransfer;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<EndOwnershipTransfer> {
        let said = (self.request_id.as_str(), self.note.as_str());
        ending(parser, &self.account_id, said, (&self.transfer_id, &self.operator_id))
    }
}

/// Support leaves the acting party unset.
fn read(parser: &mut Parser, account: &str, acting: Option<Party>) -> Option<ReadTransfers> {
    let account_id = parser.account(account);
    let acting = match acting {
        None => Some(None),
        acting => parser.acting(acting).map(Some),
    };
    Some(ReadTransfers { account_id: account_id?, acting: acting? })
}

impl Parse for pb::GetOwnershipTransferRequest {
    type Command = GetOwnershipTransfer;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<GetOwnershipTransfer> {
        let read = read(parser, &self.account_id, party!(self.acting, get_ownership_transfer_request));
        let transfer_id = parser.take("transfer_id", TransferId::parse(&self.transfer_id));
        Some(GetOwnershipTransfer { read: read?, transfer_id: transfer_id? })
    }
}

impl Parse for pb::ListOwnershipTransfersRequest {
    type Command = ListOwnershipTransfers;

    fn account(&self) -> &str {
        &self.account_id
    }

    fn parse(self, parser: &mut Parser) -> Option<ListOwnershipTransfers> {
        let read = read(parser, &self.account_id, party!(self.acting, list_ownership_transfers_request));
        let page = parser.page(self.page_size, &self.page_token);
        let states = choices(parser, "states", &self.states, |state| match state {
            pb::OwnershipTransferState::Unspecified => None,
            pb::OwnershipTransferState::Open => Some(TransferState::Open),
            pb::OwnershipTransferState::Approved => Some(TransferState::Approved),
            pb::OwnershipTransferState::Cancelled => Some(TransferState::Cancelled),
            pb::OwnershipTransferState::Expired => Some(TransferState::Expired),
        });
        Some(ListOwnershipTransfers { read: read?, page: page?, states: states? })
    }
}

fn transfer(transfer: OwnershipTransfer, as_of: Time) -> pb::OwnershipTransfer {
    let state = match transfer.state(as_of) {
        TransferState::Open => pb::OwnershipTransferState::Open,
        TransferState::Approved => pb::OwnershipTransferState::Approved,
        TransferState::Cancelled => pb::OwnershipTransferState::Cancelled,
        TransferState::Expired => pb::OwnershipTransferState::Expired,
    };
    pb::OwnershipTransfer {
        account_id: transfer.account_id.into(),
        id: transfer.id.into(),
        state: state.into(),
        role: transfer.role,
        present_owner_id: transfer.present_owner_id.map(Into::into).unwrap_or_default(),
        successor_role: transfer.successor_role.unwrap_or_default(),
        new_owner_id: transfer.new_owner_id.into(),
        ticket_ref: transfer.ticket_ref,
        requested_by: transfer.requested_by,
        note: transfer.note,
        opened_by: transfer.opened_by,
        open_time: Some(timestamp(transfer.open_time)),
        expire_time: Some(timestamp(transfer.expire_time)),
        ended_by: transfer.ended_by.unwrap_or_default(),
        end_time: transfer.end_time.map(timestamp),
    }
}

/// The three changes of a ticket answer alike.
macro_rules! answers_with_transfer {
    ($($response:ident),+) => {$(
        impl Answer<Changed<TransferOutcome>> for pb::$response {
            fn answer(app: &App, account: &str, changed: Changed<TransferOutcome>) -> Self {
                Self {
                    transfer: Some(transfer(changed.outcome.transfer, changed.outcome.as_of)),
                    revision: changed.revision,
                    consistency_token: token_of(app, account, changed.revision),
                }
            }
        }
    )+};
}

answers_with_transfer!(
    OpenOwnershipTransferResponse,
    ApproveOwnershipTransferResponse,
    CancelOwnershipTransferResponse
);

impl Answer<(TransferOutcome, i64)> for pb::GetOwnershipTransferResponse {
    fn answer(app: &App, account: &str, (read, revision): (TransferOutcome, i64)) -> Self {
        let consistency_token = token_of(app, account, revision);
        Self { transfer: Some(transfer(read.transfer, read.as_of)), revision, consistency_token }
    }
}

impl Answer<Transfers> for pb::ListOwnershipTransfersResponse {
    fn answer(app: &App, account: &str, read: Transfers) -> Self {
        Self {
            transfers: read.transfers.into_iter().map(|one| transfer(one, read.as_of)).collect(),
            next_page_token: read.next_page_token,
            revision: read.revision,
            consistency_token: token_of(app, account, read.revision),
        }
    }
}
