"""Reports as long and as full as they can get, made of real ones: for names and numbers that break a layout."""

import copy
import math

LONG = "POST /api/organisations/{organisation}/courses/{course}/lessons/{lesson}/progress-with-a-long-name"
UNBROKEN = "x" * 48
MANY = 123_456_789


def fill_observe(report):
    """A recommendation, an hour of minutes, one user in a thousand, long names; and a group that has hardly anything."""
    full = copy.deepcopy(report)
    full |= {"seconds": 90_061, "shed": MANY, "one_in": 1_024, "users": 10_000, "error_percent": 12.3}
    full["splits"] = [{"part": f"header:x-{UNBROKEN}", "calls": MANY}, {"part": "cookie:_ab_variant", "calls": 7}]
    group = full["groups"][0]
    group |= {"group": f"group-{UNBROKEN}", "calls": MANY, "seconds": 86_399}
    for place, route in enumerate(group["routes"]):
        route |= {"route": f"{LONG}-{place}", "calls": MANY}
        route["declined"] = {"missing_field": MANY, "too_large_for_batch": 12_345, "content_type": 1}
    for one in group["arrangements"]:
        factor = {"user": 1, "shared": 40}[one["pack"]] * (2 if one["full"] else 1)
        batches = max(1, MANY // 100 // (factor * one["window_ms"] // 1_000 + 1))
        one |= {"batches": batches, "sent": MANY // 100, "superseded": 0}
        one |= {"wait_p50_ms": one["window_ms"] // 2, "wait_p95_ms": one["window_ms"], "wait_longest_ms": one["window_ms"]}
    newest = [one | {"keep": "newest", "superseded": MANY} for one in group["arrangements"] if one["pack"] == "user"]
    group["arrangements"] += newest
    group["minutes"] = [minute(ago) for ago in range(59, -1, -1)]
    group["advice"] = {
        "arrangement": group["arrangements"][0],
        "why": ["A window of 10 s saves 12,345,678 of 123,456,789 calls, and goes on in a sentence as long as they get."] * 3,
        "toml": f'[batch."group-{UNBROKEN}"]\nwindow = "10s"\nflush_at = 25          # at most max_events, so that a batch is full\n',
    }
    scarce = copy.deepcopy(report["groups"][0])
    scarce |= {"calls": 1, "events": 1, "duplicates": 0, "declined": 0, "minutes": scarce["minutes"][-1:]}
    full["groups"].append(scarce)
    return full


def minute(ago):
    calls = 40_000 + int(9_000 * math.sin(ago / 7))
    return {"ago": ago, "calls": calls, "after_configured": calls // 3, "after_advised": calls // 9}


def fill_parity(report):
    """Every verdict, long names and places, many kinds with five examples, states that differ."""
    full = copy.deepcopy(report)
    full |= {"seconds": 90_061, "target": f"http://staging.{UNBROKEN}.example:65535"}
    verdicts = ("go", "no_go", "not_yet")
    full["routes"] = [copy.deepcopy(full["routes"][place % len(full["routes"])]) for place in range(3)]
    for route, verdict in zip(full["routes"], verdicts):
        route |= {"route": LONG, "group": f"group-{UNBROKEN}", "calls": MANY, "compared": MANY, "shed": MANY}
        route["verdict"] = {"decision": verdict, "why": [f"{MANY} events were compared, and this sentence is a long one."] * 3}
        route |= {"rate": 0.0123, "rate_low": 0.00001, "rate_high": 1.0}
        counts = {f"/data/results/*/{UNBROKEN}/{name}": MANY for name in "abc"} | {"other": 1}
        route |= {"missed": counts, "refused": counts, "declined": counts, "silent": {"server_error": MANY, "late": 1}}
        route["statuses"] = {str(status): MANY // status for status in range(200, 232)}
        route["left_out"] = [{"place": place, "what": "number", "answers": count} for place, count in counts.items()]
        example = {"event": f"e-{UNBROKEN}", "place": f"/data/results/*/{UNBROKEN}", "batched": "text of 1,234 letters", "single": "nothing"}
        kinds = ("ack_missing_key", "taken_by_batch_only", "broken_contract", "order", "state")
        route["kinds"] = [{"kind": kind, "events": MANY, "places": counts, "examples": [example] * 5} for kind in kinds]
        for times in ("single", "batch", "waited"):
            route[times] = {"count": MANY, "p50_us": 999, "p95_us": 99_999, "longest_us": 600_000_000}
    counts = full["routes"][0]["missed"]
    state = {"path": f"{LONG}?userId={{user}}", "checks": MANY, "differing": 12, "places": counts, "left_out": counts, "examples": [example]}
    full["states"] = [state]
    return full
