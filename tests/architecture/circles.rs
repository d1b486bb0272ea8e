//! Which module of a crate uses which, read from its syntax, and the circles among them.
//!
//! One rule covers files and folders: the modules that stand beside one another, each with all that is below it, form no
//! circle. A module and its own children may know each other: the error type of a family stands in its `mod.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

/// A module's place: `[]` is the crate's root.
type Place = Vec<String>;

/// What one module's file says.
#[derive(Debug, Default)]
struct Module {
    /// Modules declared in it, with their own files.
    children: BTreeSet<String>,
    /// Names that it passes on, and where they come from.
    reexports: BTreeMap<String, Vec<String>>,
    /// Everything that it names.
    paths: Vec<Vec<String>>,
}

/// A use that goes from one module to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    from: Place,
    to: Place,
}

/// The circles of a crate: the names of each one's modules, with an example of a use between every two of them.
pub(crate) fn circles(root: &Path) -> Vec<String> {
    let mut modules = BTreeMap::new();
    read(root, &Place::new(), &mut modules);
    let uses = uses(&modules);
    let parents = modules.keys().filter(|place| !modules[*place].children.is_empty());
    parents.flat_map(|parent| circles_below(parent, &uses)).collect()
}

/// Reads a module's file and those of its children; what is compiled for tests alone may do as it likes.
fn read(file: &Path, place: &Place, modules: &mut BTreeMap<Place, Module>) {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let syntax = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let mut module = Module::default();
    syntax.items.iter().for_each(|item| module.visit_item(item));
    let folder = match file.file_stem().and_then(|stem| stem.to_str()) {
        Some("lib" | "main" | "mod") | None => file.parent().expect("a folder").to_owned(),
        Some(stem) => file.with_file_name(stem),
    };
    for child in &module.children {
        let files = [folder.join(format!("{child}.rs")), folder.join(child).join("mod.rs")];
        let found = files.iter().find(|file| file.exists());
        let found = found.unwrap_or_else(|| panic!("{}: no file of module {child}", file.display()));
        read(found, &[place.as_slice(), std::slice::from_ref(child)].concat(), modules);
    }
    modules.insert(place.clone(), module);
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let list = attribute.meta.require_list();
        attribute.path().is_ident("cfg") && list.is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

impl<'ast> Visit<'ast> for Module {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_for_tests(attributes(item)) {
            return;
        }
        match item {
            Item::Mod(module) if module.content.is_none() => {
                self.children.insert(module.ident.to_string());
            }
            Item::Use(used) => {
                let mut found = Vec::new();
                flatten(&used.tree, &mut Vec::new(), &mut found);
                let is_passed_on = !matches!(used.vis, syn::Visibility::Inherited);
                for (name, path) in found {
                    if is_passed_on {
                        self.reexports.insert(name, path.clone());
                    }
                    self.paths.push(path);
                }
            }
            item => visit::visit_item(self, item),
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.paths.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    /// What a macro is given is not parsed: its paths are the names between two colons.
    fn visit_macro(&mut self, used: &'ast syn::Macro) {
        let text = used.tokens.to_string().replace(" :: ", "::");
        let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let paths = text.split(|c| !is_name(c)).filter(|word| word.contains("::"));
        self.paths.extend(paths.map(|path| path.split("::").map(str::to_owned).collect::<Vec<_>>()));
        visit::visit_macro(self, used);
    }
}

/// Each name of a `use`, with its whole path.
fn flatten(tree: &UseTree, before: &mut Vec<String>, found: &mut Vec<(String, Vec<String>)>) {
    let whole = |last: String| [before.as_slice(), &[last]].concat();
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, found);
            before.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, before, found)),
        UseTree::Name(name) if name.ident == "self" => {
            found.push((before.last().cloned().unwrap_or_default(), before.clone()));
        }
        UseTree::Name(name) => found.push((name.ident.to_string(), whole(name.ident.to_string()))),
        UseTree::Rename(rename) => found.push((rename.rename.to_string(), whole(rename.ident.to_string()))),
        UseTree::Glob(_) => found.push(("*".to_owned(), whole("*".to_owned()))),
    }
}

fn uses(modules: &BTreeMap<Place, Module>) -> BTreeSet<Use> {
    let mut uses = BTreeSet::new();
    for (from, module) in modules {
        let places = module.paths.iter().filter_map(|path| resolve(modules, from, path, 0));
        uses.extend(places.map(|to| Use { from: from.clone(), to }));
    }
    uses
}

/// The module in which a path ends. `None` for what is outside the crate, or a name of the module's own.
fn resolve(modules: &BTreeMap<Place, Module>, from: &Place, path: &[String], depth: u8) -> Option<Place> {
    let mut rest = path.iter().map(String::as_str).peekable();
    let mut place = match rest.peek().copied()? {
        "crate" => Place::new(),
        "self" | "super" => from.clone(),
        name if modules[from].children.contains(name) => from.clone(),
        _ => return None,
    };
    while let Some(step) = rest.next_if(|step| ["crate", "self", "super"].contains(step)) {
        if step == "super" {
            place.pop();
        }
    }
    while let Some(child) = rest.next_if(|name| modules[&place].children.contains(*name)) {
        place.push(child.to_owned());
    }
    // Eight steps: nothing is passed on that often.
    match rest.peek().and_then(|name| modules[&place].reexports.get(*name)) {
        Some(origin) if depth < 8 => resolve(modules, &place, origin, depth + 1).or(Some(place)),
        _ => Some(place),
    }
}

/// Circles among the children of one module.
fn circles_below(parent: &Place, uses: &BTreeSet<Use>) -> Vec<String> {
    let child = |place: &Place| (place.len() > parent.len()).then(|| place[parent.len()].clone());
    let inside = uses.iter().filter(|used| used.from.starts_with(parent) && used.to.starts_with(parent));
    let mut edges: BTreeMap<String, BTreeMap<String, &Use>> = BTreeMap::new();
    for used in inside {
        if let (Some(from), Some(to)) = (child(&used.from), child(&used.to))
            && from != to
        {
            edges.entry(from).or_default().entry(to).or_insert(used);
        }
    }
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        edges.keys().map(|from| (from, reachable(&edges, from))).collect();
    let is_mutual = |one: &String, other: &String| {
        reached[one].contains(other) && reached.get(other).is_some_and(|back| back.contains(one))
    };
    let mut found: BTreeSet<Vec<&String>> = BTreeSet::new();
    for from in edges.keys().filter(|from| reached[from].contains(from)) {
        found.insert(edges.keys().filter(|to| is_mutual(from, to)).collect());
    }
    found.iter().map(|circle| told(parent, circle, &edges)).collect()
}

fn reachable<'e>(edges: &'e BTreeMap<String, BTreeMap<String, &Use>>, from: &String) -> BTreeSet<&'e String> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&String> = edges.get(from).into_iter().flat_map(BTreeMap::keys).collect();
    while let Some(name) = next.pop() {
        if found.insert(name) {
            next.extend(edges.get(name).into_iter().flat_map(BTreeMap::keys));
        }
    }
    found
}

fn told(parent: &Place, circle: &[&String], edges: &BTreeMap<String, BTreeMap<String, &Use>>) -> String {
    let mut text =
        format!("below {:?}:", if parent.is_empty() { "crate".to_owned() } else { parent.join("::") });
    for from in circle {
        for (_, used) in edges[*from].iter().filter(|(to, _)| circle.contains(to)) {
            let _ = write!(text, " {} → {};", used.from.join("::"), used.to.join("::"));
        }
    }
    text
}
