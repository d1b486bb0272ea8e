#!/usr/bin/env python3
"""Writes evaluation.json: what flags answer, worked out from the documented rules and libraries that are not ours.

    pip install mmh3==5.3.1 semver==3.1.1 && python3 make_evaluation.py > evaluation.json

Hashes come from mmh3, versions from semver, networks from ipaddress, instants from datetime, patterns from re. The order
in which a flag decides is the one that shared/src/evaluate/mod.rs documents, written again here.
"""

import ipaddress
import json
import re
import sys
from datetime import datetime, timezone

import mmh3
import semver

NOW = 1_800_000_000_000
GATE_SEED, SPLIT_SEED = 0, 86_028_157
COHORT_SEED, LAYER_SEED, HOLDOUT_SEED = 104_729, 224_737, 350_377
MILLION = 1_000_000


class NoUnit(Exception):
    """The deciding step needs a unit and there is none."""


class LeftToChance(Exception):
    """The answer depends on luck, so it is no vector."""


# --- conditions -----------------------------------------------------------------------------------------------------

def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def same(left, right):
    """Equal as JSON values: numbers by value, everything else by type and value."""
    if is_number(left) and is_number(right):
        return left == right
    return type(left) is type(right) and left == right


def millis(value):
    if isinstance(value, str):
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
        delta = moment - datetime(1970, 1, 1, tzinfo=timezone.utc)
        return (delta.days * 86_400 + delta.seconds) * 1_000 + delta.microseconds // 1_000
    if is_number(value) and value == int(value):
        return int(value)
    raise ValueError(value)


def version(value):
    if not isinstance(value, str):
        raise ValueError(value)
    return semver.Version.parse(value)


def address(value):
    if not isinstance(value, str):
        raise ValueError(value)  # ipaddress would take a number for an address
    found = ipaddress.ip_address(value)
    return getattr(found, "ipv4_mapped", None) or found


def texts(test):
    def matches(value, condition):
        if not isinstance(value, str):
            return False
        fold = str.lower if condition.get("ignore_case") else str
        return any(test(fold(value), fold(wanted)) for wanted in condition["values"])
    return matches


def ordered(read, test):
    def matches(value, condition):
        try:
            return any(test(read(value), read(wanted)) for wanted in condition["values"])
        except ValueError:
            return False
    return matches


def number(value):
    if not is_number(value):
        raise ValueError(value)
    return float(value)


def matches_pattern(value, condition):
    flags = re.ASCII | (re.IGNORECASE if condition.get("ignore_case") else 0)
    return isinstance(value, str) and any(re.search(p, value, flags) for p in condition["values"])


def is_equal(value, condition):
    if condition.get("ignore_case"):
        return texts(lambda left, right: left == right)(value, condition)
    return any(same(value, wanted) for wanted in condition["values"])


def in_cidr(value, condition):
    try:
        found = address(value)
    except ValueError:
        return False
    networks = [ipaddress.ip_network(text, strict=False) for text in condition["values"]]
    return any(found.version == network.version and found in network for network in networks)


OPERATORS = {
    "in": is_equal,
    "contains": texts(lambda value, wanted: wanted in value),
    "starts_with": texts(str.startswith),
    "ends_with": texts(str.endswith),
    "less_than": ordered(number, lambda a, b: a < b),
    "at_most": ordered(number, lambda a, b: a <= b),
    "greater_than": ordered(number, lambda a, b: a > b),
    "at_least": ordered(number, lambda a, b: a >= b),
    "before": ordered(millis, lambda a, b: a < b),
    "after": ordered(millis, lambda a, b: a > b),
    "semver_equal": ordered(version, lambda a, b: a.compare(b) == 0),
    "semver_less_than": ordered(version, lambda a, b: a.compare(b) < 0),
    "semver_greater_than": ordered(version, lambda a, b: a.compare(b) > 0),
    "semver_at_least": ordered(version, lambda a, b: a.compare(b) >= 0),
    "semver_at_most": ordered(version, lambda a, b: a.compare(b) <= 0),
    "in_cidr": in_cidr,
    "matches": matches_pattern,
    "exists": lambda value, condition: True,
    "contains_any": lambda value, condition: isinstance(value, list)
    and any(same(element, wanted) for element in value for wanted in condition["values"]),
    "contains_all": lambda value, condition: isinstance(value, list)
    and all(any(same(element, wanted) for element in value) for wanted in condition["values"]),
}


