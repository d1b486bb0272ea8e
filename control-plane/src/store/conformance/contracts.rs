//! Versions of contracts and baselines, and validations: numbers rise for ever, one validation of a flag runs, and what
//! goes takes with it what was in force.

use flagfuse_shared::ids::UnixMillis;
use serde_json::{Value, json};

use super::super::contracts::{self, ContractPart};
use super::super::validations::{self, Ended};
use super::super::{Connection, StoreError, contents, flags};
use super::{NOW, flag, make, scope, worlds};
use crate::model::contract::{Contract, Finding, Judged};

fn contract(patch: Value) -> Contract {
    let mut contract = json!({ "max_error_rate": 0.1, "window_s": 60 });
    for (name, value) in patch.as_object().unwrap() {
        contract[name] = value.clone();
    }
    Contract::parse(&contract).unwrap()
}

async fn put(tx: &mut Connection, scope: &str, key: &str, contract: Option<&Contract>) -> u64 {
    let part = (ContractPart::Contract, key);
    contracts::add(tx, &super::scope(scope), part, contract, ("token:a", NOW)).await.unwrap()
}

#[tokio::test]
async fn each_change_is_a_version_of_its_own_flag_and_part_and_none_comes_twice() {
    for (_database, _store, mut tx) in worlds().await {
        make(&mut tx, "t/p/other").await;
        let e = scope("t/p/e");
        let (first, second) = (contract(json!({})), contract(json!({ "window_s": 90 })));
        assert_eq!(put(&mut tx, "t/p/e", "f", Some(&first)).await, 1);
        assert_eq!(put(&mut tx, "t/p/e", "f", Some(&second)).await, 2);
        assert_eq!(put(&mut tx, "t/p/e", "g", Some(&first)).await, 1);
        assert_eq!(put(&mut tx, "t/p/other", "f", Some(&first)).await, 1);
        let part = ContractPart::Contract;
        let newest = contracts::newest::<Contract>(&mut tx, &e, part, "f").await.unwrap().unwrap();
        assert_eq!((newest.version, newest.at_ms, newest.actor.as_str()), (2, NOW, "token:a"));
        assert_eq!(newest.body, second);
        let older = contracts::by_version::<Contract>(&mut tx, &e, part, "f", 1).await.unwrap().unwrap();
        assert_eq!(older.body, first);
        let baseline = contracts::newest::<Value>(&mut tx, &e, ContractPart::Baseline, "f").await.unwrap();
        assert_eq!(baseline, None);
        // Taken away, it is not there, and its number is used.
        assert_eq!(put(&mut tx, "t/p/e", "f", None).await, 3);
        assert_eq!(contracts::newest::<Contract>(&mut tx, &e, part, "f").await.unwrap(), None);
        assert_eq!(contracts::by_version::<Contract>(&mut tx, &e, part, "f", 3).await.unwrap(), None);
        contracts::retire(&mut tx, &e, Some("f"), NOW).await.unwrap();
        assert_eq!(put(&mut tx, "t/p/e", "f", Some(&first)).await, 4, "what is gone goes once");
        contracts::retire(&mut tx, &e, Some("f"), NOW).await.unwrap();
        assert_eq!(contracts::newest::<Contract>(&mut tx, &e, part, "f").await.unwrap(), None);
        assert!(contracts::newest::<Contract>(&mut tx, &e, part, "g").await.unwrap().is_some());
    }
}

#[tokio::test]
async fn groups_are_those_of_the_contracts_in_force_of_one_environment() {
    for (_database, _store, mut tx) in worlds().await {
        make(&mut tx, "t/p/other").await;
        let group = |members: &[&str]| contract(json!({ "group": members }));
        put(&mut tx, "t/p/e", "a", Some(&group(&["x"]))).await;
        put(&mut tx, "t/p/e", "a", Some(&group(&["b", "c"]))).await;
        put(&mut tx, "t/p/e", "d", Some(&group(&[]))).await;
        put(&mut tx, "t/p/e", "gone", Some(&group(&["a"]))).await;
        put(&mut tx, "t/p/e", "gone", None).await;
        put(&mut tx, "t/p/other", "a", Some(&group(&["z"]))).await;
        let found = contracts::groups(&mut tx, &scope("t/p/e")).await.unwrap();
        assert_eq!(found, [("a".to_owned(), vec!["b".to_owned(), "c".to_owned()])]);
    }
}

