use super::*;

fn built_in() -> Templates {
    Templates::load(None).expect("the built-in templates load")
}

fn data(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(data) => data,
        _ => Map::new(),
    }
}

/// Loads with these override files; the directory lives as long as the answer.
fn with_overrides(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Templates, TemplateError>) {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).expect("written");
    }
    let loaded = Templates::load(Some(directory.path()));
    (directory, loaded)
}

#[test]
fn every_kind_renders_with_all_values() {
    for kind in KINDS {
        let mail = built_in().render(kind, &samples()).expect(kind);
        assert!(!mail.subject.is_empty() && !mail.subject.contains('\n'), "{kind}");
        assert!(mail.text.starts_with("Hi Ada,\n\n"), "{kind}: {}", mail.text);
        assert!(!mail.text.contains('<') && !mail.text.contains("\n\n\n"), "{kind}: {}", mail.text);
        assert!(
            mail.html.contains("Hi <bdi>Ada</bdi>,") && mail.html.ends_with("</html>"),
            "{kind}"
        );
        for part in [&mail.text, &mail.html] {
            assert!(part.contains("Example"), "{kind}: the campaign is named");
            let path = if kind == "verification" { "verify?token=sample" } else { "r/sample" };
            assert!(part.contains(&format!("https://example.com/{path}")), "{kind}: {part}");
        }
    }
}

#[test]
fn every_kind_renders_with_only_what_it_needs() {
    for (kind, needed) in [
        ("verification", json!({"verification_link": "https://e.com/v"})),
        ("welcome", json!({})),
        ("position-update", json!({"new_position": 7})),
        ("reward-earned", json!({"reward_name": "Mug"})),
        ("milestone", json!({"milestone": "5 friends"})),
    ] {
        let mut needed = data(needed);
        needed.insert("first_name".to_owned(), Value::Null);
        let mail = built_in().render(kind, &needed).expect(kind);
        assert!(mail.text.starts_with("Hi,\n\n"), "{kind}: {}", mail.text);
        assert!(mail.html.contains(">Hi,</p>"), "{kind}: null is not greeted");
    }
}

#[test]
fn a_missing_value_is_named() {
    for (kind, variable) in [
        ("verification", "verification_link"),
        ("position-update", "new_position"),
        ("reward-earned", "reward_name"),
        ("milestone", "milestone"),
    ] {
        let error = built_in().render(kind, &Map::new()).expect_err(kind);
        match &error {
            TemplateError::Missing { variable: named, line, .. } => {
                assert_eq!(named, variable, "{error}");
                assert!(*line > 0, "{error}");
                assert!(!format!("{error:?}").contains("Referenced"), "no values: {error:?}");
            }
            other => panic!("{kind}: {other:?}"),
        }
    }
}

#[test]
fn an_unknown_kind_is_refused() {
    let error = built_in().render("../welcome", &Map::new()).expect_err("refused");
    assert!(matches!(error, TemplateError::UnknownKind { .. }));
}

#[test]
fn html_escapes_and_text_does_not() {
    let values = data(json!({"reward_name": "<b>\"Tom & Jerry\"</b>", "first_name": "<script>"}));
    let mail = built_in().render("reward-earned", &values).expect("rendered");
    assert!(mail.text.contains("<b>\"Tom & Jerry\"</b>"));
    assert!(mail.subject.contains("<b>\"Tom & Jerry\"</b>"));
    assert!(mail.html.contains("&lt;script&gt;") && !mail.html.contains("<script>"));
    assert!(!mail.html.contains("<b>"));
}

/// What Outlook, Gmail, Apple Mail and phones each need: rules of thumb that a change must not lose.
#[test]
fn every_kind_is_laid_out_for_the_clients_there_are() {
    for kind in KINDS {
        let html = built_in().render(kind, &samples()).expect(kind).html;
        for needed in [
            "<!DOCTYPE html>\n<html lang=\"en\" dir=\"ltr\"",
            "<meta charset=\"utf-8\">",
            "<meta name=\"viewport\"",
            "<meta name=\"color-scheme\" content=\"light dark\">",
            "@media (prefers-color-scheme: dark)",
            "<o:PixelsPerInch>96</o:PixelsPerInch>",
            "<!--[if mso]><table role=\"presentation\" width=\"600\"",
            "max-width:600px",
            "mso-hide:all",
        ] {
            assert!(html.contains(needed), "{kind}: {needed}\n{html}");
        }
        assert_eq!(html.matches("<!--[if mso]>").count(), html.matches("<![endif]-->").count());
        let tables = html.matches("<table ").count();
        assert_eq!(tables, html.matches("</table>").count(), "{kind}");
        assert_eq!(tables, html.matches("<table role=\"presentation\"").count(), "{kind}");
        // Gmail cuts at 102 kB; there is no picture to be blocked, no script, no outside file.
        assert!(html.len() < 20_000, "{kind}: {}", html.len());
        for never in ["<img", "<script", "<link", "<form", "@import", "url(", "flex", "grid"] {
            assert!(!html.contains(never), "{kind}: {never}");
        }
    }
}

