//! `deny.toml`, enforced on what `cargo metadata` tells: licences, sources, bans. Cargo-deny itself takes minutes to build,
//! and its database of advisories has to be fetched: those stay with `cargo deny check advisories`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::process::cargo;
use crate::tools::progress;

/// The one registry there is.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// `deny.toml` as far as it is understood; a key that is not would be a rule that nobody enforces.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    graph: Graph,
    #[expect(dead_code, reason = "read so that nothing else can stand there")]
    advisories: Advisories,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Advisories {
    #[expect(dead_code, reason = "read so that nothing else can stand there")]
    yanked: Level,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bans {
    multiple_versions: Level,
    wildcards: Level,
    #[serde(default)]
    allow_wildcard_paths: bool,
    #[serde(default)]
    deny: Vec<Banned>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Banned {
    name: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sources {
    unknown_registry: Level,
    unknown_git: Level,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Allow,
    Warn,
    Deny,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// A package as `cargo metadata` tells it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// `None` for our own.
    source: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Dependency {
    name: String,
    req: String,
    path: Option<String>,
}

/// What was found, each by its level.
#[derive(Debug, Default, PartialEq, Eq)]
struct Findings {
    denied: Vec<String>,
    warned: Vec<String>,
}

impl Findings {
    fn add(&mut self, level: Level, what: String) {
        match level {
            Level::Allow => {}
            Level::Warn => self.warned.push(what),
            Level::Deny => self.denied.push(what),
        }
    }
}

/// Fails with everything that `deny.toml` forbids.
pub fn check(root: &Path) -> Result<()> {
    let rules = read_rules(root)?;
    let mut packages = BTreeSet::new();
    for target in &rules.graph.targets {
        packages.extend(resolved(root, target)?);
    }
    ensure!(!packages.is_empty(), "deny.toml names no target");
    let found = judge(&rules, &packages);
    for warning in &found.warned {
        progress(&format!("deny.toml warns: {warning}"));
    }
    if !found.denied.is_empty() {
        bail!("deny.toml forbids:\n  {}", found.denied.join("\n  "));
    }
    progress(&format!(
        "deny.toml: {} packages; advisories and yanked versions are not looked up, `cargo deny check advisories` does",
        packages.len()
    ));
    Ok(())
}

fn read_rules(root: &Path) -> Result<Rules> {
    let path = root.join("deny.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    basic_toml::from_str(&text).with_context(|| format!("reading {}", path.display()))
}

/// Every package that any feature needs on a target, tools and tests included.
fn resolved(root: &Path, target: &str) -> Result<Vec<Package>> {
    let output = cargo()
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--all-features",
            "--filter-platform",
            target,
        ])
        .current_dir(root)
        .output()
        .context("running cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("reading cargo metadata")?;
    Ok(metadata.packages)
}

fn judge(rules: &Rules, packages: &BTreeSet<Package>) -> Findings {
    let mut found = Findings::default();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        let name = format!("{} {}", package.name, package.version);
        versions.entry(&package.name).or_default().push(&package.version);
        match package.license.as_deref().map(|license| is_allowed(license, &rules.licenses.allow)) {
            Some(Ok(true)) => {}
            Some(Ok(false)) => {
                let license = package.license.as_deref().unwrap_or_default();
                found
                    .denied
                    .push(format!("{name} is under {license:?}, which licenses.allow does not cover"));
            }
            Some(Err(error)) => found.denied.push(format!("{name}: {error:#}")),
            None => found.denied.push(format!("{name} names no licence")),
        }
        match package.source.as_deref() {
            None | Some(REGISTRY) => {}
            Some(git) if git.starts_with("git+") => {
                found.add(rules.sources.unknown_git, format!("{name} comes from {git}"));
            }
            Some(other) => found.add(rules.sources.unknown_registry, format!("{name} comes from {other}")),
        }
        if let Some(banned) = rules.bans.deny.iter().find(|banned| banned.name == package.name) {
            found.denied.push(format!("{name} is banned: {}", banned.reason));
        }
        let any = package.dependencies.iter().filter(|dependency| dependency.req == "*");
        for any in any.filter(|any| any.path.is_none() || !rules.bans.allow_wildcard_paths) {
            found.add(rules.bans.wildcards, format!("{name} takes any version of {}", any.name));
        }
    }
    for (name, versions) in versions.into_iter().filter(|(_, versions)| versions.len() > 1) {
        found.add(rules.bans.multiple_versions, format!("{name} is there as {}", versions.join(", ")));
    }
    found
}

/// Whether an SPDX expression can be fulfilled with allowed licences alone.
fn is_allowed(expression: &str, allow: &BTreeSet<String>) -> Result<bool> {
    // The slash is what crates wrote before SPDX expressions.
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let is_allowed = any_of(&mut rest, allow).with_context(|| format!("licence {expression:?}"))?;
    ensure!(rest.is_empty(), "licence {expression:?} does not end where it should");
    Ok(is_allowed)
}

fn any_of(rest: &mut &[&str], allow: &BTreeSet<String>) -> Result<bool> {
    let mut is_allowed = all_of(rest, allow)?;
    while let ["OR", behind @ ..] = *rest {
        *rest = behind;
        is_allowed |= all_of(rest, allow)?;
    }
    Ok(is_allowed)
}

fn all_of(rest: &mut &[&str], allow: &BTreeSet<String>) -> Result<bool> {
    let mut is_allowed = one(rest, allow)?;
    while let ["AND", behind @ ..] = *rest {
        *rest = behind;
        is_allowed &= one(rest, allow)?;
    }
    Ok(is_allowed)
}

fn one(rest: &mut &[&str], allow: &BTreeSet<String>) -> Result<bool> {
    match *rest {
        ["(", behind @ ..] => {
            *rest = behind;
            let inside = any_of(rest, allow)?;
            let [")", behind @ ..] = *rest else { bail!("a parenthesis is not closed") };
            *rest = behind;
            Ok(inside)
        }
        [")" | "AND" | "OR" | "WITH", ..] | [] => bail!("a licence is missing"),
        [license, "WITH", exception, behind @ ..] => {
            *rest = behind;
            Ok(allow.contains(&format!("{license} WITH {exception}")))
        }
        [license, behind @ ..] => {
            *rest = behind;
            Ok(allow.contains(*license))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
    }

    #[test]
    fn everything_that_is_built_here_is_allowed() {
        check(root()).unwrap();
    }

    #[test]
    fn a_licence_is_allowed_when_allowed_ones_fulfil_it() {
        let allow = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("GPL-3.0-only OR MIT", true),
            ("GPL-3.0-only AND MIT", false),
            ("GPL-3.0-only/MIT", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0", false),
            ("MIT WITH LLVM-exception", false),
            ("(GPL-3.0-only OR MIT) AND ISC", true),
            ("GPL-3.0-only OR MIT AND Zlib", false),
            ("MIT OR GPL-3.0-only AND Zlib", true),
        ] {
            assert_eq!(is_allowed(expression, &allow).unwrap(), expected, "{expression}");
        }
        for malformed in ["", "MIT OR", "(MIT", "MIT ISC", "MIT)", "AND MIT", "MIT WITH"] {
            assert!(is_allowed(malformed, &allow).is_err(), "{malformed}");
        }
    }

    fn package(change: impl FnOnce(&mut Package)) -> BTreeSet<Package> {
        let mut package = Package {
            name: "fine".to_owned(),
            version: "1.0.0".to_owned(),
            license: Some("MIT".to_owned()),
            source: Some(REGISTRY.to_owned()),
            dependencies: Vec::new(),
        };
        change(&mut package);
        [package].into()
    }

    #[test]
    fn every_rule_finds_what_breaks_it_and_nothing_else() {
        let rules = read_rules(root()).unwrap();
        assert_eq!(judge(&rules, &package(|_| {})), Findings::default());
        let any = |path: Option<&str>| Dependency {
            name: "it".to_owned(),
            req: "*".to_owned(),
            path: path.map(str::to_owned),
        };
        let rows = [
            (package(|p| p.license = Some("GPL-3.0-only".to_owned())), "licenses.allow"),
            (package(|p| p.license = None), "names no licence"),
            (package(|p| p.license = Some("MIT OR".to_owned())), "a licence is missing"),
            (package(|p| p.source = Some("git+https://example.com/fine".to_owned())), "comes from git+"),
            (
                package(|p| p.source = Some("registry+https://example.com/index".to_owned())),
                "comes from registry+",
            ),
            (package(|p| p.name = "openssl-sys".to_owned()), "is banned: "),
            (package(|p| p.dependencies = vec![any(None)]), "any version of it"),
        ];
        for (packages, expected) in rows {
            let found = judge(&rules, &packages);
            assert!(
                matches!(found.denied.as_slice(), [one] if one.contains(expected)),
                "{expected}: {found:?}"
            );
        }
        let own = package(|p| p.dependencies = vec![any(Some("shared"))]);
        assert_eq!(judge(&rules, &own), Findings::default(), "our own packages have no versions to ask for");
        let mut two = package(|_| {});
        two.extend(package(|p| p.version = "2.0.0".to_owned()));
        assert_eq!(judge(&rules, &two).warned, ["fine is there as 1.0.0, 2.0.0"]);
    }

    #[test]
    fn a_rule_that_is_not_understood_is_an_error() {
        let text = fs::read_to_string(root().join("deny.toml")).unwrap();
        assert!(basic_toml::from_str::<Rules>(&text).is_ok());
        assert!(basic_toml::from_str::<Rules>(&format!("{text}\nrequired-git-spec = \"rev\"\n")).is_err());
    }
}
