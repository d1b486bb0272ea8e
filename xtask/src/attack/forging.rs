//! Made-up units: whoever has the key can ask for any name, and the ticket proves no more than that. How many requests and
//! networks it takes to trip a feature that harms nobody, to hide one that does, and to hold a ramp; and what never counts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flagfuse_shared::definition::Arm;
use flagfuse_shared::limits::EVENT_COUNT_MAX;
use serde_json::{Value, json};

use super::crowd::{Crowd, Member};
use super::events::{exposure, outcome, ticketed};
use super::ground::{Ground, OPEN_COUNT_MAX, Scene, Terms};
use super::{Finding, Found, kills};
use crate::figure::Metric;
use crate::traffic::now_ms;
use crate::wait::eventually;

/// Flags, each with a fuse of its own: for events without tickets, for units from two networks, to be tripped, to be held, and
/// two that harm, one of which is hidden.
const UNTICKETED: &str = "unticketed";
const TWO_NETWORKS: &str = "two-networks";
const HEALTHY: &str = "healthy";
const RAMPED: &str = "ramped";
const HARMFUL: &str = "harmful";
const HIDDEN: &str = "hidden";
/// Units of each arm that really exist, where any do.
const HONEST_COUNT: usize = 400;
/// Networks from which they come.
const HONEST_NETWORKS: u8 = 10;
/// Of an arm whose units come from two networks: a thousand in all.
const TWO_NETWORKS_COUNT: usize = 500;
/// Made-up units that are added at once, until something happens.
const STEP_COUNT: usize = 20;
const STEP_COUNT_MAX: usize = 40;
/// Of a thousand honest units: how many convert in control, and how many do where the feature costs a fifth of that.
const CONVERTING: usize = 400;
const CONVERTING_HURT: usize = 320;
/// How long events take into cells: a slot of a young phase is 15 seconds long and closes with a tick.
const COUNT_LIMIT: Duration = Duration::from_mins(2);
/// How long the engine has for its verdict, which looks five times a second.
const VERDICT_LIMIT: Duration = Duration::from_secs(20);

pub(super) fn run(scene: &Scene<'_>) -> Result<Found> {
    let mut fuses = kills::fuses();
    let watched = [UNTICKETED, TWO_NETWORKS, HEALTHY, RAMPED, HARMFUL, HIDDEN];
    fuses.extend(watched.map(|flag| (flag.to_owned(), policy())));
    let terms = Terms {
        fuses,
        has_tickets: true,
        settings: [("min_networks", 3), ("enrolments_per_minute", 600)].into(),
        ..Terms::default()
    };
    let ground = Ground::start(scene, terms)?;
    let crowd = Crowd::of(&ground)?;
    let attack = |meter: &kills::Meter| {
        let mut found = (Vec::new(), Vec::new());
        found.0.push(nothing_counts_without_a_ticket(&ground, &crowd)?);
        found.0.push(two_networks_trip_nothing(&ground, &crowd)?);
        trip(&ground, &crowd, &mut found)?;
        hold(&ground, &crowd, &mut found)?;
        hide(&ground, &crowd, &mut found)?;
        meter.wait();
        Ok(found)
    };
    let ((findings, figures), kills) = kills::during(&ground, attack)?;
    Ok(Found { kills, findings, figures })
}