# --- evaluation -----------------------------------------------------------------------------------------------------

class Asked:
    """One question to one environment."""

    def __init__(self, environment, context, now=NOW, stale=False):
        self.flags = {flag["key"]: flag for flag in environment["flags"]}
        shared = environment.get("shared", {})
        self.segments = {segment["key"]: segment for segment in shared.get("segments", [])}
        self.layers = {layer["key"]: layer for layer in shared.get("layers", [])}
        self.holdout = shared.get("holdout")
        self.context, self.now, self.stale = context, now, stale
        self.buckets = []

    def unit(self, attribute):
        value = self.context.get(attribute)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, int) and not isinstance(value, bool) and attribute != "targetingKey":
            return str(value)
        return None

    def native(self, step, salt, attribute, seed=GATE_SEED):
        unit = self.unit(attribute)
        if unit is None:
            raise NoUnit(attribute)
        bucket = mmh3.hash(f"{salt}:{unit}", seed, signed=False) % MILLION
        self.buckets.append([step, bucket])
        return bucket

    def in_segment(self, key):
        segment = self.segments[key]
        unit = self.unit(segment.get("attribute", "targetingKey"))
        if unit in segment.get("excluded", []):
            return False
        rules = segment.get("rules", [])
        return unit in segment.get("included", []) or any(
            all(self.holds(condition) for condition in rule["conditions"]) for rule in rules
        )

    def holds(self, condition):
        if condition["op"] == "in_segment":
            found = any(self.in_segment(key) for key in condition["values"])
        else:
            value = self.context.get(condition["attribute"])
            if value is None and condition["attribute"] == "currentTime":
                value = self.now
            found = value is not None and OPERATORS[condition["op"]](value, condition)
        return found != condition.get("negate", False)

    def within(self, schedule):
        return schedule is None or schedule.get("from_ms", 0) <= self.now < schedule.get("until_ms", 2**64)

    def sticky(self, stickiness, fallbacks):
        if stickiness == "random":
            raise LeftToChance
        names = ["targetingKey", *fallbacks] if stickiness == "default" else [stickiness]
        for name in names:
            value = self.context.get(name)
            if isinstance(value, bool):
                return "true" if value else "false"
            if is_number(value) and name != "targetingKey":
                return str(int(value)) if value == int(value) else str(value)
            if isinstance(value, str) and value:
                return value
        if stickiness == "default":
            raise LeftToChance
        return None

    def passes_unleash(self, gate):
        if gate["percent"] == 100 and gate["stickiness"] in ("default", "random"):
            try:
                text = self.sticky(gate["stickiness"], ["sessionId"])
            except LeftToChance:
                self.buckets = None  # any bucket passes, and which one it is does not matter
                return True
        else:
            text = self.sticky(gate["stickiness"], ["sessionId"])
        if text is None:
            self.buckets.append(["gate", None])
            return False
        bucket = mmh3.hash(f"{gate['group']}:{text}", GATE_SEED, signed=False) % 100 + 1
        self.buckets.append(["gate", bucket])
        return bucket <= gate["percent"]

    def passes(self, flag, rule):
        lane = rule.get("unleash", {})
        if "gate" in lane:
            return self.passes_unleash(lane["gate"])
        if "percentage" not in rule:
            return True
        below = round(rule["percentage"] * 10_000)
        salt, attribute = flag.get("salt", flag["key"]), flag.get("bucket_by", "targetingKey")
        if below in (0, MILLION) and self.unit(attribute) is None:
            self.buckets.append(["gate", None])
            return below > 0
        return self.native("gate", salt, attribute) < below

    def split(self, flag, rule):
        parts = [(part["variation"], part.get("weight", 1)) for part in rule["split"]]
        if len(parts) == 1:
            return parts[0][0], False
        total = sum(weight for _, weight in parts)
        lane = rule.get("unleash")
        live = {variation for variation, weight in parts if weight}
        if not lane and len(live) == 1:
            return live.pop(), False
        if lane:
            text = self.sticky(lane["split"]["stickiness"], ["sessionId", "remoteAddress"])
            if text is None:
                raise LeftToChance
            position = mmh3.hash(f"{lane['split']['group']}:{text}", SPLIT_SEED, signed=False) % total
            if self.buckets is not None:
                self.buckets.append(["split", position + 1])
        else:
            salt, attribute = flag.get("salt", flag["key"]), flag.get("bucket_by", "targetingKey")
            position = self.native("split", salt, attribute, SPLIT_SEED) * total // MILLION
        for variation, weight in parts:
            if position < weight:
                return variation, True
            position -= weight
        raise AssertionError("a position is below the sum of weights")

    def permitted(self, flag, variation):
        withheld = flag.get("cohort", {}).get("withheld", {})
        return withheld["instead"] if variation == withheld.get("variation") else variation

    def guarded(self, flag):
        """Schedule, staleness, prerequisites, targets; None when none of them decides."""
        off = flag.get("off_variation")
        if not flag.get("enabled", True) or not self.within(flag.get("schedule")):
            return {"variation": off, "reason": "DISABLED"}
        on_stale = flag.get("on_stale", "keep")
        if self.stale and on_stale != "keep":
            return {"variation": off if on_stale == "off" else flag["default_variation"], "reason": "STALE"}
        for prerequisite in flag.get("prerequisites", []):
            if self.served(prerequisite["flag"]) not in prerequisite["variations"]:
                return {"variation": off, "reason": "DISABLED"}
        attributes = []
        for target in flag.get("targets", []):
            attributes.append(target.get("attribute", flag.get("bucket_by", "targetingKey")))
        for attribute in dict.fromkeys(attributes):
            unit = self.unit(attribute)
            for target, named in zip(flag.get("targets", []), attributes):
                if named == attribute and unit in target["units"]:
                    return {"variation": self.permitted(flag, target["variation"]), "reason": "TARGETING_MATCH"}
        return None

    def served(self, key):
        try:
            return self.flag(key)["variation"]
        except NoUnit:
            return None

    def is_held_out(self, flag):
        if self.holdout is None or flag.get("holdout") == "exempt":
            return False
        try:
            bucket = self.native("holdout", self.holdout["salt"], self.holdout.get("bucket_by", "targetingKey"), HOLDOUT_SEED)
        except NoUnit:
            self.buckets.append(["holdout", None])
            return False
        return bucket < round(self.holdout["percentage"] * 10_000)

    def flag(self, key):
        flag = self.flags[key]
        guarded = self.guarded(flag)
        if guarded:
            return guarded
        default = flag["default_variation"]
        if self.is_held_out(flag):
            return {"variation": default, "reason": "SPLIT"}
        if share := flag.get("layer"):
            layer = self.layers[share["key"]]
            salt, attribute = layer.get("salt", layer["key"]), layer.get("bucket_by", "targetingKey")
            if not share["from"] <= self.native("layer", salt, attribute, LAYER_SEED) < share["to"]:
                return {"variation": default, "reason": "SPLIT"}
        for rule in flag.get("rules", []):
            if not self.within(rule.get("schedule")) or not all(map(self.holds, rule.get("conditions", []))):
                continue
            if not self.passes(flag, rule):
                continue
            variation, is_split = self.split(flag, rule)
            has_gate = "percentage" in rule or "gate" in rule.get("unleash", {})
            reason = "SPLIT" if is_split or has_gate else "TARGETING_MATCH"
            return {"variation": self.permitted(flag, variation), "reason": reason, "rule": rule["key"]}
        if cohort := flag.get("cohort"):
            bucket = self.native("cohort", flag.get("salt", key), flag.get("bucket_by", "targetingKey"), COHORT_SEED)
            for part in cohort["slices"]:
                if part["from"] <= bucket < part["to"]:
                    phase = part.get("phase", cohort["phase"])
                    return {"variation": part["variation"], "reason": "SPLIT", "arm": part["arm"], "phase": phase}
            return {"variation": default, "reason": "SPLIT"}
        guards = ("schedule", "prerequisites", "targets", "layer", "rules")
        return {"variation": default, "reason": "DEFAULT" if any(flag.get(g) for g in guards) else "STATIC"}


