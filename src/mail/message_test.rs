use mail_parser::MessageParser;

use super::*;

const NOW_MS: i64 = 1_767_225_600_123;

fn mail(to: &str) -> Mail {
    Mail {
        message_id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001),
        to: to.to_owned(),
        to_name: None,
        kind: "welcome".to_owned(),
        unsubscribe_url: None,
        rendered: Rendered {
            subject: "Grüße, Ada".to_owned(),
            text: format!("Hi Ada ✓\n.\n{}\n", "long ".repeat(300)),
            html: "<p>Hi Ada ✓ = </p>".to_owned(),
        },
    }
}

fn sender() -> Sender {
    Sender::new("Jobgate <noreply@example.com>", "mail.example.com").expect("a good sender")
}

#[test]
fn a_message_reads_back_as_it_was_meant() {
    let message = sender().message(&mail("Zoë <zoe@example.org>"), NOW_MS).expect("built");
    let bytes = message.formatted();
    assert!(bytes.is_ascii());
    assert!(bytes.split(|byte| *byte == b'\n').all(|line| line.len() < 998));

    let parsed = MessageParser::default().parse(&bytes).expect("a message");
    assert_eq!(parsed.message_id(), Some("01900000-0000-7000-8000-000000000001@mail.example.com"));
    assert_eq!(parsed.subject(), Some("Grüße, Ada"));
    assert_eq!(
        parsed.date().map(mail_parser::DateTime::to_rfc3339).as_deref(),
        Some("2026-01-01T00:00:00Z")
    );
    let to = parsed.to().and_then(|to| to.first()).expect("a recipient");
    assert_eq!((to.name(), to.address()), (Some("Zoë"), Some("zoe@example.org")));
    let from = parsed.from().and_then(|from| from.first()).expect("a sender");
    assert_eq!((from.name(), from.address()), (Some("Jobgate"), Some("noreply@example.com")));
    assert_eq!(parsed.header_raw("Auto-Submitted").map(str::trim), Some("auto-generated"));
    assert_eq!(parsed.header_raw("X-Jobgate-Type").map(str::trim), Some("welcome"));
    let content_type = parsed.header_raw("Content-Type").expect("a content type");
    assert!(content_type.trim().starts_with("multipart/alternative"), "{content_type}");
    let text = parsed.body_text(0).expect("a text part").replace("\r\n", "\n");
    assert_eq!(text.trim_end(), mail("x").rendered.text.trim_end());
    assert_eq!(parsed.body_html(0).expect("an HTML part").trim_end(), "<p>Hi Ada ✓ = </p>");
    assert_eq!((parsed.text_body_count(), parsed.html_body_count()), (1, 1));
}

#[test]
fn the_same_mail_has_the_same_bytes() {
    let (one, two) = (mail("a@example.org"), mail("a@example.org"));
    let bytes = |mail: &Mail| sender().message(mail, NOW_MS).expect("built").formatted();
    assert_eq!(bytes(&one), bytes(&two));
}

#[test]
fn text_cannot_end_its_part() {
    let mut forged = mail("a@example.org");
    let boundary = format!("--=_{}", forged.message_id.simple());
    forged.rendered.text =
        format!("x\n{boundary}\nContent-Type: text/html\n\n<b>forged</b>\n{boundary}--\n");
    let bytes = sender().message(&forged, NOW_MS).expect("built").formatted();
    let parsed = MessageParser::default().parse(&bytes).expect("a message");
    assert_eq!((parsed.text_body_count(), parsed.html_body_count()), (1, 1));
    assert!(parsed.body_text(0).expect("text").contains("forged"));
}

#[test]
fn no_input_makes_another_header_or_recipient() {
    for to in [
        "a@example.org\r\nBcc: b@example.org",
        "Ada\r\n Bcc: b@example.org <a@example.org>",
        "a@example.org\n",
        "a@example.org\0",
        "a@example.org, b@example.org",
        "a@example.org>\r\nDATA",
        "",
        "ada",
        "a@",
        "@example.org",
        "a b@example.org",
        "a@exa mple.org",
    ] {
        let outcome = sender().message(&mail(to), NOW_MS);
        assert!(
            matches!(outcome, Err(MessageError::InvalidRecipient { .. })),
            "{to:?}: {outcome:?}"
        );
    }
    let long = format!("{}@example.org", "a".repeat(ADDRESS_BYTES_MAX));
    assert!(sender().message(&mail(&long), NOW_MS).is_err());

    let mut odd = mail("a@example.org");
    odd.kind = "x\r\nBcc: b@example.org".to_owned();
    assert!(matches!(sender().message(&odd, NOW_MS), Err(MessageError::InvalidKind)));

    odd = mail("a@example.org");
    odd.rendered.subject = "x\r\nBcc: b@example.org\r\n\r\nbody".to_owned();
    let bytes = sender().message(&odd, NOW_MS).expect("built").formatted();
    let parsed = MessageParser::default().parse(&bytes).expect("a message");
    assert!(parsed.bcc().is_none());
}

