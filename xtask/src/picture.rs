//! A terminal's lines as an SVG for light and for dark pages: pure but for writing the two files.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const FONT_SIZE: usize = 14;
const LINE_HEIGHT: usize = 21;
/// Width of a character in tenths of a pixel: monospaced fonts differ by less than the margin allows for.
const CHARACTER_WIDTH_TENTHS: usize = 85;
const MARGIN: usize = 24;

/// Colours of one picture.
#[derive(Debug, Clone, Copy)]
struct Theme {
    name: &'static str,
    background: &'static str,
    border: &'static str,
    text: &'static str,
    good: &'static str,
    bad: &'static str,
}

const LIGHT: Theme = Theme {
    name: "light",
    background: "#ffffff",
    border: "#d0d7de",
    text: "#1f2328",
    good: "#116329",
    bad: "#a40e26",
};
const DARK: Theme = Theme {
    name: "dark",
    background: "#0d1117",
    border: "#30363d",
    text: "#e6edf3",
    good: "#56d364",
    bad: "#ff7b72",
};

/// Writes `demo-light.svg` and `demo-dark.svg`.
pub fn write(dir: &Path, lines: &[String]) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    for theme in [LIGHT, DARK] {
        let path = dir.join(format!("demo-{}.svg", theme.name));
        fs::write(&path, svg(lines, theme)).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn svg(lines: &[String], theme: Theme) -> String {
    let column_count = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let width = 2 * MARGIN + column_count * CHARACTER_WIDTH_TENTHS / 10;
    let height = 2 * MARGIN + lines.len() * LINE_HEIGHT;
    let mut out = format!(
        concat!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">"#,
            "\n<title>What cargo xtask demo shows when the fuse has tripped</title>\n",
            r#"<rect x="0.5" y="0.5" width="{inner_width}" height="{inner_height}" rx="8" fill="{background}" stroke="{border}"/>"#,
            "\n",
            r#"<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="{font_size}" fill="{text}">"#,
            "\n",
        ),
        width = width,
        height = height,
        inner_width = width - 1,
        inner_height = height - 1,
        background = theme.background,
        border = theme.border,
        font_size = FONT_SIZE,
        text = theme.text,
    );
    for (row, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
        let y = MARGIN + row * LINE_HEIGHT + FONT_SIZE;
        // Writing to a text cannot fail.
        let _ = writeln!(
            out,
            r#"<text x="{MARGIN}" y="{y}" xml:space="preserve">{}</text>"#,
            styled(line, theme)
        );
    }
    out.push_str("</g>\n</svg>\n");
    out
}

/// A line with its states in colour.
fn styled(line: &str, theme: Theme) -> String {
    let states = [("CLOSED", theme.good), ("HALF_OPEN", theme.bad), ("OPEN", theme.bad), ("trip", theme.bad)];
    let line = escaped(line);
    let state = states.into_iter().find(|(state, _)| line.split_whitespace().any(|word| word == *state));
    match state {
        Some((state, colour)) => {
            line.replacen(state, &format!(r#"<tspan fill="{colour}" font-weight="bold">{state}</tspan>"#), 1)
        }
        None => line,
    }
}

fn escaped(line: &str) -> String {
    line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_holds_every_line_and_escapes_it() {
        let lines = ["Flagfuse demo".to_owned(), String::new(), "  circuit    OPEN <&>".to_owned()];
        let picture = svg(&lines, DARK);
        assert!(picture.contains(">Flagfuse demo</text>"));
        assert!(picture.contains(&format!(
            r#"  circuit    <tspan fill="{}" font-weight="bold">OPEN</tspan> &lt;&amp;&gt;</text>"#,
            DARK.bad
        )));
        assert_eq!(picture.matches("<text ").count(), 2, "an empty line takes room and no element");
        assert!(svg(&lines, LIGHT).contains(LIGHT.background));
    }
}