# --- families -------------------------------------------------------------------------------------------------------

ON_OFF = [{"key": "on", "value": True}, {"key": "off", "value": False}]
UNITS = [{"targetingKey": unit} for unit in ("user-1", "user-2", "user-3", "größe", "日本", "0", "a" * 37)]
MANY = [{"targetingKey": f"unit-{n}"} for n in range(40)]
DIFFERENT = [{}, {"targetingKey": ""}, {"targetingKey": None}, {"account": 42}, {"account": "acme", "targetingKey": "u"},
             {"account": 1.5, "targetingKey": "u"}, {"account": True, "targetingKey": "u"}]


def boolean(key, **fields):
    return {"key": key, "value_type": "boolean", "variations": ON_OFF, "default_variation": "off",
            "off_variation": "off", **fields}


def rule(key="r", split=("on",), **fields):
    parts = [{"variation": p} if isinstance(p, str) else {"variation": p[0], "weight": p[1]} for p in split]
    return {"key": key, "split": parts, **fields}


def tested(name, rows, attribute="a"):
    """One flag for each condition, each asked with each value."""
    conditions, values = rows
    flags = [boolean(f"{name}-{at:02}", rules=[rule(conditions=[{"attribute": attribute, **condition}])])
             for at, condition in enumerate(conditions)]
    return {"flags": flags, "asks": [{"context": {attribute: value}} for value in values] + [{"context": {}}]}


