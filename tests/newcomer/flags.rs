//! Flags, rules and fuses that are not what they should be.

use serde_json::{Value, json};
use support::GUARDED_FLAG;

use super::mistake::{Mistake, To, flag, flag_path, patched, to};

/// Bodies that are not JSON, or another JSON.
pub(crate) fn of_json() -> Vec<Mistake> {
    let post = |what| to(To::Admin, what, "POST", "/v1/projects");
    vec![
        post("forgets a brace").text(r#"{"key": "shop""#).says(
            400,
            "bad_json",
            &["not JSON", "ends too early", "line 1"],
        ),
        post("writes JavaScript").text("{key: 'shop'}").says(
            400,
            "bad_json",
            &["not JSON", "line 1 column 2"],
        ),
        post("sends nothing").text("").says(400, "bad_json", &["the body is not JSON: it is empty"]),
        post("sends an array").text("[]").says(
            400,
            "bad_schema",
            &["the body must be an object, but is an array"],
        ),
        post("gives a name for a key").with(json!({ "key": "My Shop" })).says(
            400,
            "bad_schema",
            &["key", "'M'", "a-z 0-9"],
        ),
        post("forgets the key").with(json!({ "name": "Shop" })).says(400, "bad_schema", &["key is missing"]),
    ]
}

/// Flags of another shape.
pub(crate) fn of_shape() -> Vec<Mistake> {
    let path = flag_path("newcomer");
    let put = |what| to(To::Admin, what, "PUT", &path);
    let with = |what, name: &str, value: Value| put(what).with(patched(flag(), name, value));
    let theme = flag_path("theme");
    let mut stale = to(To::Admin, "writes over what somebody else wrote", "PUT", &theme).with(flag());
    stale.headers = &[("if-match", "\"0\"")];
    vec![
        to(To::Admin, "misspells a field of a patch", "PATCH", &theme)
            .with(json!({ "enabeld": false }))
            .says(400, "invalid_flag", &["enabeld is unknown", "a flag has key, description"]),
        put("writes beside what GET shows").with(json!({ "flag": flag(), "enabled": false })).says(
            400,
            "invalid_flag",
            &["enabled is unknown beside flag", "revision"],
        ),
        put("names another flag in the body").with(patched(flag(), "key", json!("new comer"))).says(
            400,
            "invalid_flag",
            &["\"new comer\"", "in the path \"newcomer\""],
        ),
        with("misspells a field", "enabeld", json!(true)).says(
            400,
            "invalid_flag",
            &["enabeld is unknown", "did you mean \"enabled\"?"],
        ),
        with("invents a field", "colour", json!("red")).says(
            400,
            "invalid_flag",
            &["colour is unknown", "known are", "\"enabled\""],
        ),
        with("writes a boolean as a string", "enabled", json!("yes")).says(
            400,
            "invalid_flag",
            &["enabled must be true or false", "the string \"yes\""],
        ),
        with("invents a type", "value_type", json!("bool")).says(
            400,
            "invalid_flag",
            &["value_type must be \"boolean\"", "did you mean"],
        ),
        with("serves a variation that is not there", "default_variation", json!("purple")).says(
            400,
            "invalid_flag",
            &["default_variation", "\"purple\""],
        ),
        with(
            "gives a boolean flag a string",
            "variations",
            json!([{ "key": "on", "value": "yes" }, { "key": "off", "value": false }]),
        )
        .says(400, "invalid_flag", &["on", "boolean"]),
        stale.says(
            412,
            "precondition_failed",
            &["is at \"", "if-match does not list", "look at it again and repeat the request"],
        ),
    ]
}

