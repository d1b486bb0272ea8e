//! Which flags are switched off together, from the groups that contracts name.

use std::collections::BTreeSet;

/// The flags that go with `flag`, itself not among them: those of its own group, those whose groups name it, and theirs in
/// turn. `groups` are flags with the flags that their contracts name.
pub fn together(groups: &[(String, Vec<String>)], flag: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::from([flag.to_owned()]);
    loop {
        let before = found.len();
        for (owner, members) in groups {
            if found.contains(owner) || members.iter().any(|member| found.contains(member)) {
                // A group of nobody else adds its owner, which is there then.
                found.insert(owner.clone());
                found.extend(members.iter().cloned());
            }
        }
        if found.len() == before {
            break;
        }
    }
    found.remove(flag);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_one_whoever_of_it_is_asked() {
        let group = |owner: &str, members: &[&str]| {
            (owner.to_owned(), members.iter().map(|member| (*member).to_owned()).collect())
        };
        let groups = [group("a", &["b", "c"]), group("d", &["c"]), group("x", &["y"]), group("lone", &[])];
        for (flag, expected) in [
            ("a", &["b", "c", "d"][..]),
            ("b", &["a", "c", "d"]),
            ("d", &["a", "b", "c"]),
            ("y", &["x"]),
            ("lone", &[]),
            ("nobody", &[]),
        ] {
            assert_eq!(together(&groups, flag).into_iter().collect::<Vec<_>>(), expected, "{flag}");
        }
    }
}
