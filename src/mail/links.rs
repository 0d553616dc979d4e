//! Links in mails: only web addresses may be mailed.
//!
//! Two gates. [`web_url`] is the filter that templates pass a link through. [`refused_link`] reads
//! the finished HTML, so that an override which forgets the filter cannot mail `javascript:`.
//! Must never know which template or which data a link came from.

use url::Url;

/// Longest link in bytes: what common browsers and mail gateways still take.
pub const LINK_BYTES_MAX: usize = 2048;

/// Attributes that a mail client follows or loads.
const LINK_ATTRIBUTES: [&str; 6] = ["href", "src", "action", "background", "formaction", "srcset"];

/// The link as it may stand in a mail, or why it may not.
///
/// Visible ASCII stays as it was written, for it may be signed; anything else is normalised.
pub(super) fn web_url(link: &str) -> Result<String, &'static str> {
    if link.len() > LINK_BYTES_MAX {
        return Err("it is longer than 2,048 bytes");
    }
    let url = Url::parse(link).map_err(|_| "it is not an absolute address")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("only http and https may be mailed");
    }
    if link.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(link.to_owned())
    } else {
        Ok(url.into())
    }
}

/// Escapes for an attribute or for text. Slashes stay, so that scanners still see a link.
pub(super) fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The first link in this HTML that must not be mailed.
///
/// Data is escaped, so every `<` here is the template's own; within its tags each link must be
/// http, https, `mailto:` (a template author's contact address) or `#...`.
/// Conditional comments are read too, as Outlook does.
pub(super) fn refused_link(html: &str) -> Option<String> {
    let mut rest = html;
    while let Some((_, after)) = rest.split_once('<') {
        let tag = tag_text(after);
        if let Some(link) = links_of(tag).find(|link| !may_be_mailed(link)) {
            return Some(link.to_owned());
        }
        rest = after.get(tag.len()..).unwrap_or_default();
    }
    None
}

/// The inside of a tag, up to the `>` that is not within quotes.
fn tag_text(after: &str) -> &str {
    // A comment's text may have an odd apostrophe, so quotes mean nothing there.
    let quotes_count = !after.starts_with('!');
    let mut open: Option<char> = None;
    for (at, character) in after.char_indices() {
        match (open, character) {
            (None, '>') => return after.get(..at).unwrap_or(after),
            (None, '"' | '\'') if quotes_count => open = Some(character),
            (Some(quote), other) if quote == other => open = None,
            _ => {}
        }
    }
    after
}

/// The values of a tag's link attributes, as they are written.
fn links_of(tag: &str) -> impl Iterator<Item = &str> {
    tag.match_indices('=').filter_map(|(at, _)| {
        let before = tag.get(..at)?.trim_end();
        let name =
            before.rsplit(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '/')).next()?;
        // `xlink:href` counts, `data-href` does not.
        let name = name.rsplit(':').next()?;
        if !LINK_ATTRIBUTES.iter().any(|link| name.eq_ignore_ascii_case(link)) {
            return None;
        }
        let value = tag.get(at + 1..)?.trim_start();
        match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value.get(1..)?.split(quote).next(),
            _ => value.split(char::is_whitespace).next(),
        }
    })
}

fn may_be_mailed(link: &str) -> bool {
    let link = link.trim();
    if link.is_empty() || link.starts_with('#') {
        return true;
    }
    // A scheme that is spelled with entities or control characters is not one of these.
    link.split_once(':').is_some_and(|(scheme, _)| {
        ["http", "https", "mailto"].iter().any(|allowed| scheme.eq_ignore_ascii_case(allowed))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_web_addresses_pass() {
        assert_eq!(
            web_url("https://example.com/verify?token=a&b=c").as_deref(),
            Ok("https://example.com/verify?token=a&b=c")
        );
        assert_eq!(web_url("http://example.com/a b\n").as_deref(), Ok("http://example.com/a%20b"));
        for link in [
            "javascript:alert(1)",
            "JAVASCRIPT:x",
            "java\nscript:x",
            "data:text/html,x",
            "/x",
            "",
            "file:///etc",
        ] {
            assert!(web_url(link).is_err(), "{link}");
        }
        assert!(web_url(&format!("https://e.com/{}", "a".repeat(LINK_BYTES_MAX))).is_err());
    }

    #[test]
    fn finished_html_is_read_for_other_links() {
        for fine in [
            "<a class=\"x>y\" href=\"https://e.com\">",
            "<p>href=javascript:x</p>",
            "<img SRC = 'http://e.com/a.png'>",
            "<a href=\"mailto:help@example.com\"><a href='#top'>",
            "<!--[if mso]> don't <a href=\"https://e.com\"> <![endif]-->",
            "<a data-href=\"javascript:x\">",
        ] {
            assert_eq!(refused_link(fine), None, "{fine}");
        }
        for bad in [
            "<a href=\"javascript:x\">",
            "<a\nHREF = javascript:x>",
            "<a href=' java&#x09;script:x'>",
            "<!-- don't --><a href=\"vbscript:x\">",
            "<!--[if mso]> <v:rect href=\"javascript:x\"> <![endif]-->",
            "<a href=\"&#106;avascript:x\">",
            "<a title=\"a\"href=\"data:x\">",
            "<a href=\"javascript:x\"",
        ] {
            assert!(refused_link(bad).is_some(), "{bad}");
        }
    }
}