/// Rules that mean something else than was meant, or nothing.
pub(crate) fn of_rules() -> Vec<Mistake> {
    let path = flag_path("newcomer");
    let rule = |rule: Value| patched(flag(), "rules", json!([rule]));
    let when = |condition: Value| {
        rule(json!({ "key": "r", "conditions": [condition], "split": [{ "variation": "on" }] }))
    };
    let share = |percentage: Value| {
        rule(json!({ "key": "r", "percentage": percentage, "split": [{ "variation": "on" }] }))
    };
    let put = |what, body| to(To::Admin, what, "PUT", &path).with(body);
    vec![
        put("writes a share as a fraction", share(json!(0.1))).says(
            200,
            "",
            &["rules[0].percentage is 0.1", "0.1 % and not 10 %", "from 0 to 100"],
        ),
        put("wants more than everybody", share(json!(101))).says(
            400,
            "invalid_flag",
            &["percentage", "101", "0 to 100"],
        ),
        put("invents an operator", when(json!({ "attribute": "plan", "op": "equals", "values": ["pro"] })))
            .says(
                400,
                "invalid_flag",
                &["rules[0].conditions[0].op must be \"in\"", "the string \"equals\""],
            ),
        put("compares with one value", when(json!({ "attribute": "plan", "op": "in", "value": "pro" })))
            .says(
                400,
                "invalid_flag",
                &["rules[0].conditions[0].value is unknown", "did you mean \"values\"?"],
            ),
        put(
            "compares with half a version",
            when(json!({ "attribute": "app", "op": "semver_at_least", "values": ["1.2"] })),
        )
        .says(
            400,
            "invalid_flag",
            &["conditions[0]", "values[0] is not a semantic version", "1.2.3"],
        ),
        put("names a segment that is not there", when(json!({ "op": "in_segment", "values": ["beta"] })))
            .says(400, "invalid_flag", &["\"beta\"", "does not have"]),
        put("splits between nothing", rule(json!({ "key": "r", "split": [{ "variation": "purple" }] })))
            .says(400, "invalid_flag", &["rules", "\"purple\""]),
    ]
}

/// Fuses that could not do what they are for.
pub(crate) fn of_fuses() -> Vec<Mistake> {
    let path = format!("{}/fuse", flag_path(GUARDED_FLAG));
    let fuse = xtask::demo_project::fuse;
    let put =
        |what, name: &str, value: Value| to(To::Admin, what, "PUT", &path).with(patched(fuse(), name, value));
    let mut wrong_sign = fuse();
    wrong_sign["guardrails"][0]["threshold"] = json!(0.05);
    let mut no_direction = fuse();
    no_direction["guardrails"][0]["direction"] = json!("down");
    vec![
        put("compares a variation with itself", "control_variation", json!("on")).says(
            400,
            "invalid_policy",
            &["control_variation is \"on\"", "allowed is another variation"],
        ),
        to(To::Admin, "writes a threshold with the wrong sign", "PUT", &path).with(wrong_sign).says(
            400,
            "invalid_policy",
            &["guardrails[0].threshold is 0.05", "allowed is"],
        ),
        to(To::Admin, "invents a direction", "PUT", &path).with(no_direction).says(
            400,
            "invalid_policy",
            &["guardrails[0].direction must be \"increase_is_harm\" or \"decrease_is_harm\""],
        ),
        put("wants a verdict of nobody", "min_sample", json!(0)).says(
            400,
            "invalid_policy",
            &["min_sample is 0, allowed is 1 to 100000000"],
        ),
        put("watches nothing", "guardrails", json!([])).says(
            400,
            "invalid_policy",
            &["guardrails", "1 to 8 entries"],
        ),
        put("watches with a fraction", "exposure_percent", json!("5%")).says(
            400,
            "invalid_policy",
            &["exposure_percent must be a number", "\"5%\""],
        ),
        put("serves what is not there", "treatment_variation", json!("purple")).says(
            400,
            "invalid_policy",
            &["treatment_variation", "\"purple\"", "does not have"],
        ),
        put("wants another mode", "mode", json!("bayes")).says(
            400,
            "mode_not_available",
            &["\"bayes\"", "classic"],
        ),
    ]
}