def asks(contexts, **fields):
    return [{"context": context, **fields} for context in contexts]


def letters(key, **fields):
    variations = [{"key": k, "value": k.upper()} for k in "abcd"]
    return {"key": key, "value_type": "string", "variations": variations, "default_variation": "d", **fields}


def native_families():
    yield "gate", "mmh3: hash(salt:unit, 0) % 1e6 < percentage * 1e4", {
        "flags": [boolean(f"gate-{p}", rules=[rule(percentage=p)])
                  for p in (0, 0.0001, 1, 12.5, 33.3333, 50, 66.6667, 99.9999, 100)]
        + [boolean("gate-account", salt="größe", bucket_by="account", rules=[rule(percentage=50)]),
           boolean("gate-then", rules=[rule("first", percentage=20), rule("second", split=("off",), percentage=60)])],
        "asks": asks(UNITS + MANY[:12] + DIFFERENT)}
    yield "split", "mmh3: hash(salt:unit, 86028157) % 1e6 * sum of weights // 1e6", {
        "flags": [letters("split-even", rules=[rule(split=tuple("abcd"))]),
                  letters("split-uneven", salt="s", rules=[rule(split=(("a", 1), ("b", 0), ("c", 3), ("d", 500)))]),
                  letters("split-thirds", rules=[rule(split=(("a", 333333), ("b", 333333), ("c", 333334)))]),
                  letters("split-sole", rules=[rule(split=(("a", 0), ("b", 7), ("c", 0)))]),
                  letters("split-gated", bucket_by="account", rules=[rule(split=tuple("abc"), percentage=50)])],
        "asks": asks(UNITS + MANY + DIFFERENT)}
    cohort = {"phase": 3, "slices": [
        {"from": 0, "to": 250_000, "variation": "on", "arm": "exposed", "phase": 2},
        {"from": 250_000, "to": 400_000, "variation": "on", "arm": "exposed"},
        {"from": 700_000, "to": 1_000_000, "variation": "off", "arm": "control"}]}
    withheld = {**cohort, "slices": cohort["slices"][2:], "withheld": {"variation": "on", "instead": "off"}}
    de = [{"attribute": "country", "op": "in", "values": ["DE"]}]
    yield "cohort", "mmh3 and the slices: from <= bucket < to; a withheld variation is served by neither rules nor targets", {
        "flags": [boolean("cohort", cohort=cohort), boolean("cohort-salt", salt="cohort", bucket_by="account", cohort=cohort),
                  boolean("cohort-rule", cohort=cohort, rules=[rule(conditions=de)]),
                  boolean("withheld", cohort=withheld, rules=[rule(conditions=de), rule("s", split=("on", "off"), percentage=30)],
                          targets=[{"variation": "on", "units": ["unit-3"]}])],
        "asks": asks(MANY + DIFFERENT + [{"targetingKey": "unit-1", "country": "DE"}, {"country": "DE"}])}