#[test]
fn a_name_stands_beside_an_address_that_has_none() {
    let address = |to: &str, name: &str| {
        let mut mail = mail(to);
        mail.to_name = Some(name.to_owned());
        let bytes = sender().message(&mail, NOW_MS).expect("built").formatted();
        assert!(bytes.is_ascii());
        let parsed = MessageParser::default().parse(&bytes).expect("a message");
        assert!(parsed.bcc().is_none());
        let to = parsed.to().and_then(|to| to.first()).cloned().expect("a recipient");
        (to.name().map(str::to_owned), to.address().map(str::to_owned))
    };
    let ada = Some("ada@example.org".to_owned());
    for name in ["Ada Lovelace", "Łukasz \"L\" O'Neill, Jr.", "محمد", "👩‍👩‍👧 ✨", "a <b@c.d>"]
    {
        assert_eq!(address("ada@example.org", name), (Some(name.to_owned()), ada.clone()));
    }
    assert_eq!(address("A <ada@example.org>", "B"), (Some("A".to_owned()), ada.clone()));
    let forged = address("ada@example.org", "x\r\nBcc: b@example.org");
    assert_eq!(forged, (Some("x  Bcc: b@example.org".to_owned()), ada));
}

#[test]
fn who_may_have_enough_is_told_where_to_say_so() {
    let mut bulk = mail("a@example.org");
    let none = sender().message(&bulk, NOW_MS).expect("built").formatted();
    let parsed = MessageParser::default().parse(&none).expect("a message");
    assert!(parsed.header_raw("List-Unsubscribe").is_none());
    let longest = format!("https://example.com/?u={}", "a".repeat(HEADER_URL_BYTES_MAX - 23));
    for url in ["https://example.com/unsubscribe?campaign=a&user=b%20c", &longest] {
        bulk.unsubscribe_url = Some(url.to_owned());
        let bytes = sender().message(&bulk, NOW_MS).expect("built").formatted();
        assert!(bytes.split(|byte| *byte == b'\n').all(|line| line.len() < 998));
        let parsed = MessageParser::default().parse(&bytes).expect("a message");
        let header = parsed.header_raw("List-Unsubscribe").expect("the header");
        assert_eq!(header.trim(), format!("<{url}>"));
        assert!(parsed.header_raw("List-Unsubscribe-Post").is_none(), "no endpoint takes one");
    }
    for url in
        ["javascript:x", "mailto:a@b.c", "https://e.com/>,<https://x", &format!("{longest}a")]
    {
        bulk.unsubscribe_url = Some(url.to_owned());
        let refused = sender().message(&bulk, NOW_MS);
        assert!(matches!(refused, Err(MessageError::InvalidUnsubscribe { .. })), "{url}");
    }
    bulk.unsubscribe_url = Some("https://example.com/\r\nBcc: b@example.org".to_owned());
    let bytes = sender().message(&bulk, NOW_MS).expect("built").formatted();
    let parsed = MessageParser::default().parse(&bytes).expect("a message");
    assert!(parsed.bcc().is_none());
}

#[test]
fn an_international_domain_becomes_ascii() {
    let message = sender().message(&mail("a@bücher.example"), NOW_MS).expect("built");
    let to = message.envelope().to().first().map(ToString::to_string);
    assert_eq!(to.as_deref(), Some("a@xn--bcher-kva.example"));
}

#[test]
fn a_bad_sender_or_host_is_refused_at_the_start() {
    assert!(matches!(Sender::new("nobody", "h"), Err(MessageError::InvalidSender { .. })));
    for host in ["", "a b", "a>\r\nBcc: x", "a@b"] {
        assert!(
            matches!(Sender::new("a@b.c", host), Err(MessageError::InvalidHost { .. })),
            "{host:?}"
        );
    }
}

#[test]
fn any_time_has_a_date() {
    for now_ms in [i64::MIN, -1, 0, i64::MAX] {
        sender().message(&mail("a@example.org"), now_ms).expect("built");
    }
}
