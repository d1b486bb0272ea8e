//! Tests of the reader of YAML; never built into the product.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn fault(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn scalars_are_what_the_core_schema_says() {
    let rows = [
        ("[~, null, '', \"\", Null]", json!([null, null, "", "", null])),
        ("[true, False, yes, off, 'true', n]", json!([true, false, "yes", "off", "true", "n"])),
        ("[0, -7, +7, 18446744073709551615]", json!([0, -7, 7, 18_446_744_073_709_551_615_u64])),
        ("[1.0, .5, 5., 1e3, -2.5E-1]", json!([1.0, 0.5, 5.0, 1000.0, -0.25])),
        ("[1.2.3, v2, 1e, '007', !!str 12, 12ab]", json!(["1.2.3", "v2", "1e", "007", "12", "12ab"])),
        ("a: |\n  two\n  lines\nb: >-\n  one\n  line\n", json!({ "a": "two\nlines\n", "b": "one line" })),
        ("# nothing\n", json!(null)),
        ("--- {a: [1, {b: 2}]}\n...\n", json!({ "a": [1, { "b": 2 }] })),
        ("{\"json\": [1, \"\\u00e4\"]}", json!({ "json": [1, "ä"] })),
    ];
    for (text, expected) in rows {
        assert_eq!(parse(text).unwrap(), expected, "{text}");
    }
}

#[test]
fn anchors_aliases_and_merges_stand_for_what_they_name() {
    let text = "base: &base {a: 1, b: 2}\ncopy: *base\nlist: [&x five, *x]\nmerged:\n  <<: *base\n  b: 3\n\
                several:\n  <<: [*base, {a: 9, c: 9}]\n";
    let base = json!({ "a": 1, "b": 2 });
    let expected = json!({ "base": base, "copy": base, "list": ["five", "five"], "merged": { "a": 1, "b": 3 },
        "several": { "a": 1, "b": 2, "c": 9 } });
    assert_eq!(parse(text).unwrap(), expected);
}

#[test]
fn what_is_not_taken_is_refused_with_its_line() {
    let rows = [
        ("a: 1\na: 2\n", "line 2: the key \"a\" is repeated"),
        ("a: 1\n1: 2\n", "line 2: a key must be a text"),
        ("? [a]\n: 1\n", "a key must be a text"),
        ("a: 1\n--- \nb: 1\n", "a second document begins"),
        ("a: !!binary aGk=\n", "the tag tag:yaml.org,2002:"),
        ("a: !mine {}\n", "the tag !mine has no equivalent"),
        ("a: &x [*x]\n", "line 1: the alias names an anchor that is not complete"),
        ("a: *x\n", "is not YAML"),
        ("a: [1\n", "is not YAML"),
        ("a: \"x\n", "is not YAML"),
        ("a: 0x10\n", "\"0x10\" is a number to some readers"),
        ("a: 010\n", "\"010\" is a number to some readers"),
        ("a: 1_000\n", "\"1_000\" is a number to some readers"),
        ("a: 2026-01-31\n", "\"2026-01-31\" is a time to some readers"),
        ("a: .inf\n", "\".inf\" is not a number that JSON has"),
        ("a: 1e999\n", "\"1e999\" is not a number that JSON has"),
        ("a:\n  <<: 1\n", "<< merges a mapping"),
    ];
    for (text, expected) in rows {
        let found = fault(text);
        assert!(found.contains(expected), "{text}: {found}");
    }
}

#[test]
fn a_few_lines_do_not_become_a_billion_values() {
    use std::fmt::Write as _;
    let mut laughs = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n".to_owned();
    for level in 1..12 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(laughs, "a{level}: &a{level} [{inner}]").unwrap();
    }
    assert!(fault(&laughs).contains("more than 1000000 values"), "{}", fault(&laughs));
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1024 * 1024), vec!["*a"; 16].join(", "));
    assert!(fault(&long).contains("more than 16777216 bytes of text"), "{}", fault(&long));
}

#[test]
fn depth_and_count_are_bounded_on_each_side() {
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    assert!(parse(&nested(IMPORT_YAML_DEPTH_MAX)).is_ok());
    assert!(fault(&nested(IMPORT_YAML_DEPTH_MAX + 1)).contains("nested deeper than 64 levels"));
    // An alias is as deep as what it stands for.
    let aliased = |levels: usize| format!("a: &a {}\nb: [*a]\n", nested(levels));
    assert!(parse(&aliased(IMPORT_YAML_DEPTH_MAX - 2)).is_ok());
    assert!(fault(&aliased(IMPORT_YAML_DEPTH_MAX - 1)).contains("nested deeper than 64 levels"));
    let listed = |count: usize| format!("[{}]", vec!["1"; count].join(","));
    assert!(parse(&listed(IMPORT_YAML_VALUE_COUNT_MAX - 1)).is_ok());
    assert!(fault(&listed(IMPORT_YAML_VALUE_COUNT_MAX)).contains("more than 1000000 values"));
    // Far deeper than any reader can follow by recursion.
    assert!(parse(&"[".repeat(100_000)).is_err());
    assert!(parse(&"- ".repeat(100_000)).is_err());
}

proptest! {
    #[test]
    fn any_text_is_an_answer(text in ".*", near in "[a&*:!\\[\\]{},0-9 \n<#|>'\"-]{0,64}") {
        let _ = (parse(&text), parse(&near));
    }

    #[test]
    fn json_is_read_as_json(key in "[a-z\"\\\\ ]{0,8}", number in any::<i64>(), double in -1e9..1e9_f64) {
        let value = json!({ key: [number, double, true, null, "1"] });
        prop_assert_eq!(parse(&value.to_string()).unwrap(), value);
    }
}