def unleash_families():
    def gate(percent, stickiness="default", group="g"):
        return rule(unleash={"gate": {"group": group, "stickiness": stickiness, "percent": percent}})

    def variants(stickiness="default", group="g", parts=(("a", 1), ("b", 1), ("c", 998))):
        return rule(split=parts, unleash={"split": {"group": group, "stickiness": stickiness}})

    sessions = [{"sessionId": "s1"}, {"sessionId": 7}, {"sessionId": 7.0}, {"sessionId": 1.5}, {"sessionId": True},
                {"sessionId": ""}, {"targetingKey": "u", "sessionId": "s1"}, {"remoteAddress": "10.0.0.1"}]
    yield "unleash_gate", "Unleash's documented stickiness with mmh3: hash(group:id, 0) % 100 + 1 <= percent", {
        "flags": [boolean(f"u-gate-{p}", rules=[gate(p)]) for p in (0, 1, 33, 50, 99, 100)]
        + [boolean("u-gate-session", rules=[gate(50, "sessionId", "größe")]),
           boolean("u-gate-empty-group", rules=[gate(50, "targetingKey", "")]), boolean("u-gate-all", rules=[gate(100, "random")])],
        "asks": asks(UNITS + MANY[:12] + DIFFERENT + sessions)}
    yield "unleash_variants", "Unleash's documented variants with mmh3: hash(group:id, 86028157) % sum of weights + 1", {
        "flags": [letters("u-split", rules=[variants()]), letters("u-split-session", rules=[variants("sessionId", "h")]),
                  letters("u-split-even", rules=[variants(parts=(("a", 333), ("b", 333), ("c", 334)))]),
                  letters("u-split-first", rules=[variants(parts=(("a", 1), ("b", 0), ("c", 0)))])],
        "asks": asks(UNITS + MANY + sessions)}