#[tokio::test]
async fn one_validation_of_a_flag_runs_and_ends_once_with_what_it_found() {
    for (_database, _store, mut tx) in worlds().await {
        let e = scope("t/p/e");
        assert_eq!(validations::newest(&mut tx, &e, "f").await.unwrap(), None);
        let first = validations::begin(&mut tx, &e, "f", (2, Some(1)), NOW).await.unwrap();
        let other = validations::begin(&mut tx, &e, "g", (1, None), NOW).await.unwrap();
        let found = validations::running(&mut tx, &e, "f").await.unwrap().unwrap();
        assert_eq!(
            (found.validation_id, found.contract_version, found.baseline_version),
            (first, 2, Some(1))
        );
        assert_eq!((found.began_ms, found.ended), (NOW, None));
        let all = validations::all_running(&mut tx).await.unwrap();
        let all: Vec<_> = all.iter().map(|(scope, row)| (scope.to_string(), row.validation_id)).collect();
        assert_eq!(all, [("t/p/e".to_owned(), first), ("t/p/e".to_owned(), other)]);
        let rules = [Judged {
            rule: "max_error_rate".to_owned(),
            metric: "error".to_owned(),
            found: Some(0.5),
            limit: Some(0.1),
            units: 9,
            units_needed: 5,
            finding: Finding::Violated,
        }];
        let end = async |tx: &mut Connection, how| {
            validations::end(tx, &e, "f", (how, &rules), UnixMillis(7)).await
        };
        assert!(end(&mut tx, Ended::RolledBack).await.unwrap());
        assert!(!end(&mut tx, Ended::Promoted).await.unwrap(), "it has ended");
        let found = validations::newest(&mut tx, &e, "f").await.unwrap().unwrap();
        assert_eq!((found.ended, &*found.rules), (Some((UnixMillis(7), Ended::RolledBack)), &rules[..]));
        assert_eq!(validations::running(&mut tx, &e, "f").await.unwrap(), None);
        validations::begin(&mut tx, &e, "f", (3, None), NOW).await.unwrap();
        let twice = validations::begin(&mut tx, &e, "f", (3, None), NOW).await;
        assert!(matches!(twice, Err(StoreError::Sql(_))), "the database itself refuses a second: {twice:?}");
    }
}

#[tokio::test]
async fn an_environment_that_goes_ends_its_validations_and_takes_its_contracts_away() {
    for (_database, _store, mut tx) in worlds().await {
        make(&mut tx, "t/p/other").await;
        let (e, other) = (scope("t/p/e"), scope("t/p/other"));
        flags::put(&mut tx, &e, &flag("f"), NOW).await.unwrap();
        for scope in ["t/p/e", "t/p/other"] {
            put(&mut tx, scope, "f", Some(&contract(json!({})))).await;
            validations::begin(&mut tx, &super::scope(scope), "f", (1, None), NOW).await.unwrap();
        }
        contents::delete_environment(&mut tx, &e, UnixMillis(9)).await.unwrap();
        let part = ContractPart::Contract;
        assert_eq!(contracts::newest::<Contract>(&mut tx, &e, part, "f").await.unwrap(), None);
        let ended = validations::newest(&mut tx, &e, "f").await.unwrap().unwrap().ended;
        assert_eq!(ended, Some((UnixMillis(9), Ended::Gone)));
        assert!(contracts::newest::<Contract>(&mut tx, &other, part, "f").await.unwrap().is_some());
        assert!(validations::running(&mut tx, &other, "f").await.unwrap().is_some());
        assert_eq!(put(&mut tx, "t/p/e", "f", Some(&contract(json!({})))).await, 3, "numbers go on");
    }
}
