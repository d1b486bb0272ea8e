//! Imported toggles in Unleash's frontend API.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot be set up has to fail there and then"
)]

use flagfuse_importers::unleash::import;
use flagfuse_shared::context::Context;
use flagfuse_shared::evaluate::Question;
use flagfuse_shared::unleash::toggles::{Listing, write_toggles};
use flagfuse_testing::{NOW, admitted};
use serde_json::{Value, json};

fn listed(listing: Listing, flags: &[Value], context: &Value) -> Value {
    let admitted = admitted(flags);
    let context = Context::from_json(context.clone()).unwrap();
    let mut body = String::new();
    write_toggles(&mut body, listing, admitted.snapshot.evaluator(Question::new(&context, NOW)).all());
    serde_json::from_str::<Value>(&body).unwrap()["toggles"].clone()
}

#[test]
fn imported_toggles_show_unleashs_own_variants() {
    let document = json!({ "version": 1, "features": [
        { "name": "v", "enabled": true, "impressionData": true, "strategies": [{ "name": "default" }],
          "variants": [{ "name": "blue", "weight": 1000, "payload": { "type": "csv", "value": "1,2" } }] },
        { "name": "w", "enabled": false, "strategies": [{ "name": "default" }],
          "variants": [{ "name": "blue", "weight": 1000 }] } ] });
    let imported = import(document.to_string().as_bytes(), None).unwrap();
    let flags: Vec<Value> = imported.flags.iter().map(|flag| json!(flag)).collect();
    let expected = json!([{ "name": "v", "enabled": true, "impressionData": true, "variant": {
        "name": "blue", "enabled": true, "feature_enabled": true, "featureEnabled": true,
        "payload": { "type": "csv", "value": "1,2" } } }]);
    let user = json!({ "targetingKey": "u" });
    assert_eq!(listed(Listing::Enabled, &flags, &user), expected);
    assert_eq!(listed(Listing::All, &flags, &user)[1]["name"], "w");
}