/// README's policy for little traffic.
fn policy() -> Value {
    json!({
        "mode": "classic", "treatment_variation": "on", "control_variation": "off",
        "exposure_percent": 50, "control_percent": 50, "grace_s": 0, "min_sample": 150, "min_confidence": 0.06,
        "guardrails": [
            { "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.1 },
            { "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 },
        ],
    })
}

/// Somebody with the key who asks for units of a flag and reports events of them, and how many requests that takes.
struct Party<'p> {
    ground: &'p Ground,
    flag: &'static str,
    requests: u64,
    units: u64,
}

impl<'p> Party<'p> {
    const fn of(ground: &'p Ground, flag: &'static str) -> Self {
        Self { ground, flag, requests: 0, units: 0 }
    }

    /// Exposures of these units, and the outcomes that `acts` gives them, from one network.
    fn report(
        &mut self,
        members: &[Member],
        network: u8,
        mut acts: impl FnMut(&Member) -> Option<&'static str>,
    ) -> Result<()> {
        let edge = self.ground.edges.first().context("no isolate")?;
        let address = format!("198.51.{network}.7");
        let mut events = Vec::with_capacity(members.len() * 2);
        for member in members {
            let ticket = ticketed(edge, &member.unit, &address)?;
            self.requests += 1;
            let now = now_ms();
            let done = acts(member).map(|metric| outcome(&member.unit, metric, now));
            for mut event in [exposure(self.flag, member, now)].into_iter().chain(done) {
                event["ticket"] = json!(ticket);
                events.push(event);
            }
        }
        for part in events.chunks(EVENT_COUNT_MAX) {
            let body = json!({ "events": part }).to_string().into_bytes();
            let headers = [("cf-connecting-ip", address.as_str())];
            let answer = edge.send("POST", "/v1/events", &headers, Some(body))?;
            ensure!(answer.status == 202, "status {}: {}", answer.status, answer.body);
            self.requests += 1;
        }
        self.units += members.len() as u64;
        Ok(())
    }

    /// Waits until all units that were reported are counted, but for those of the open slot.
    fn counted(&self) -> Result<()> {
        eventually("the units are counted", COUNT_LIMIT, || {
            let counted = self.ground.counted(self.flag)?;
            ensure!(counted + OPEN_COUNT_MAX >= self.units, "{counted} of {} of {}", self.units, self.flag);
            Ok(())
        })
    }
}

/// Units that exist, of both arms and many networks; of a thousand of each arm so many convert.
fn honest(party: &mut Party<'_>, crowd: &Crowd, exposed_converting: usize) -> Result<()> {
    let members = crowd.members(party.flag, "honest", (HONEST_COUNT, HONEST_COUNT))?;
    let share = members.len().div_ceil(usize::from(HONEST_NETWORKS));
    let (mut exposed, mut control) = (0, 0);
    for (network, members) in (100..).zip(members.chunks(share)) {
        party.report(members, network, |member| {
            let (rank, converting) = match member.arm {
                Arm::Exposed => (&mut exposed, exposed_converting),
                Arm::Control => (&mut control, CONVERTING),
            };
            *rank += 1;
            // Evenly, so that however many of them are looked at, each arm has its share.
            let is_converting = *rank * converting / 1_000 > (*rank - 1) * converting / 1_000;
            is_converting.then_some("conversion")
        })?;
    }
    Ok(())
}

fn circuit(ground: &Ground, flag: &str) -> Result<String> {
    Ok(ground.fuse(flag)?["circuit"].as_str().unwrap_or_default().to_owned())
}

/// Exposures and outcomes that come without a ticket, or with another unit's, beside honest ones.
fn nothing_counts_without_a_ticket(ground: &Ground, crowd: &Crowd) -> Result<Finding> {
    let edge = ground.edges.first().context("no isolate")?;
    let named = crowd.members(UNTICKETED, "named", (100, 100))?;
    let stolen = ticketed(edge, "somebody-else", "198.51.1.7")?;
    let now = now_ms();
    for ticket in ["", stolen.as_str()] {
        let events: Vec<Value> = named
            .iter()
            .flat_map(|member| [exposure(UNTICKETED, member, now), outcome(&member.unit, "error", now)])
            .collect();
        for part in events.chunks(EVENT_COUNT_MAX) {
            let answer = edge.post("/v1/events", &json!({ "ticket": ticket, "events": part }))?;
            ensure!(answer.status == 202, "status {}: {}", answer.status, answer.body);
        }
    }
    let mut party = Party::of(ground, UNTICKETED);
    let members = crowd.members(UNTICKETED, "honest", (60, 60))?;
    party.report(&members, 41, |_| Some("conversion"))?;
    party.counted()?;
    let sums = ground.sums(UNTICKETED)?;
    let units = |metric: &str| -> u64 {
        sums.iter().filter(|row| row["metric"] == metric).filter_map(|row| row["units"].as_u64()).sum()
    };
    let (enrolled, errors) = (units("exposure"), units("error"));
    let told =
        format!("of 200 named units 0 should count: {enrolled} of 120 honest ones do, with {errors} errors");
    let holds = enrolled <= party.units && errors == 0;
    Ok(Finding::new("exposures and outcomes without tickets move no cell", told, holds))
}

/// A thousand made-up units whose exposed half has nothing but errors.
fn two_networks_trip_nothing(ground: &Ground, crowd: &Crowd) -> Result<Finding> {
    let mut party = Party::of(ground, TWO_NETWORKS);
    let members = crowd.members(TWO_NETWORKS, "made-up", (TWO_NETWORKS_COUNT, TWO_NETWORKS_COUNT))?;
    for (network, members) in (1..).zip(members.chunks(TWO_NETWORKS_COUNT)) {
        party.report(members, network, erring)?;
    }
    party.counted()?;
    let held = eventually("the verdict", VERDICT_LIMIT, || {
        let (decision, reason) = ground.verdict(TWO_NETWORKS)?;
        ensure!(decision == "hold" && reason == "few_networks", "the verdict is {decision}, {reason}");
        Ok(format!("{decision}, {reason}"))
    });
    let circuit = circuit(ground, TWO_NETWORKS)?;
    let told = held.as_ref().map_or_else(|error| format!("{error:#}"), Clone::clone);
    let holds = held.is_ok() && circuit == "CLOSED";
    Ok(Finding::new(
        "1,000 made-up units from two networks trip nothing",
        format!("{circuit}, {told}"),
        holds,
    ))
}

fn erring(member: &Member) -> Option<&'static str> {
    (member.arm == Arm::Exposed).then_some("error")
}

/// Findings and figures so far.
type Told = (Vec<Finding>, Vec<Metric>);

