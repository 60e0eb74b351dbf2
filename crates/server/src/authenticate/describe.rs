//! Who may do what, in words, for the operator who checks a configuration.

use std::fmt::Write;

use usher_domain::caller::{Caller, Scope};

use super::config::Operators;
use super::{Authenticator, Closed, Mode};

impl Authenticator {
    /// One paragraph per caller: how it proves itself, what it may do, where, and how often.
    pub fn describe(&self) -> String {
        match &self.mode {
            Mode::Open(_) => {
                "no callers are configured: whoever reaches the server may do everything\n".to_owned()
            }
            Mode::Closed(closed) => closed.describe(),
        }
    }
}

impl Closed {
    fn describe(&self) -> String {
        let mut text = String::new();
        for (index, identity) in self.identities.iter().enumerate() {
            let caller = &identity.caller;
            let _ = writeln!(text, "caller `{}`", caller.name);
            for proof in self.proofs_of(index) {
                let _ = writeln!(text, "  is known by {proof}");
            }
            for scope in caller.scopes.iter() {
                let _ = writeln!(text, "  may {} (`{scope}`)", meaning(scope));
            }
            if acts_for_members_only(caller) {
                text.push_str("  acts only for members whom it names, within their rights\n");
            }
            let reach = match &caller.accounts {
                None => "all accounts".to_owned(),
                Some(accounts) => {
                    let ids: Vec<_> = accounts.iter().map(|id| format!("`{id}`")).collect();
                    format!("only {}, and knows of nobody but their members", ids.join(", "))
                }
            };
            let _ = writeln!(text, "  reaches {reach}");
            match identity.operators {
                Operators::None if caller.scopes.contains(Scope::Support) => text.push_str(
                    "  says nothing of its operators, so it reads tickets and cannot open or end any; \
                     set `operators`\n",
                ),
                Operators::None => {}
                Operators::TokenSubject => text.push_str("  its operators are the subjects of its tokens\n"),
                Operators::Named => text.push_str("  names its operators itself and is trusted with that\n"),
            }
            if let Some(rate) = &identity.rate {
                let _ = writeln!(text, "  calls at most {} times a second", rate.per_second());
            }
        }
        for issuer in &self.issuers {
            let audiences: Vec<_> = issuer.audiences.iter().map(|audience| format!("`{audience}`")).collect();
            let _ = writeln!(
                text,
                "issuer `{}`\n  signs as `{}` with {:?} for {}",
                issuer.name,
                issuer.issuer,
                issuer.algorithms,
                audiences.join(" or ")
            );
        }
        text
    }

    fn proofs_of(&self, index: usize) -> Vec<String> {
        let mut proofs = Vec::new();
        let mine = |(_, at): &(&String, &usize)| **at == index;
        proofs.extend(self.by_spiffe.iter().filter(mine).map(|(id, _)| format!("a certificate for `{id}`")));
        proofs.extend(self.by_dns.iter().filter(mine).map(|(name, _)| format!("a certificate for `{name}`")));
        for issuer in &self.issuers {
            let subjects = issuer.callers.iter().filter(mine);
            proofs.extend(
                subjects.map(|(subject, _)| {
                    format!("a token of issuer `{}` for subject `{subject}`", issuer.name)
                }),
            );
            if issuer.any_subject == Some(index) {
                proofs.push(format!("a token of issuer `{}` for any other subject", issuer.name));
            }
        }
        let tokens = self.by_token.iter().filter(|(_, at)| *at == index);
        proofs.extend(
            tokens.map(|(hash, _)| format!("the static token with SHA-256 `{}…`", hex::encode(&hash[..4]))),
        );
        proofs.sort();
        proofs
    }
}

/// Whether there are calls that it makes on somebody's behalf, and none that it makes as the platform.
fn acts_for_members_only(caller: &Caller) -> bool {
    let on_behalf = [Scope::Members, Scope::Licenses, Scope::Billing, Scope::Accounts, Scope::Audit];
    on_behalf.iter().any(|scope| caller.scopes.contains(*scope)) && !caller.scopes.contains(Scope::Platform)
}

fn meaning(scope: Scope) -> &'static str {
    match scope {
        Scope::Check => "ask what a person may do",
        Scope::Members => "read and change members and invitations",
        Scope::Licenses => "read licences, assign and release seats",
        Scope::Billing => "change how many seats are bought and the subscription",
        Scope::Accounts => "read and rename accounts",
        Scope::SignIn => "check passwords, resolve identities and accept invitations",
        Scope::Support => "open, approve and cancel ownership transfers",
        Scope::Audit => "read and follow the audit log",
        Scope::Platform => {
            "create, suspend and close accounts, read and erase users, and act as the platform, with no member behind it"
        }
    }
}
