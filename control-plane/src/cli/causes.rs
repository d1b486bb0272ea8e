//! An error and what caused it, in one line.

/// The error and its causes, one behind the other. Many errors say what caused them themselves: nothing is told twice.
pub(crate) fn with_causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let said = cause.to_string();
        if text.is_empty() {
            text = said;
        } else if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{place}: {source}")]
    struct Named {
        place: &'static str,
        source: std::io::Error,
    }

    #[test]
    fn each_cause_is_told_once() {
        let error = anyhow!("third").context("second").context("first");
        assert_eq!(with_causes(&error), "first: second: third");
        let named = Named { place: "file", source: std::io::Error::other("is gone") };
        assert_eq!(with_causes(&anyhow::Error::from(named).context("reading")), "reading: file: is gone");
    }
}
