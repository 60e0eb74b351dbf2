//! Mistakes in the configuration of callers, and what a good one means in words.

use usher_server::authenticate::config::CallersConfig;

use crate::support::{Hands, install_provider};

fn problems(toml: &str) -> Vec<String> {
    install_provider();
    let config: CallersConfig = toml::from_str(toml).unwrap();
    config.compile(Hands::new().clock()).err().unwrap_or_default()
}

const ISSUER: &str = r#"
    [[issuers]]
    name = "cluster"
    issuer = "https://cluster"
    audiences = ["usher"]
    algorithms = ["RS256"]
    jwks_url = "https://cluster/openid/v1/jwks"
"#;

#[test]
fn all_mistakes_are_named_at_once() {
    let found = problems(
        r#"
        [[callers]]
        name = "one"
        scopes = ["chek", "members", "members"]
        accounts = ["acme", "acme", "a@b"]
        token_sha256 = "swordfish"
        operators = "named"

        [[callers]]
        name = "one"
        scopes = []
        accounts = []

        [[callers]]
        name = "t h"
        scopes = ["support"]
        jwt = { issuer = "clutser" }
        operators = "token-subject"
        requests_per_second = 0

        [[issuers]]
        name = "cluster"
        issuer = " "
        audiences = []
        algorithms = ["HS256", "none", "RS265"]
        jwks_url = "http://cluster/jwks"
        leeway_seconds = 301
        "#,
    );
    let expected = [
        "issuer `cluster`: `issuer` is missing, so tokens of anybody would do",
        "issuer `cluster`: `audiences` is missing or has an empty one, so tokens meant for others would do",
        "issuer `cluster`: `leeway_seconds` must be at most 300",
        "issuer `cluster`: `HS256` signs with a shared secret, so whoever verifies could forge; use RS256 or ES256",
        "issuer `cluster`: unknown algorithm `none`",
        "issuer `cluster`: unknown algorithm `RS265`, did you mean `RS256`?",
        "issuer `cluster`: `jwks_url` must be https, or whoever is on the way could choose the keys",
        "caller `one`: every caller needs a name of its own",
        "caller `one`: unknown scope `chek`, did you mean `check`?",
        "caller `one`: scope `members` stands there twice",
        "caller `one`: account `acme` stands there twice",
        "caller `one`: account id `a@b` must start with a letter or digit and hold only letters, digits and `.`, \
         `_`, `:`, `-`",
        "caller `one`: `token_sha256` must be the SHA-256 of the token in 64 hex digits, not the token",
        "caller `one`: `operators` needs the scope `support`",
        "caller `one`: every caller needs a name of its own",
        "caller `one`: `scopes` is empty, so it could ask for nothing",
        "caller `one`: `accounts` is empty, so it could reach none; leave it out for all",
        "caller `one`: it has no way to prove itself; give `spiffe`, `dns`, `jwt` or `token_sha256`",
        "caller `t h`: the name must have the form of an id",
        "caller `t h`: unknown issuer `clutser`, did you mean `cluster`?",
        "caller `t h`: `requests_per_second` must be at least 1",
    ];
    assert_eq!(found, expected);
    assert!(!found.concat().contains("swordfish"), "a token pasted by mistake is not repeated");
}

#[test]
fn missing_parts_are_errors_and_not_defaults() {
    assert_eq!(problems(""), ["no caller is configured, so nobody could call"]);
    let found = problems(
        r#"
        callers = [{ name = "a", scopes = ["check"], spiffe = "spiffe://etl/a" }]
        issuers = [{ name = "bare" }, { name = "bare", issuer = "x", audiences = ["", "y"], algorithms = ["ES256"],
                     jwks_file = "/nowhere/jwks.json", bearer_token_file = "t" }]
        "#,
    );
    let expected = [
        "issuer `bare`: every issuer needs a name of its own",
        "issuer `bare`: `issuer` is missing, so tokens of anybody would do",
        "issuer `bare`: `audiences` is missing or has an empty one, so tokens meant for others would do",
        "issuer `bare`: `algorithms` is missing",
        "issuer `bare`: give either `jwks_url` or `jwks_file`",
        "issuer `bare`: every issuer needs a name of its own",
        "issuer `bare`: `audiences` is missing or has an empty one, so tokens meant for others would do",
        "issuer `bare`: `ca_file` and `bearer_token_file` go with `jwks_url` only",
    ];
    assert_eq!(found, expected);
}