#[test]
fn both_parts_say_the_same() {
    for kind in KINDS {
        let mail = built_in().render(kind, &samples()).expect(kind);
        let figures: &[&str] = match kind {
            "verification" => &["verify?token=sample", "ignore this e-mail"],
            "welcome" => &["41", "r/sample", "moves you up"],
            "position-update" => &["41", "57", "r/sample", "unsubscribe?user=sample"],
            "reward-earned" => &["Early access", "before the others", "10", "r/sample"],
            _ => &["10 friends", "41", "r/sample", "Keep going", "unsubscribe?user=sample"],
        };
        for said in figures {
            assert!(mail.text.contains(said), "{kind}: {said}\n{}", mail.text);
            assert!(mail.html.contains(said), "{kind}: {said}\n{}", mail.html);
        }
    }
}

#[test]
fn a_name_of_any_script_leaves_the_sentence_as_it_is() {
    for name in ["محمد", "דוד", "👩‍👩‍👧 ✨", &"Wolfeschlegelsteinhausen".repeat(8)]
    {
        let values = data(json!({"first_name": name, "campaign_name": name}));
        let mail = built_in().render("welcome", &values).expect(name);
        assert!(mail.text.starts_with(&format!("Hi {name},\n\n")), "{}", mail.text);
        // Its own direction ends with it, whatever it is.
        assert!(mail.html.contains(&format!("Hi <bdi>{name}</bdi>,")), "{}", mail.html);
        assert!(mail.subject.starts_with("Welcome to "), "{}", mail.subject);
    }
}

#[test]
fn a_place_that_is_as_before_is_not_told_as_a_change() {
    let values = data(json!({"new_position": 7, "old_position": 7}));
    let mail = built_in().render("position-update", &values).expect("rendered");
    assert!(!mail.text.contains("from 7") && !mail.html.contains("Before"), "{}", mail.text);
}

#[test]
fn a_subject_is_one_bounded_line() {
    let values =
        data(json!({"milestone": format!("a\r\nBcc: x@y\u{2028}b\t\u{0}c {}", "é".repeat(500))}));
    let subject = built_in().render("milestone", &values).expect("rendered").subject;
    assert!(subject.starts_with("A milestone: a Bcc: x@y b c é"), "{subject}");
    assert_eq!(subject.chars().count(), SUBJECT_CHARS_MAX);
}

#[test]
fn only_web_links_are_mailed() {
    for link in ["javascript:alert(1)", "data:text/html,x", "//e.com", "not a link", ""] {
        let values = data(json!({"verification_link": link}));
        let error = built_in().render("verification", &values).expect_err(link);
        assert!(matches!(error, TemplateError::RefusedLink { .. }), "{error:?}");
    }
    let values = data(json!({"verification_link": "https://e.com/?a=1&b=\"><img src=x>"}));
    let mail = built_in().render("verification", &values).expect("rendered");
    assert!(mail.html.contains("href=\"https://e.com/?a=1&amp;b="), "{}", mail.html);
    assert!(!mail.html.contains("<img"));
}

#[test]
fn an_override_replaces_one_file_and_leaves_the_rest() {
    let (_directory, loaded) = with_overrides(&[
        ("welcome.txt", "Ahoy {{ pirate }}"),
        (
            "base.html",
            "<html>{% block title %}{% endblock %}{% block content %}{% endblock %}</html>",
        ),
        ("notes.md", "ignored"),
    ]);
    let templates = loaded.expect("loads");
    let values = data(json!({"pirate": "Anne"}));
    let mail = templates.render("welcome", &values).expect("rendered");
    assert_eq!(mail.text, "Ahoy Anne\n");
    assert_eq!(mail.subject, "Welcome to the waitlist");
    assert!(mail.html.starts_with("<html>You are on the list"), "{}", mail.html);
}

#[test]
fn a_broken_override_is_an_error_with_file_and_line() {
    for (text, line_expected) in [
        ("line one\n{% if %}", 2),
        ("one\ntwo\n{{ first_name | no_such_filter }}", 3),
        (
            "{% for a in range(9999) %}\n{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}",
            2,
        ),
    ] {
        let (_directory, loaded) = with_overrides(&[("welcome.html", text)]);
        let error = loaded.expect_err("broken");
        match &error {
            TemplateError::Broken { file, line, .. } => {
                assert!(file.ends_with("welcome.html") && file.is_absolute(), "{error}");
                assert_eq!(*line, line_expected, "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    let missing = Templates::load(Some(Path::new("/no/such/directory"))).expect_err("missing");
    assert!(matches!(missing, TemplateError::Read { .. }), "{missing}");
}

#[test]
fn an_override_cannot_mail_a_script_link_nor_without_bounds() {
    let (_directory, loaded) = with_overrides(&[
        ("welcome.html", "<a href=\"{{ referral_link }}\">x</a>"),
        ("milestone.txt", "{% for a in range(times) %}{{ milestone }}{% endfor %}"),
    ]);
    let templates = loaded.expect("loads");
    let link = data(json!({"referral_link": "javascript:alert(1)"}));
    let error = templates.render("welcome", &link).expect_err("refused");
    assert!(matches!(error, TemplateError::RefusedLink { .. }), "{error:?}");

    let endless = data(json!({"milestone": "x", "times": 9_999}));
    templates.render("milestone", &endless).expect("within the bounds");
    let large = data(json!({"milestone": "x".repeat(1_000), "times": 1_000}));
    let error = templates.render("milestone", &large).expect_err("too large");
    assert!(matches!(error, TemplateError::TooLarge { .. }), "{error:?}");
    let endless = data(json!({"milestone": "x".repeat(100_000), "times": 9_999}));
    let error = templates.render("milestone", &endless).expect_err("out of fuel");
    assert!(matches!(error, TemplateError::Render { .. }), "{error:?}");
}
