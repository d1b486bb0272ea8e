//! A Markdown document as a reader works through it: its fenced blocks, and the output that they promise. Pure.

/// Marks the rest of a line in a block as output that has to appear; `…` stands for anything.
const PROMISES: [&str; 2] = ["# → ", "// → "];

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// What stands behind the opening fence.
    pub(crate) language: String,
    /// Line of the opening fence, from 1.
    pub(crate) line: usize,
    /// Its lines, without the indentation of the fence.
    pub(crate) lines: Vec<String>,
}

/// All fenced blocks of a document, in order.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Block)> = None;
    for (at, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        match (&mut open, trimmed.strip_prefix("```")) {
            (None, Some(language)) => {
                let language = language.trim().to_owned();
                open = Some((indent, Block { language, line: at + 1, lines: Vec::new() }));
            }
            (Some(_), Some(_)) => blocks.extend(open.take().map(|(_, block)| block)),
            (Some((indent, block)), None) => {
                block
                    .lines
                    .push(line.get((*indent).min(line.len() - trimmed.len())..).unwrap_or("").to_owned());
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    blocks
}

impl Block {
    /// What to run: its lines without those that `leave_out` names by their command.
    pub(crate) fn script(&self, leave_out: impl Fn(&str) -> bool) -> String {
        let kept = self.lines.iter().filter(|line| !leave_out(command(line)));
        kept.fold(String::new(), |script, line| script + line + "\n")
    }

    /// The output that it promises, in order.
    pub(crate) fn promises(&self) -> Vec<String> {
        let promise = |line: &String| {
            let found = PROMISES.iter().find_map(|mark| line.split_once(mark));
            found.map(|(_, promise)| promise.trim().to_owned())
        };
        self.lines.iter().filter_map(promise).collect()
    }
}

/// A line without the comment behind it, which stands apart by two spaces or more.
pub(crate) fn command(line: &str) -> &str {
    line.split_once("  #").map_or(line, |(command, _)| command).trim()
}

/// The first promise that `output` does not keep, each being looked for behind the one before.
pub(crate) fn broken_promise<'p>(promises: &'p [String], output: &str) -> Option<&'p str> {
    let mut rest = output;
    for promise in promises {
        for part in promise.split('…').filter(|part| !part.is_empty()) {
            match rest.split_once(part) {
                Some((_, behind)) => rest = behind,
                None => return Some(promise),
            }
        }
    }
    None
}

/// The relative links of a document, with the line each stands in.
pub(crate) fn relative_links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for (opening, closing) in [("](", ')'), ("src=\"", '"'), ("srcset=\"", '"')] {
            let targets = line.split(opening).skip(1).filter_map(|rest| rest.split(closing).next());
            let relative = targets.filter(|target| !target.contains("://"));
            links.extend(relative.map(|target| (at + 1, target.to_owned())));
        }
    }
    links
}

/// The names by which links reach a document's headings, as GitHub makes them.
pub(crate) fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#'));
    let kept = |c: char| (c.is_alphanumeric() || c == '-' || c == '_').then_some(c);
    let anchor = |heading: &str| {
        let lower = heading.trim().to_lowercase().replace(' ', "-");
        lower.chars().filter_map(kept).collect()
    };
    headings.map(anchor).collect()
}

/// The rows of all tables whose first cell fits, as trimmed cells.
pub(crate) fn rows(text: &str, fits: impl Fn(&str) -> bool) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let tables = text.lines().filter(|line| line.trim_start().starts_with('|')).map(cells);
    tables.filter(|row| row.first().is_some_and(|first| fits(first))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_with_their_promises_also_inside_of_lists() {
        let text =
            "```sh\nls  # all\n# → a…b\n```\n1. One:\n\n   ```js\n   if (x)\n     y(); // → c\n   ```\n";
        let found = blocks(text);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].language.as_str(), found[0].line), ("sh", 1));
        assert_eq!(found[0].promises(), ["a…b"]);
        assert_eq!(found[0].script(|command| command == "ls"), "# → a…b\n");
        assert_eq!(found[1].script(|_| false), "if (x)\n  y(); // → c\n");
    }

    #[test]
    fn promises_are_kept_in_their_order() {
        let promises = ["a…b".to_owned(), "c".to_owned()];
        assert_eq!(broken_promise(&promises, "1 a 2 b 3 c"), None);
        assert_eq!(broken_promise(&promises, "c a b"), Some("c"));
        assert_eq!(broken_promise(&promises, "b a c"), Some("a…b"));
    }

    #[test]
    fn links_and_headings_meet() {
        assert_eq!(
            relative_links("[a](x.md#b) ![](http://y) <img src=\"z.svg\">"),
            [(1, "x.md#b".to_owned()), (1, "z.svg".to_owned())]
        );
        assert_eq!(anchors("# A b\n## About `classic` mode, or not?"), ["a-b", "about-classic-mode-or-not"]);
    }
}
