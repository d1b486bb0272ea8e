//! `flagfuse send` while it and its control plane are killed three times each: every line of the file counts once.

use support::root;

#[test]
fn an_import_that_is_killed_loses_nothing_and_counts_nothing_twice() {
    let arguments = ["--events", "20000", "--debug"].map(str::to_owned);
    xtask::chaos::chaos(root(), "import", &arguments).unwrap_or_else(|error| panic!("{error:#}"));
}
