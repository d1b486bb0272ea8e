//! What a buffer takes in together, knows again, and tells apart.

use super::*;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn request(digest: u64) -> Handover<'static> {
    counted(digest, 0, 7)
}

fn counted(digest: u64, exposure_count: u32, network: u32) -> Handover<'static> {
    Handover::Request(ClientRequest {
        event_count: 1,
        exposure_count,
        received_ms: NOW,
        key: "k",
        network,
        digest,
        json: "\"source\":\"open\",\"events\":[{}]}",
    })
}

fn shown(unit: &'static str, received_ms: UnixMillis) -> Handover<'static> {
    Handover::Exposure(EdgeExposure {
        received_ms,
        key: "k",
        network: 7,
        is_bot: false,
        group: r#""flag":"f","phase":1,"version":"1.1""#,
        variation: r#""on""#,
        unit,
        slices: "",
    })
}

fn wait_ms(taken: &Taken) -> u64 {
    match taken {
        Taken::Known => panic!("it is known"),
        Taken::Waits(_, wait_ms) => *wait_ms,
    }
}

#[test]
fn one_request_alone_is_written_at_once_and_those_behind_it_together() {
    let mut intake = Intake::default();
    assert_eq!(wait_ms(&intake.take(&request(1), None, NOW)), 0);
    let (row, group) = intake.close(NOW).unwrap();
    assert_eq!((row.event_count, group.is_written.get()), (1, None));
    let first = intake.take(&request(2), None, NOW.plus(5));
    let second = intake.take(&request(3), None, NOW.plus(20));
    assert_eq!((wait_ms(&first), wait_ms(&second)), (GATHER_MS - 5, GATHER_MS - 20));
    let (row, _) = intake.close(NOW.plus(GATHER_MS)).unwrap();
    let one = format!(r#"{{"received_ms":{},"source":"open","events":[{{}}]}}"#, NOW.0);
    assert_eq!((row.event_count, row.requests), (2, format!("{one},{one}")));
    assert!(intake.close(NOW).is_none(), "nothing waits");
    assert_eq!(wait_ms(&intake.take(&request(4), None, NOW.plus(1_000))), 0);
}

#[test]
fn what_is_on_disk_or_waits_is_not_taken_twice() {
    let mut intake = Intake::default();
    intake.take(&request(1), None, NOW);
    intake.take(&request(1), None, NOW);
    let (row, _) = intake.close(NOW).unwrap();
    assert_eq!(row.event_count, 1);
    assert!(
        matches!(intake.take(&request(1), None, NOW), Taken::Waits(..)),
        "nobody has said that it is on disk"
    );
    intake.close(NOW);
    intake.written(&row);
    assert!(matches!(intake.take(&request(1), None, NOW), Taken::Known));
}

#[test]
fn exposures_name_their_flag_once_for_all_units() {
    let mut intake = Intake::default();
    let (ann, bob) = (shown("\"ann\"", NOW), shown("\"bob\"", NOW.plus(3)));
    assert_eq!(wait_ms(&intake.take(&ann, None, NOW)), GATHER_MS, "nobody waits for it");
    intake.take(&bob, None, NOW);
    let (row, _) = intake.close(NOW.plus(GATHER_MS)).unwrap();
    let expected = format!(
        r#"{{"received_ms":{},"source":"edge","exposures":[{{"flag":"f","phase":1,"version":"1.1","variations":["on"],"units":[["ann",0,0,7],["bob",0,3,7]]}}]}}"#,
        NOW.0
    );
    assert_eq!((row.requests, row.event_count), (expected, 2));
}

#[test]
fn nothing_arrives_before_what_was_told_to_be_delivered() {
    let mut intake = Intake::default();
    assert_eq!(intake.delivered_through(None, NOW.plus(10)), NOW.plus(10));
    intake.take(&shown("\"ann\"", NOW), None, NOW.plus(10));
    let (row, _) = intake.close(NOW.plus(10)).unwrap();
    assert_eq!(row.received_ms, NOW.plus(11));
    assert_eq!(intake.delivered_through(Some(row.received_ms), NOW.plus(99)), NOW.plus(10));
    assert_eq!(intake.idle_ms(NOW.plus(15)), 5);
    let mut woken = Intake::woken(NOW.plus(500));
    assert_eq!(woken.idle_ms(NOW.plus(500)), 0);
    woken.take(&shown("\"ann\"", NOW), None, NOW.plus(500));
    assert_eq!(woken.close(NOW.plus(525)).unwrap().0.received_ms, NOW.plus(500));
}

#[test]
fn a_key_enrols_so_many_units_from_a_network_in_a_minute() {
    let mut intake = Intake::default();
    let mut beyond = |count, network, limit, now| {
        intake.take(&counted(u64::from(network) << 32 | intake.last_event_ms, count, network), limit, now);
        let (row, _) = intake.close(now).unwrap();
        row.requests.contains("\"is_limited\":true")
    };
    assert!(!beyond(3, 7, Some(3), NOW));
    assert!(beyond(1, 7, Some(3), NOW.plus(1)));
    assert!(!beyond(0, 7, Some(3), NOW.plus(2)), "outcomes enrol nobody");
    assert!(!beyond(3, 8, Some(3), NOW.plus(3)), "another network");
    assert!(!beyond(9, 0, Some(3), NOW.plus(4)), "nobody knows its network");
    assert!(!beyond(9, 7, None, NOW.plus(5)), "no limit");
    assert!(!beyond(3, 7, Some(3), NOW.plus(MINUTE_MS)), "another minute");
}

#[test]
fn a_group_that_is_full_is_written_before_another_request_joins_it() {
    let mut intake = Intake::default();
    for digest in 0..u64::from(ROW_EVENT_COUNT_MAX / 2) {
        assert!(!intake.is_full(), "{digest}");
        intake.take(&request(digest), None, NOW);
    }
    assert!(intake.is_full() && intake.waiting_len() > 0);
    let (_, group) = intake.close(NOW).unwrap();
    assert!(!intake.is_full() && !intake.is_open(&group));
}