def shared_families():
    layers = [{"key": "l1"}, {"key": "l2", "salt": "other", "bucket_by": "account"}]
    yield "layer", "mmh3: hash(layer's salt:unit, 0) % 1e6 within [from, to)", {
        "shared": {"layers": layers},
        "flags": [boolean("in-first-half", layer={"key": "l1", "from": 0, "to": 500_000}, rules=[rule()]),
                  boolean("in-second-half", layer={"key": "l1", "from": 500_000, "to": 1_000_000}, rules=[rule()]),
                  boolean("by-account", layer={"key": "l2", "from": 100_000, "to": 700_000})],
        "asks": asks(MANY[:20] + DIFFERENT + [{"targetingKey": "u", "account": n} for n in range(12)])}
    for name, percentage, by in (("holdout", 30, None), ("holdout_by", 50, "account")):
        holdout = {"percentage": percentage, "salt": "hold", **({"bucket_by": by} if by else {})}
        yield name, "mmh3: hash(holdout's salt:unit, 0) % 1e6 < percentage * 1e4", {
            "shared": {"holdout": holdout},
            "flags": [boolean("member", rules=[rule()]), boolean("plain"), boolean("exempt", holdout="exempt", rules=[rule()]),
                      boolean("targeted", rules=[rule()], targets=[{"variation": "on", "units": ["unit-1", "unit-2"]}])],
            "asks": asks(MANY[:20] + DIFFERENT + [{"account": n} for n in range(12)])}
    is_de = {"attribute": "country", "op": "in", "values": ["DE"]}
    segments = [
        {"key": "listed", "included": ["user-1", "user-2"], "excluded": ["user-2"]},
        {"key": "germans", "excluded": ["user-3"], "rules": [{"conditions": [is_de]}]},
        {"key": "accounts", "attribute": "account", "included": ["acme", "42"]},
        {"key": "nested", "rules": [{"conditions": [{"op": "in_segment", "values": ["germans"]},
                                                   {"op": "in_segment", "values": ["listed"], "negate": True}]}]},
        {"key": "everybody", "rules": [{"conditions": []}]}, {"key": "nobody"}]
    named = [["listed"], ["germans"], ["accounts"], ["nested"], ["everybody"], ["nobody"], ["listed", "accounts"]]
    flags = [boolean(f"in-{at}-{negate}", rules=[rule(conditions=[{"op": "in_segment", "values": keys, "negate": negate}])])
             for at, keys in enumerate(named) for negate in (False, True)]
    yield "segment", "set arithmetic: excluded beats included, included beats rules", {
        "shared": {"segments": segments}, "flags": flags,
        "asks": asks(UNITS[:4] + DIFFERENT + [{"targetingKey": f"user-{n}", "country": "DE"} for n in range(1, 5)])}


def guard_families():
    targets = [{"variation": "a", "units": ["user-1", "größe"]}, {"variation": "b", "units": ["42", "acme"], "attribute": "account"},
               {"variation": "c", "units": ["user-2"]}]
    yield "target", "membership in the lists, attribute by attribute in the order they are named", {
        "flags": [letters("targets", targets=targets), letters("targets-ruled", targets=targets, rules=[rule(split=("b",))]),
                  letters("targets-account", bucket_by="account", targets=targets[:1] + [{"variation": "c", "units": ["acme"]}])],
        "asks": asks(UNITS + DIFFERENT + [{"targetingKey": "user-1", "account": "acme"}, {"account": "user-1"}])}
    is_de = [{"attribute": "country", "op": "in", "values": ["DE"]}]
    need = lambda flag, *variations: [{"flag": flag, "variations": list(variations)}]
    yield "prerequisite", "the other flag's own answer, recursively; off, an error and a missing variation do not meet it", {
        "flags": [boolean("base", rules=[rule(conditions=is_de)]), boolean("half", rules=[rule(percentage=50)]),
                  boolean("dark", enabled=False), {**boolean("void", enabled=False), "off_variation": None},
                  boolean("needs-base", prerequisites=need("base", "on"), rules=[rule()]),
                  boolean("needs-not-base", prerequisites=need("base", "off"), rules=[rule()]),
                  boolean("needs-either", prerequisites=need("base", "on", "off"), rules=[rule()]),
                  boolean("needs-half", prerequisites=need("half", "on"), rules=[rule()]),
                  boolean("needs-dark", prerequisites=need("dark", "off")), boolean("needs-void", prerequisites=need("void", "off")),
                  boolean("chain", prerequisites=need("needs-base", "on") + need("needs-half", "on"), rules=[rule()])],
        "asks": asks(MANY[:10] + [{}] + [{"targetingKey": f"unit-{n}", "country": "DE"} for n in range(10)])}
    moments = [0, NOW - 1, NOW, NOW + 1, NOW + 1_000]
    yield "schedule", "from_ms <= now < until_ms", {
        "flags": [boolean("flag-from", schedule={"from_ms": NOW}, rules=[rule()]),
                  boolean("flag-until", schedule={"until_ms": NOW}, default_variation="on"),
                  boolean("flag-between", schedule={"from_ms": NOW, "until_ms": NOW + 1}, default_variation="on"),
                  boolean("rule-between", rules=[rule("early", schedule={"until_ms": NOW}), rule("late", split=("off",))]),
                  boolean("time-after", rules=[rule(conditions=[{"attribute": "currentTime", "op": "after", "values": [NOW]}])]),
                  boolean("time-before", rules=[rule(conditions=[
                      {"attribute": "currentTime", "op": "before", "values": ["2027-01-15T08:00:00Z"]}])])],
        "asks": [{"context": context, "now_ms": now} for now in moments for context in ({}, {"currentTime": NOW + 5})]}
    yield "stale", "the documented order: off and schedule before on_stale, on_stale before everything else", {
        "flags": [boolean(f"stale-{how}", on_stale=how, default_variation="on", rules=[rule(split=("off",))])
                  for how in ("keep", "default", "off")]
        + [{**boolean("stale-void", on_stale="off"), "off_variation": None},
           boolean("stale-disabled", on_stale="default", enabled=False, default_variation="on")],
        "asks": asks([{}, {"targetingKey": "u"}], freshness="stale") + asks([{}])}
    yield "value", "the value as written; a float always shows a decimal point", {
        "flags": [boolean("plain-boolean"), boolean("disabled", enabled=False, default_variation="on"),
                  {**boolean("disabled-void", enabled=False), "off_variation": None}]
        + [{"key": f"{kind}-{at}", "value_type": kind, "variations": [{"key": "v", "value": value}], "default_variation": "v"}
           for kind, values in (("string", ["", "größe \"\\\n\u0001😀"]), ("integer", [0, -1, 9_007_199_254_740_993, 2**64 - 1]),
                                ("float", [0.1, 1.0, 1e300, -0.5]), ("object", [{"z": [1, None], "a": {}}, [], [[1.5]]]))
           for at, value in enumerate(values)],
        "asks": asks([{}, {"targetingKey": "u", "extra": [None, {"a": 1}]}])}


