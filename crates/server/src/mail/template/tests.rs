use std::fs;

use tempfile::TempDir;

use super::*;

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = TempDir::new().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn load(files: &[(&str, &str)]) -> Result<Templates, String> {
    Templates::load(Some(directory(files).path()))
}

fn problem(files: &[(&str, &str)]) -> String {
    load(files).err().expect("a problem")
}

fn invitation(account: &str, by: &str) -> Letter {
    Letter::Invitation {
        account_name: account.into(),
        role_title: "Editor".into(),
        invited_by_name: by.into(),
        link: Secret::new("https://example.com/i/abc?a=1&b=2".into()),
        expire_time: Time::from_seconds(1_893_456_000),
    }
}

#[test]
fn the_shipped_texts_hold_what_they_must() {
    let templates = Templates::load(None).unwrap();
    let letter = invitation("Acme", "Dana");
    let english = templates.render(&letter, "").unwrap();
    assert_eq!(english.subject, "Invitation to Acme");
    assert!(english.text.starts_with("Dana invites you to Acme as Editor."), "{}", english.text);
    assert!(english.text.contains("\nhttps://example.com/i/abc?a=1&b=2\n"), "{}", english.text);
    assert!(english.text.contains("2030-01-01 00:00 UTC"), "{}", english.text);
    assert!(english.html.contains("href=\"https://example.com/i/abc?a=1&amp;b=2\""), "{}", english.html);
    let nobody = templates.render(&invitation("Acme", ""), "").unwrap();
    assert!(nobody.text.starts_with("You are invited to Acme"), "{}", nobody.text);
    for sample in samples() {
        for language in ["", "de"] {
            let texts = templates.render(&sample, language).unwrap();
            assert!(!texts.text.contains("{{") && !texts.html.contains("{{"), "{texts:?}");
        }
    }
}

#[test]
fn a_language_falls_back_to_the_one_it_is_a_kind_of_and_then_to_the_default() {
    let templates = Templates::load(None).unwrap();
    let subject = |language| templates.render(&invitation("Acme", ""), language).unwrap().subject;
    for german in ["de", "de-AT", "DE_ch", "de-Latn-AT"] {
        assert_eq!(subject(german), "Einladung zu Acme", "{german}");
    }
    for other in ["", "fr-CA", "nonsense", "d"] {
        assert_eq!(subject(other), "Invitation to Acme", "{other}");
    }
}

#[test]
fn an_operator_replaces_single_files_and_adds_languages() {
    let french = [
        ("invitation.fr.subject.txt", "Invitation : {{ account_name }}"),
        ("invitation.fr.txt", "Bonjour\n{{ link }}"),
        ("invitation.fr.html", "<p>Bonjour</p>"),
        ("invitation.txt", "Ours: {{ link }}"),
        ("README.md", "{{ not a template"),
        (".hidden.txt", "{{ not a template"),
    ];
    let templates = load(&french).unwrap();
    let letter = invitation("Acme", "");
    assert_eq!(templates.render(&letter, "fr-CA").unwrap().subject, "Invitation : Acme");
    let english = templates.render(&letter, "en").unwrap();
    assert!(english.text.starts_with("Ours: https://"));
    assert_eq!(english.subject, "Invitation to Acme", "the shipped one");
}

#[test]
fn what_people_typed_is_text() {
    let templates = Templates::load(None).unwrap();
    let letter = invitation("<a href=\"https://evil.test\">Acme</a>", "D\r\nBcc: x@evil.test");
    let texts = templates.render(&letter, "").unwrap();
    assert!(texts.html.contains("&lt;a href=&quot;https:"), "{}", texts.html);
    assert!(!texts.html.contains("<a href=\"https://evil"), "{}", texts.html);
    assert!(texts.text.contains("<a href=\"https://evil.test\">Acme</a>"), "not escaped in plain text");
    assert!(texts.text.starts_with("D Bcc: x@evil.test invites"), "{}", texts.text);
    assert_eq!(texts.subject.lines().count(), 1);
}

#[test]
fn a_wrong_template_is_named_with_its_line() {
    let broken = problem(&[("invitation.txt", "a\nb {{ link \n")]);
    assert!(broken.contains("invitation.txt:2: syntax error"), "{broken}");
    let unknown = problem(&[("founder.html", "<p>\n\n{{ acount_name }}</p>")]);
    assert!(unknown.contains("founder.html:3: undefined value"), "{unknown}");
    let other_branch = "{% if invited_by_name %}a{% else %}{{ nobody }}{% endif %}";
    assert!(problem(&[("invitation.txt", other_branch)]).contains("invitation.txt:1: undefined"));
    let subject = problem(&[("invitation.subject.txt", "Hello\n{{ account_name }}")]);
    assert!(subject.contains("invitation.subject.txt:1: a subject must be one line"), "{subject}");
    let misnamed = problem(&[("invitaton.txt", "x")]);
    assert!(misnamed.contains("invitaton.txt: is no name of a template"), "{misnamed}");
    let lacking = problem(&[("invitation.fr.txt", "x")]);
    assert!(lacking.contains("`invitation.fr.html` is missing"), "{lacking}");
    assert!(Templates::load(Some(Path::new("/nowhere"))).err().unwrap().contains("`/nowhere`"));
}
