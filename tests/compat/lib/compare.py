"""Compares what came directly with what came through Tidegate. Every difference that may be is in allowed.json."""

import json
import re
from collections import defaultdict
from pathlib import Path

ALLOWED = json.loads((Path(__file__).resolve().parent.parent / "allowed.json").read_text())
used = set()


def rules(kind):
    return list(enumerate(ALLOWED[kind]))


def allowed(kind, name, difference, state, status=None):
    """Whether the list allows that the lines of this name differ in this way (`added`, `missing`, `value`)."""
    for index, rule in rules(kind):
        fits = rule.get("name") in (name, "*") and difference in rule.get("differences", ())
        if fits and rule.get("when", state) == state and rule.get("status", status) == status:
            used.add((kind, index))
            return True
    return False


def members(value):
    """A JSON value of an SDK, less the members that each run makes anew."""
    names = {rule["name"] for _, rule in rules("sdk")}
    if isinstance(value, dict):
        return {name: members(one) for name, one in value.items() if name not in names}
    return [members(one) for one in value] if isinstance(value, list) else value


def masked(kind, name, value):
    for index, rule in rules(kind):
        if rule.get("name") == name and "mask" in rule:
            value, count = re.subn(rule["mask"], rule.get("with", "…"), value)
            if count:
                used.add((kind, index))
    return value


def by_name(kind, lines):
    table = defaultdict(list)
    for name, value in lines:
        table[name].append(masked(kind, name, value))
    return table


def headers(kind, direct, through, state="always", status=None):
    """What differs between two lists of header lines and isn't allowed."""
    direct, through = by_name(kind, direct), by_name(kind, through)
    found = []
    for name in sorted({*direct, *through}):
        ours, theirs = through.get(name), direct.get(name)
        if ours == theirs:
            continue
        difference = "missing" if ours is None else "added" if theirs is None else "value"
        if not allowed(kind, name, difference, state, status):
            found.append(f"{name}: directly {theirs}, through {ours}")
    return found


def answers(direct, through, own=False):
    """What differs between two answers and isn't allowed. `own`: Tidegate answers this one without a header that says so."""
    state = "acknowledged" if own or through.acknowledged else "forwarded"
    if direct.status != through.status:
        return [f"status: directly {direct.status} {direct.body[:80]!r}, through {through.status} {through.body[:200]!r}"]
    if direct.body != through.body and not same_json(direct, through, state):
        return [f"body: directly {direct.body[:160]!r}, through {through.body[:160]!r}"]
    return headers("answers", direct.headers, through.headers, state, through.status)


def same_json(direct, through, state):
    try:
        same = json.loads(direct.body) == json.loads(through.body)
    except ValueError:
        return False
    return same and allowed("answers", "(body)", "spelling", state)


def calls(direct, through):
    """What differs between the calls that the application saw."""
    found = []
    if len(direct) != len(through):
        found.append(f"calls at the application: directly {len(direct)}, through {len(through)}")
    for ours, theirs in zip(through, direct):
        name = f"{theirs['method']} {theirs['target']}"
        for part in ("method", "target", "body"):
            if ours[part] != theirs[part]:
                found.append(f"{name}: {part} as the application saw it: directly {theirs[part]}, through {ours[part]}")
        found += [f"{name}: as the application saw it: {one}" for one in headers("requests", theirs["headers"], ours["headers"])]
    return found


def row(row):
    """A stored event less what the list allows to differ."""
    context = {}
    for name, value in row["context"].items():
        if any(rule.get("name") == name and "value" in rule.get("differences", ()) for _, rule in rules("context")):
            continue
        if isinstance(value, dict):
            value = {key: masked("context", f"{name}.{key}", one) for key, one in value.items()}
        context[name] = masked("context", name, value) if isinstance(value, str) else value
    return {"id": row["id"], "user": row["user"], "fields": row["fields"], "context": context}


def stores(direct, through, order=lambda row: row["user"]):
    """What differs between two stores: the events, how each arrived, and each user's order."""
    found = []
    theirs = {one["id"]: row(one) for one in direct["rows"]}
    ours = {one["id"]: row(one) for one in through["rows"]}
    for name, keys in (("lost", theirs.keys() - ours.keys()), ("too many", ours.keys() - theirs.keys())):
        if keys:
            found.append(f"events {name}: {len(keys)}, such as {sorted(keys)[:5]}")
    unequal = defaultdict(list)
    for key in theirs.keys() & ours.keys():
        one, other = theirs[key], ours[key]
        for part in ("user", "fields"):
            if json.dumps(one[part], sort_keys=True) != json.dumps(other[part], sort_keys=True):
                unequal[part].append(f"{key}: directly {one[part]}, through {other[part]}")
        for name in sorted({*one["context"], *other["context"]}):
            if one["context"].get(name) != other["context"].get(name):
                unequal[f"context {name}"].append(f"{key}: directly {one['context'].get(name)!r}, through {other['context'].get(name)!r}")
    for part, all in unequal.items():
        found.append(f"{part} of {len(all)} events, such as {min(all)[:300]}")
    owners = {one["id"]: order(one) for one in direct["rows"] if one["id"] in ours}
    for who in sorted(set(owners.values())):
        sequence = [key for key, owner in owners.items() if owner == who]
        arrived = [one["id"] for one in through["rows"] if owners.get(one["id"]) == who]
        if sequence != arrived:
            found.append(f"order of {who}: directly {sequence[:12]}, through {arrived[:12]}")
    for part in ("deleted", "docs"):
        if direct[part] != through[part]:
            found.append(f"{part}: directly {direct[part]}, through {through[part]}")
    return found