def condition_families():
    def op(name, *values, **fields):
        return {"op": name, "values": list(values), **fields}

    versions = ["1.0.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-rc.1", "1.0.0+build", "1.2.3", "2.0.0", "10.0.0",
                "1.2", "v1.0.0", "01.0.0", 1, None, "1.0.0-", "99999999999999999999.0.0"]
    relations = ["equal", "less_than", "greater_than", "at_least", "at_most"]
    yield "semver", "semver 3.1.1 for Python", tested("semver", (
        [op(f"semver_{relation}", bound) for relation in relations for bound in ("1.0.0", "1.0.0-alpha.1", "1.2.3")]
        + [op("semver_equal", "1.0.0", "2.0.0", negate=True)], versions))
    instants = ["2027-01-15T08:00:00Z", "2027-01-15T08:00:00.001Z", "2027-01-15T09:00:00+01:00", "2027-01-15T07:59:59.999Z",
                "1969-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", NOW, NOW - 1, NOW + 1, 0, -1, True, None]
    yield "date", "CPython: datetime.fromisoformat - 1970-01-01", tested("date", (
        [op(side, bound) for side in ("before", "after") for bound in ("2027-01-15T08:00:00Z", NOW, 0, "2027-01-15T09:00:00.001+01:00")]
        + [op("after", NOW, negate=True)], instants))
    addresses = ["10.1.2.3", "10.255.255.255", "11.0.0.0", "192.168.1.1", "::1", "2001:db8::1", "2001:DB8:0:0::2", "::ffff:10.1.2.3",
                 "10.1.2", "example.org", "", 10, None]
    yield "cidr", "CPython: ip_address(a) in ip_network(n), IPv4-mapped addresses as the IPv4 address they carry", tested("cidr", (
        [op("in_cidr", network) for network in ("10.0.0.0/8", "10.1.2.3", "10.1.2.2/31", "0.0.0.0/0", "::1/128", "2001:db8::/32")]
        + [op("in_cidr", "192.168.0.0/16", "::/0"), op("in_cidr", "10.0.0.0/8", negate=True)], addresses))
    words = ["", "a", "abc", "ABC", "a@x.io", "größe", "GRÖSSE", "ΟΔΟΣ", "οδος", "日本語", "x y", 1, True, None, ["abc"]]
    yield "regex", "CPython: re.search with re.ASCII", tested("regex", (
        [op("matches", p) for p in ("^a", "c$", "^[A-Z]+$", "@x\\.io$", "(?:b|d)", "\\bx\\b", "^\\s*$", "ö.e", "^.{3}$", "\\d")]
        + [op("matches", "^abc$", ignore_case=True), op("matches", "q", "^a", negate=True)], words))
    yield "text", "CPython: str methods, str.lower where case does not matter", tested("text", (
        [op(name, needle) for name in ("contains", "starts_with", "ends_with") for needle in ("a", "ß", "語", "")]
        + [op("contains", "GRÖ", ignore_case=True), op("ends_with", "ΔΟΣ", ignore_case=True), op("starts_with", "q", "A", ignore_case=True),
           op("in", "abc", "größe"), op("in", "Abc", ignore_case=True), op("in", "abc", negate=True)], words))
    numbers = [0, -0.0, 1, 1.0, 1.5, 17, 18, 19, -1, 0.1, 0.30000000000000004, 1e300, 9_007_199_254_740_992, 9_007_199_254_740_993.0,
               2**64 - 1, "18", True, None]
    yield "number", "CPython: float comparison", tested("number", (
        [op(name, bound) for name in ("less_than", "at_most", "greater_than", "at_least", "in") for bound in (18, 0, 0.3, 1e300)]
        + [op("greater_than", 18, negate=True), op("in", 1, "18", True)], numbers))
    arrays = [[], ["a"], ["a", "b"], ["b", 1], [1.0], [True], [None, "a"], [["a"]], ["A"], "a", 1, {"a": 1}, None]
    yield "array", "CPython: any and all over JSON equality", tested("array", (
        [op(name, *wanted) for name in ("contains_any", "contains_all") for wanted in (("a",), ("a", "b"), (1,), (True, 1), ("c",))]
        + [op("contains_any", "a", negate=True)], arrays))
    yield "exists", "present and not null", tested("exists", ([op("exists"), op("exists", negate=True)], [False, 0, "", [], {}, None]))


