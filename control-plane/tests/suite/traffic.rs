//! How much traffic a fuse says that it needs, against what it takes until it trips.

use flagfuse_shared::bucket::{Bucket, COHORT_SEED};
use serde_json::{Value, json};

use crate::world::{ENVIRONMENT, FLAG, World, flag, policy};

fn fuse() -> String {
    format!("{FLAG}/fuse")
}

async fn traffic(world: &World) -> Value {
    world.get(&fuse()).await["traffic"].clone()
}

/// The seed systems' settings.
fn defaults(exposure_percent: f64, control_percent: f64) -> Value {
    let mut policy =
        policy(json!({ "exposure_percent": exposure_percent, "control_percent": control_percent }));
    for field in ["min_sample", "min_confidence"] {
        policy.as_object_mut().unwrap().remove(field);
    }
    policy
}

#[tokio::test]
async fn a_fuse_trips_with_the_units_that_it_says_and_not_with_fewer() {
    let world = World::new().await;
    let put = world.ok("PUT", &fuse(), policy(json!({}))).await;
    let told = traffic(&world).await;
    assert_eq!(put["traffic"], told);
    let found =
        ["exposed_units", "control_units", "events", "visitors"].map(|name| told[name].as_u64().unwrap());
    assert_eq!(found, [200, 200, 10, 1_000], "{told}");
    let verdict =
        async || world.get(&format!("{FLAG}/verdicts?limit=1")).await["verdicts"][0]["reason"].clone();
    world.run_cohort(1, 199, (0, 199), "conversion").await;
    assert_eq!((world.tick().await.moved, verdict().await), (0, json!("sample_too_small")));
    world.run_cohort(1, 200, (0, 199), "conversion").await;
    // One unit of each arm is new, which is no twenty.
    world.close_slots().await;
    assert_eq!((world.tick().await.moved, verdict().await), (1, json!("harm")));
}

#[tokio::test]
async fn the_defaults_need_as_many_visitors_as_their_rule_says_wherever_they_are_asked_for() {
    let world = World::new().await;
    for (exposure, control, visitors) in [(5.0, 5.0, 32_480), (5.0, 10.0, 30_000), (2.5, 2.5, 64_960)] {
        let rehearsed =
            world.ok("PUT", &format!("{}?dry_run=true", fuse()), defaults(exposure, control)).await;
        let told = &rehearsed["traffic"];
        assert_eq!((&told["visitors"], &told["window_hours"]), (&json!(visitors), &json!(72)), "{told}");
        assert_eq!((&told["visitors_per_hour"], &told["takes_ms"]), (&Value::Null, &Value::Null), "{told}");
        assert!(told["summary"].as_str().unwrap().contains("no visitors in the last day"), "{told}");
        let put = world.ok("PUT", &fuse(), defaults(exposure, control)).await;
        assert_eq!((&put["traffic"], &traffic(&world).await), (told, told));
    }
    // The same policy once more: nothing is changed, and it is told all the same.
    let same = world.ok("PUT", &fuse(), defaults(2.5, 2.5)).await;
    assert_eq!((&same["version"], &same["traffic"]["visitors"]), (&Value::Null, &json!(64_960)));
}

#[tokio::test]
async fn the_rate_is_the_environments_until_the_flag_has_units_of_its_own() {
    let world = World::new().await;
    // Ten units in an hour, a tenth of what comes to another flag.
    let other = format!("{ENVIRONMENT}/flags/other");
    world.ok("PUT", &other, flag()).await;
    world.ok("PUT", &format!("{other}/fuse"), defaults(5.0, 5.0)).await;
    let in_slice = |unit: &String| u64::from(Bucket::of("other", unit, COHORT_SEED).get()) < 50_000;
    let units: Vec<String> = (0..).map(|n| format!("visitor-{n}")).filter(in_slice).take(50).collect();
    let exposure = |unit: &String| {
        let body =
            json!({ "type": "exposure", "unit": unit, "flag": "other", "variation": "on", "phase": 1 });
        world.event(body)
    };
    world.clock.advance(30 * 60_000);
    world.ingest(&units.iter().map(exposure).collect::<Vec<_>>()).await;
    world.pass_a_minute().await;
    world.clock.advance(30 * 60_000);
    let dry = format!("{}?dry_run=true", fuse());
    let told = world.ok("PUT", &dry, defaults(5.0, 5.0)).await["traffic"].clone();
    assert_eq!(
        (&told["visitors_per_hour"], &told["rate_from"]),
        (&json!(500), &json!("environment")),
        "{told}"
    );
    assert_eq!(told["warning"], Value::Null);
    // Two hours later nobody came in the last hour: the day counts.
    world.clock.advance(2 * 3_600_000);
    let told = world.ok("PUT", &dry, defaults(5.0, 5.0)).await["traffic"].clone();
    assert_eq!(told["visitors_per_hour"], json!(166), "{told}");
    assert!(told["warning"].as_str().unwrap().contains("only about 11,934 visitors come"), "{told}");
    assert_eq!(told["takes_ms"], Value::Null, "never");
    world.clock.advance(24 * 3_600_000);
    let told = world.ok("PUT", &fuse(), defaults(5.0, 5.0)).await["traffic"].clone();
    assert_eq!((&told["visitors_per_hour"], &told["warning"]), (&Value::Null, &Value::Null), "{told}");
    // A hundred units in an hour, a tenth of all visitors.
    world.clock.advance(30 * 60_000);
    world.run_cohort(1, 50, (0, 0), "conversion").await;
    world.clock.advance(30 * 60_000);
    let told = traffic(&world).await;
    assert_eq!((&told["visitors_per_hour"], &told["rate_from"]), (&json!(1_000), &json!("flag")), "{told}");
    assert_eq!(
        (&told["takes_ms"], &told["warning"]),
        (&json!(116_928_000), &Value::Null),
        "32,480 in 1,000 an hour"
    );
    let words = "at the present rate of about 1,000 visitors an hour in about 33 h.";
    assert!(told["summary"].as_str().unwrap().ends_with(words), "{told}");
}
