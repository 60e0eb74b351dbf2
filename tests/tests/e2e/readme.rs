//! The README's page on letting services in, tried to the letter: files of a test stand where it names others.

use std::path::Path;

use usher_tests::callers::Callers;
use usher_tests::process::usher;

/// The TOML blocks below a heading of the README.
fn toml_below(heading: &str) -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, section) = readme.split_once(&format!("\n{heading}\n")).unwrap();
    let section = section.split("\n##").next().unwrap();
    let blocks = section.split("```toml\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_it_says_on_letting_services_in_is_right() {
    let callers = Callers::make();
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(place("token"), "made-up").unwrap();
    for name in ["tls.crt", "tls.key", "ca.crt"] {
        std::fs::copy(callers.path(&name.replace("ca.crt", "ca.pem")), place(name)).unwrap();
    }
    let toml = toml_below("### Letting services in")
        .replace("/var/run/secrets/kubernetes.io/serviceaccount", &folder.path().display().to_string())
        .replace("/etc/usher/tls", &folder.path().display().to_string())
        .replace("3f0a…", &"3f0a".repeat(16));
    std::fs::write(place("usher.toml"), toml).unwrap();
    let checked = usher(&["config", "check", "--config", &place("usher.toml")]);
    let said = String::from_utf8(checked.stdout.clone()).unwrap();
    assert!(checked.status.success(), "{checked:?}");
    for line in [
        "caller `gateway`",
        "  is known by a token of issuer `cluster` for subject `system:serviceaccount:etl:gateway`",
        "  may ask what a person may do (`check`)",
        "caller `billing`",
        "  is known by a certificate for `spiffe://example.com/ns/etl/sa/billing`",
        "  may change how many seats are bought and the subscription (`billing`)",
        "  reaches only `acme`, `globex`, and knows of nobody but their members",
        "caller `helpdesk`",
        "  is known by the static token with SHA-256 `3f0a3f0a…`",
        "  names its operators itself and is trusted with that",
        "the configuration is right",
    ] {
        assert!(said.lines().any(|said| said == line), "`{line}` in:\n{said}");
    }
    assert!(said.starts_with("serves 127.0.0.1:50051 with TLS; callers may show a certificate; "), "{said}");
}

/// Without an authority for it, a certificate would never be asked for, and its caller never known.
#[test]
fn a_caller_whom_no_certificate_can_prove_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("usher.toml");
    std::fs::write(&file, "[[callers]]\nname = \"a\"\nscopes = [\"check\"]\ndns = \"a.etl\"\n").unwrap();
    let checked = usher(&["config", "check", "--config", file.to_str().unwrap()]);
    let said = String::from_utf8(checked.stderr).unwrap();
    assert!(!checked.status.success() && said.contains("set `tls.client_ca_file`"), "{said}");
}

/// A token in the clear is said to be one.
#[test]
fn tokens_without_tls_are_warned_about() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("usher.toml");
    let caller =
        format!("[[callers]]\nname = \"a\"\nscopes = [\"check\"]\ntoken_sha256 = \"{}\"\n", "ab".repeat(32));
    std::fs::write(&file, caller).unwrap();
    for (listen, warned) in [("0.0.0.0:50051", true), ("127.0.0.1:50051", false)] {
        let set = format!("server.listen={listen}");
        let checked = usher(&["config", "check", "--config", file.to_str().unwrap(), "--set", &set]);
        let said = String::from_utf8(checked.stdout).unwrap();
        assert_eq!(
            said.contains("warning: callers' tokens cross the network in the clear"),
            warned,
            "{said}"
        );
    }
}