def answers(family, ask):
    for flag in family["flags"]:
        asked = Asked(family, ask["context"], ask.get("now_ms", NOW), ask.get("freshness") == "stale")
        try:
            found = asked.flag(flag["key"])
        except NoUnit as missing:
            yield {"flag": flag["key"], "unit_missing": str(missing)}
            continue
        except LeftToChance:
            continue
        if asked.buckets is None or asked.buckets:
            found["buckets"] = asked.buckets
        yield {"flag": flag["key"], **found}


def main():
    write = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    lines, counts = [], {}
    for families in (native_families, unleash_families, shared_families, guard_families, condition_families):
        for name, source, family in families():
            rows = [{**ask, "answers": list(answers(family, ask))} for ask in family["asks"]]
            counts[name] = sum(len(row["answers"]) for row in rows)
            head = f'{{"name":{write(name)},"source":{write(source)},"shared":{write(family.get("shared", {}))},"flags":[\n'
            flags, asks = (",\n".join(map(write, entries)) for entries in (family["flags"], rows))
            lines.append(head + flags + '\n],"asks":[\n' + asks + "\n]}")
    generator = "make_evaluation.py on CPython 3.11.7 with mmh3 5.3.1 and semver 3.1.1"
    print(f'{{"generator":{write(generator)},"families":[\n' + ",\n".join(lines) + "\n]}")
    print(sum(counts.values()), counts, file=sys.stderr)


main()
