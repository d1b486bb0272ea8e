//! Whether a user agent is a bot's, by its name. Pure. Nothing that a visitor does later changes the mark.

/// Parts of the names of crawlers, monitors and headless browsers, in lower case. `docs/events.md` lists them. Libraries of
/// programming languages are not among them: servers ask for their users with those.
const NAMES: [&str; 16] = [
    "bot",
    "crawl",
    "spider",
    "slurp",
    "headless",
    "lighthouse",
    "pagespeed",
    "prerender",
    "phantomjs",
    "puppeteer",
    "selenium",
    "facebookexternalhit",
    "pingdom",
    "statuscake",
    "site24x7",
    "datadogsynthetics",
];
/// A maker of phones, whose name is in every visitor's user agent.
const PHONES: &str = "cubot";

/// Whether the user agent names a bot. No user agent names none.
pub fn is_bot(user_agent: Option<&str>) -> bool {
    let Some(text) = user_agent else { return false };
    let text = text.to_ascii_lowercase().replace(PHONES, "");
    NAMES.iter().any(|name| text.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bots_are_known_by_name_and_nobody_else_is() {
        for bot in [
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/120.0",
            "facebookexternalhit/1.1",
            "BaiduSpider",
        ] {
            assert!(is_bot(Some(bot)), "{bot}");
        }
        for visitor in [
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36",
            "Mozilla/5.0 (Linux; Android 10; CUBOT_NOTE_20) AppleWebKit/537.36",
            "node",
            "python-requests/2.31",
            "Go-http-client/2.0",
            "",
        ] {
            assert!(!is_bot(Some(visitor)), "{visitor}");
        }
        assert!(!is_bot(None));
    }
}
