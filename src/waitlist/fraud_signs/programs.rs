//! `bot`: what filled in the form was a program, by what it says of itself or by what it did.

use super::{DetectionType, Finding, Ground, Sign};

/// A field was filled in that people do not see. A browser that fills forms in by itself may do
/// so where the field's name invites it.
const HONEYPOT: f64 = 0.95;
/// A browser that nobody looks at.
const HEADLESS: f64 = 0.95;
/// A tool of scripts and command lines, or a crawler, by its own name.
const TOOL: f64 = 0.9;
/// A library by which programs call: a script, or the site's own server or app that passes its own
/// name in place of the visitor's. So not enough alone.
const LIBRARY: f64 = 0.6;
/// Every browser says something.
const SILENT: f64 = 0.4;

/// What a browser says that is driven by a program, in lower case.
const HEADLESS_WORDS: &[&str] = &[
    "headlesschrome",
    "phantomjs",
    "slimerjs",
    "electron-headless",
    "puppeteer",
    "playwright",
    "selenium",
    "webdriver",
    "htmlunit",
    "cypress/",
];

/// Products of scripts and command lines, in lower case.
const TOOLS: &[&str] = &[
    "aiohttp",
    "colly",
    "curl",
    "faraday",
    "httpie",
    "insomnia",
    "libcurl",
    "libwww-perl",
    "lwp::simple",
    "mechanize",
    "postmanruntime",
    "python-httpx",
    "python-requests",
    "python-urllib",
    "scrapy",
    "wget",
];

/// Libraries that servers and apps use as well, in lower case.
const LIBRARIES: &[&str] = &[
    "apache-httpclient",
    "axios",
    "cfnetwork",
    "dart",
    "go-http-client",
    "guzzlehttp",
    "java",
    "node",
    "node-fetch",
    "okhttp",
    "reqwest",
    "ruby",
    "undici",
];

/// What the browser says of itself, none where the site did not pass it on; and whether the field
/// that people do not see was filled in.
pub(in crate::waitlist) fn check(user_agent: Option<&str>, honeypot: bool) -> Option<Finding> {
    let honeypot = honeypot.then(|| {
        let why = "the field that people do not see was filled in (metadata.honeypot)";
        Sign::new("honeypot", Ground::Program, HONEYPOT, why)
    });
    let signs = honeypot.into_iter().chain(user_agent.and_then(of_user_agent)).collect();
    Finding::of(DetectionType::Bot, signs)
}

fn of_user_agent(user_agent: &str) -> Option<Sign> {
    let program =
        |sign, confidence, why: String| Some(Sign::new(sign, Ground::Program, confidence, why));
    let lower = user_agent.trim().to_lowercase();
    if lower.is_empty() {
        let why = "the browser has no name (user_agent is empty)".to_owned();
        return program("silent", SILENT, why);
    }
    if let Some(word) = HEADLESS_WORDS.iter().find(|word| lower.contains(**word)) {
        let why = format!("the browser is driven by a program: its name holds {word}");
        return program("headless", HEADLESS, why);
    }
    // Of `Mozilla/5.0 (X11; ..) curl/8.1`, the products are what stands before a slash.
    let products: Vec<&str> = lower
        .split([' ', ';', '(', ')', ','])
        .filter_map(|word| word.split('/').next())
        .filter(|product| !product.is_empty())
        .collect();
    if let Some(tool) = products.iter().find(|product| TOOLS.contains(product)) {
        let why = format!("{tool} is a tool of scripts and command lines");
        return program("tool", TOOL, why);
    }
    if let Some(crawler) = products.iter().find(|product| is_crawler(product, &lower)) {
        let why = format!("{crawler} is a crawler by its own name");
        return program("crawler", TOOL, why);
    }
    // Browsers and apps name what they are built on behind themselves.
    let first = products.first().filter(|product| LIBRARIES.contains(product))?;
    let why = format!(
        "{first} is a library by which programs call: a script, or the site passes its own name \
         in place of the visitor's browser"
    );
    program("library", LIBRARY, why)
}

/// `googlebot/2.1`, `ahrefsbot/7.0`; Cubot is a make of phones.
fn is_crawler(product: &str, lower: &str) -> bool {
    let is_named = |end: &str| product.ends_with(end) && lower.contains(&format!("{product}/"));
    ["bot", "crawler", "spider"].into_iter().any(is_named) && product != "cubot"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(user_agent: &str) -> Option<String> {
        check(Some(user_agent), false).map(|finding| finding.signs[0].word.clone())
    }

    #[test]
    fn programs_are_known_by_their_names() {
        let table = [
            ("", "silent"),
            ("  ", "silent"),
            ("curl/8.5.0", "tool"),
            ("curl", "tool"),
            ("Wget/1.21.4", "tool"),
            ("python-requests/2.31.0", "tool"),
            ("Python-urllib/3.11", "tool"),
            ("Scrapy/2.11 (+https://scrapy.org)", "tool"),
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
              HeadlessChrome/120.0.0.0 Safari/537.36",
                "headless",
            ),
            (
                "Mozilla/5.0 (Unknown; Linux) AppleWebKit/538.1 PhantomJS/2.1.1 Safari/538.1",
                "headless",
            ),
            ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "crawler"),
            ("Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)", "crawler"),
            ("okhttp/4.12.0", "library"),
            ("Go-http-client/2.0", "library"),
            ("axios/1.6.2", "library"),
        ];
        for (user_agent, expected) in table {
            assert_eq!(sign(user_agent).as_deref(), Some(expected), "{user_agent}");
        }
    }

    #[test]
    fn browsers_are_browsers() {
        for user_agent in [
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, \
             like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
            "Mozilla/5.0 (Linux; Android 9; CUBOT NOVA) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/120.0.0.0 Mobile Safari/537.36",
            "Mozilla/5.0 (Linux; Android 9; CUBOT/X18) AppleWebKit/537.36 Chrome/120.0.0.0 Safari/1",
            "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
            "Mozilla/5.0 (Linux; Android 13; SM-A515F) AppleWebKit/537.36 [FBAN/EMA;FBLC/de_DE]",
            "Opera/9.80 (J2ME/MIDP; Opera Mini/7.1; U; en) Presto/2.12.423 Version/12.16",
            "MyShop/4.1 (iPhone; iOS 17.5) CFNetwork/1496.0.7 Darwin/23.5.0",
            "Lynx/2.9.0 libwww-FM/2.14",
        ] {
            assert_eq!(sign(user_agent), None, "{user_agent}");
        }
        assert_eq!(check(None, false), None, "the site did not say");
    }

    #[test]
    fn a_filled_honeypot_is_a_program() {
        let confidence = |honeypot| check(None, honeypot).map(|found| found.confidence());
        assert_eq!((confidence(false), confidence(true)), (None, Some(HONEYPOT)));
        let both = check(Some("curl/8"), true).unwrap();
        assert_eq!(both.signs.len(), 2);
        assert!((both.confidence() - HONEYPOT).abs() < 1e-9, "one ground");
    }
}
