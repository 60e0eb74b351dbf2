//! What can be wrong with a role model as a whole, with the line and the message that it gets.

mod fixture;
#[path = "fixture/spoil.rs"]
mod spoil;

use fixture::SMALL;
use spoil::{errors, run};

#[test]
fn what_matches_nothing() {
    run(&[
        (
            "actions = [\"thing.create\"]\n\n[permissions.run]",
            "actions = []\n\n[permissions.run]",
            &[
                "5: no permission grants `thing.create`; add it to a permission or remove it",
                "21: permission `make` matches no action; list its actions or remove it",
            ],
        ),
        (
            "permissions = [\"make\", \"work\"]",
            "permissions = []",
            &["48: role `maker` has no permission; list its permissions or remove it"],
        ),
        (
            "actions = [\"thing.create\"]\n\n[permissions.run]",
            "actions = [\"thing.create\", \"thing.view\", \"thing.update\"]\n\n[permissions.run]",
            &[
                "16: `when` of permission `work` matches nothing; every role that has it grants its actions without a condition too",
            ],
        ),
        (
            "[\"subscription.update\"]",
            "[]",
            &[
                "54: no action stays available after a lapse, so no account could come back; list what pays and what frees a seat, such as `subscription.update`",
            ],
        ),
        (
            "[after_lapse]\nactions = [\"subscription.update\"]\n",
            "",
            &[
                "1: the file has no `after_lapse`; add `[after_lapse]` with the `actions` that bring an account back",
            ],
        ),
        (
            "thing = [\"create\", \"view\", \"update\"]",
            "thing = [\"create\", \"view\", \"update\", \"burn\"]",
            &["5: no permission grants `thing.burn`; add it to a permission or remove it"],
        ),
        (
            "audit = [\"view\"]",
            "audit = [\"view\"]\nempty = []",
            &["12: resource type `empty` has no verb; remove it"],
        ),
        (
            "[automation]",
            "[permissions.idle]\ntitle = \"Idle\"\nactions = [\"thing.view\"]\n\n[automation]",
            &["56: permission `idle` is in no role; give it to a role or remove it"],
        ),
    ]);
}

#[test]
fn conditions() {
    run(&[
        (
            "\"thing.view\", \"thing.update\"",
            "\"thing.view\", \"thing.update\", \"thing.create\"",
            &[
                "17: `thing.create` cannot depend on an owner: what is created has none yet; put it into a permission without `when`",
            ],
        ),
        (
            "\"thing.view\", \"thing.update\"",
            "\"thing.view\", \"thing.update\", \"member.view\"",
            &[
                "17: `member.view` cannot depend on an owner: it guards Usher's own calls; put it into a permission without `when`",
            ],
        ),
    ]);
}

#[test]
fn guards_and_scopes() {
    run(&[
        (
            "\"invite\", \"update\", \"change_role\"",
            "\"update\", \"change_role\"",
            &[
                "6: action `member.invite` is missing, which guards Usher's own calls; add \"invite\" to `member`",
                "26: unknown action `member.invite`; name it in `[actions]` first, and write it as `resource_type.verb`",
            ],
        ),
        (
            "ownership_transfer = [\"view\"]\n",
            "",
            &[
                "4: action `ownership_transfer.view` is missing, which guards Usher's own calls; add `ownership_transfer = [\"view\"]`",
                "32: unknown action `ownership_transfer.view`; name it in `[actions]` first, and write it as `resource_type.verb`",
            ],
        ),
        (
            "holders = \"exactly_one\"\nchanges_by_support_only = true\nsuccessor = \"maker\"\n",
            "",
            &[
                "12: `ownership_transfer.view` is for models with a role that changes by support only; remove it: elsewhere only support reads the tickets",
            ],
        ),
        (
            "account = [\"view\", \"update\"]",
            "account = [\"view\", \"update\", \"close\"]",
            &[
                "10: no role can grant `account.close`; it takes a calling service with the scope `platform`; remove it",
            ],
        ),
        (
            "\"account.view\", \"account.update\",",
            "\"account.view\", \"account.update\", \"user.erase\",",
            &[
                "31: no role can grant `user.erase`; it takes a calling service with the scope `platform`; remove it",
            ],
        ),
        (
            "ownership_transfer = [\"view\"]",
            "ownership_transfer = [\"view\", \"approve\"]",
            &[
                "12: no role can grant `ownership_transfer.approve`; it takes a calling service with the scope `support`; remove it",
            ],
        ),
    ]);
}

#[test]
fn roles_and_their_holders() {
    run(&[
        (
            "founder = true\nholders = \"exactly_one\"\n",
            "",
            &["36: no role is the founder's; add `founder = true` to the role of whoever creates an account"],
        ),
        (
            "assignable_by = [\"chief\"]",
            "assignable_by = [\"chief\"]\nfounder = true",
            &[
                "51: `maker` is a second founder's role, beside `chief`; an account is founded by one person; keep one",
            ],
        ),
        (
            "assignable_by = [\"chief\"]",
            "changes_by_support_only = true",
            &["50: `maker` is a second role that changes by support only, beside `chief`; keep one"],
        ),
        (
            "successor = \"maker\"\n",
            "",
            &[
                "41: role `chief` has no successor; add `successor = \"…\"`, the role that the former holder gets",
            ],
        ),
        (
            "successor = \"maker\"",
            "successor = \"chief\"",
            &["42: role `chief` is its own successor; name the role that the former holder gets"],
        ),
        (
            "holders = \"any\"",
            "holders = \"any\"\nsuccessor = \"chief\"",
            &[
                "50: role `maker` has a successor but does not change by support only; remove `successor` or add `changes_by_support_only = true`",
            ],
        ),
        (
            "assignable_by = [\"chief\"]\n",
            "",
            &["45: no role can assign `maker`, so nobody could ever have it; add `assignable_by = [\"…\"]`"],
        ),
        (
            "successor = \"maker\"",
            "successor = \"maker\"\nassignable_by = [\"maker\"]",
            &[
                "43: role `chief` changes by support only, so no role can assign it; write `assignable_by = []`",
            ],
        ),
        (
            "holders = \"any\"",
            "holders = \"at_least_one\"",
            &[
                "49: role `maker` must have a holder, but a new account has only its founder; make it the founder's role or write `holders = \"any\"`",
            ],
        ),
        (
            "permissions = [\"run\", \"make\", \"work\"]",
            "permissions = [\"run\", \"work\"]",
            &[
                "50: `chief` can never assign `maker`: it may not do all that `maker` may; remove it, or give it those permissions",
            ],
        ),
    ]);
    let changed = SMALL
        .replace("changes_by_support_only = true\nsuccessor = \"maker\"\n", "")
        .replace("ownership_transfer = [\"view\"]\n", "")
        .replace("    \"ownership_transfer.view\",\n", "");
    assert_eq!(
        errors(&changed),
        [
            "small.toml:38: role `chief` must have exactly one holder, so no member could pass it on; add `changes_by_support_only = true` and a `successor`"
        ]
    );
    let plain = changed.replace("holders = \"exactly_one\"", "holders = \"any\"");
    assert_eq!(errors(&plain), Vec::<String>::new(), "a founder's role may have any number of holders");
}