#[test]
fn an_identity_proves_one_caller() {
    let hash = "ab".repeat(32);
    let caller =
        |name: &str, proof: &str| format!("[[callers]]\nname = \"{name}\"\nscopes = [\"check\"]\n{proof}\n");
    for proof in [
        r#"spiffe = "spiffe://etl/a""#.to_owned(),
        r#"dns = "a.etl""#.to_owned(),
        format!("token_sha256 = \"{hash}\""),
        r#"jwt = { issuer = "cluster", subject = "s" }"#.to_owned(),
    ] {
        let found = problems(&(caller("a", &proof) + &caller("b", &proof) + ISSUER));
        assert!(found.len() == 1 && found[0].ends_with("already proves a caller"), "{proof}: {found:?}");
    }
    let upper = format!("token_sha256 = [\"{hash}\", \"{}\"]", hash.to_uppercase());
    assert_eq!(problems(&caller("a", &upper)).len(), 1, "the same token in other letters");
}

#[test]
fn names_that_could_match_more_than_one_are_refused() {
    let bad =
        |proof: &str| problems(&format!("[[callers]]\nname = \"a\"\nscopes = [\"check\"]\n{proof}{ISSUER}"));
    for proof in [
        r#"spiffe = "spiffe://etl""#,
        r#"spiffe = "spiffe://etl/""#,
        r#"spiffe = "spiffe://etl/*""#,
        r#"spiffe = "spiffe://ETL/a""#,
        r#"spiffe = "spiffe://etl/a/../b""#,
        r#"spiffe = "https://etl/a""#,
        r#"dns = "*.etl""#,
        r#"dns = "A.etl""#,
        r#"dns = "a..etl""#,
        r#"dns = """#,
        r#"jwt = { issuer = "cluster" }"#,
        r#"jwt = { issuer = "cluster", subject = "" }"#,
    ] {
        assert_eq!(bad(proof).len(), 1, "{proof}: {:?}", bad(proof));
    }
    assert!(
        toml::from_str::<CallersConfig>("[[callers]]\nname = \"a\"\nscopes = []\nspifee = \"x\"").is_err()
    );
}

#[test]
fn a_configuration_is_told_in_words() {
    install_provider();
    let toml = format!(
        r#"
        [[callers]]
        name = "gateway"
        scopes = ["check", "members"]
        accounts = ["acme", "globex"]
        spiffe = "spiffe://etl/gateway"
        jwt = {{ issuer = "cluster", subject = "system:serviceaccount:etl:gateway" }}
        requests_per_second = 500

        [[callers]]
        name = "help-desk"
        scopes = ["support"]
        jwt = {{ issuer = "cluster" }}
        operators = "token-subject"

        [[callers]]
        name = "console"
        scopes = ["accounts", "support", "platform"]
        dns = "console.etl"
        {ISSUER}"#
    );
    let config: CallersConfig = toml::from_str(&toml).unwrap();
    let text = config.compile(Hands::new().clock()).unwrap_or_else(|found| panic!("{found:?}")).describe();
    let expected = "\
caller `gateway`
  is known by a certificate for `spiffe://etl/gateway`
  is known by a token of issuer `cluster` for subject `system:serviceaccount:etl:gateway`
  may ask what a person may do (`check`)
  may read and change members and invitations (`members`)
  acts only for members whom it names, within their rights
  reaches only `acme`, `globex`, and knows of nobody but their members
  calls at most 500 times a second
caller `help-desk`
  is known by a token of issuer `cluster` for any other subject
  may open, approve and cancel ownership transfers (`support`)
  reaches all accounts
  its operators are the subjects of its tokens
caller `console`
  is known by a certificate for `console.etl`
  may read and rename accounts (`accounts`)
  may open, approve and cancel ownership transfers (`support`)
  may create, suspend and close accounts, read and erase users, and act as the platform, with no member behind it (`platform`)
  reaches all accounts
  says nothing of its operators, so it reads tickets and cannot open or end any; set `operators`
issuer `cluster`
  signs as `https://cluster` with [RS256] for `usher`
";
    assert_eq!(text, expected);
}