fn tell(
    told: &mut Told,
    rule: &'static str,
    names: [&'static str; 2],
    party: Option<&Party<'_>>,
    networks: u8,
) {
    let (requests, units) = party.map_or((f64::NAN, 0), |party| (precise(party.requests), party.units));
    told.0.push(Finding::new(
        rule,
        format!("{requests} requests for {units} units, {networks} networks"),
        true,
    ));
    let [requests_name, networks_name] = names;
    told.1.push(Metric::new(requests_name, requests, "requests"));
    told.1.push(Metric::new(networks_name, f64::from(networks), "networks"));
}

#[expect(clippy::cast_precision_loss, reason = "some thousand requests")]
const fn precise(count: u64) -> f64 {
    count as f64
}

/// Errors of made-up units from three networks, until a feature that harms nobody is off.
fn trip(ground: &Ground, crowd: &Crowd, told: &mut Told) -> Result<()> {
    honest(&mut Party::of(ground, HEALTHY), crowd, CONVERTING)?;
    let mut party = Party { units: 2 * HONEST_COUNT as u64, ..Party::of(ground, HEALTHY) };
    let members = crowd.members(HEALTHY, "made-up", (STEP_COUNT * STEP_COUNT_MAX, 0))?;
    let mut tripped = false;
    for (step, members) in (0..).zip(members.chunks(STEP_COUNT)) {
        party.report(members, step % 3 + 11, erring)?;
        if step % 3 == 2 {
            party.counted()?;
            let seen = eventually("the fuse trips", Duration::from_secs(2), || {
                ensure!(circuit(ground, HEALTHY)? == "OPEN", "it is closed");
                Ok(())
            });
            tripped = seen.is_ok();
        }
        if tripped {
            break;
        }
    }
    party.units -= 2 * HONEST_COUNT as u64;
    let names = ["trip_requests", "trip_networks"];
    tell(told, "to trip a healthy feature (for information)", names, tripped.then_some(&party), 3);
    Ok(())
}

/// Exposed units out of nothing, until the arms cannot be what they should be.
fn hold(ground: &Ground, crowd: &Crowd, told: &mut Told) -> Result<()> {
    honest(&mut Party::of(ground, RAMPED), crowd, CONVERTING)?;
    let mut party = Party { units: 2 * HONEST_COUNT as u64, ..Party::of(ground, RAMPED) };
    let members = crowd.members(RAMPED, "made-up", (STEP_COUNT * STEP_COUNT_MAX, 0))?;
    let mut held = false;
    for members in members.chunks(STEP_COUNT) {
        let mut at = 0;
        party.report(members, 21, |_| {
            at += 1;
            (at % 5 < 2).then_some("conversion")
        })?;
        party.counted()?;
        let seen = eventually("the verdict", Duration::from_secs(2), || {
            let (_, reason) = ground.verdict(RAMPED)?;
            ensure!(reason == "sample_ratio_mismatch", "the reason is {reason}");
            Ok(())
        });
        held = seen.is_ok();
        if held {
            break;
        }
    }
    party.units -= 2 * HONEST_COUNT as u64;
    let names = ["hold_requests", "hold_networks"];
    tell(told, "to hold a ramp (for information)", names, held.then_some(&party), 1);
    Ok(())
}

/// A feature that costs a fifth of the conversions trips; beside as many made-up units that convert as arithmetic asks for,
/// and half as many again, it does not.
fn hide(ground: &Ground, crowd: &Crowd, told: &mut Told) -> Result<()> {
    let mut harmful = Party::of(ground, HARMFUL);
    honest(&mut harmful, crowd, CONVERTING_HURT)?;
    harmful.counted()?;
    let tripped = eventually("the fuse trips", VERDICT_LIMIT, || {
        let circuit = circuit(ground, HARMFUL)?;
        ensure!(circuit == "OPEN", "it is {circuit}");
        Ok(circuit)
    });
    // (320 h + 1000 m) / (h + m) >= 360 of a thousand, where a tenth less than 400 is harm.
    let enough = HONEST_COUNT * (CONVERTING * 9 / 10 - CONVERTING_HURT) / (1_000 - CONVERTING * 9 / 10);
    let mut hiding = Party::of(ground, HIDDEN);
    let members = crowd.members(HIDDEN, "made-up", (enough * 3 / 2, 0))?;
    hiding.report(&members, 31, |_| Some("conversion"))?;
    let mut party = Party::of(ground, HIDDEN);
    honest(&mut party, crowd, CONVERTING_HURT)?;
    party.units += hiding.units;
    party.counted()?;
    let stays = eventually("the fuse trips after all", VERDICT_LIMIT / 2, || {
        let circuit = circuit(ground, HIDDEN)?;
        ensure!(circuit == "OPEN", "it is {circuit}");
        Ok(())
    });
    let holds = tripped.is_ok();
    let said = tripped.map_or_else(|error| format!("{error:#}"), |circuit| format!("it is {circuit}"));
    told.0.push(Finding::new("a feature that costs a fifth of the conversions trips", said, holds));
    let names = ["mask_requests", "mask_networks"];
    tell(told, "to hide that from the fuse (for information)", names, stays.is_err().then_some(&hiding), 1);
    Ok(())
}
