"""What a page must be, and what is found of it that isn't so."""

import json
from pathlib import Path

# `text` in pixels; the contrasts are those of WCAG 2.1 §1.4.3 (text) and §1.4.11 (lines of a plot).
LIMITS = {"text": 11, "contrast": 4.5, "line": 3}
SCRIPT = (Path(__file__).parent / "inspection.js").read_text()
# What the accessibility tree calls a drawing or a plot.
DRAWINGS = {"image", "img", "figure", "SvgRoot", "graphics-document", "graphics-object", "Canvas"}
# What it calls that which is operated.
CONTROLS = {"button", "link", "textbox", "combobox", "spinbutton", "radio", "radiogroup", "region", "dialog"}


def inspect_page(page):
    """Findings, each with its kind, what was found and what is allowed."""
    limits = {**LIMITS, "width": page.width, "scheme": page.scheme}
    drawn = page.evaluate(f"({SCRIPT})({json.dumps(limits)})")
    return [*find_requests(page), *find_messages(page), *drawn, *find_unnamed(page)]


def finding(kind, found, allowed):
    return {"kind": kind, "found": found, "allowed": allowed}


def find_requests(page):
    for event in page.events("Network.requestWillBeSent"):
        address = event["request"]["url"]
        # A page that is served may ask its own listener, whose address ends with a slash.
        is_own = address == page.address or page.address.endswith("/") and address.startswith(page.address)
        if not is_own:
            yield finding("request", f"asks for {address[:200]}", "the file alone, or its own listener")
    for event in page.events("Network.webSocketCreated") + page.events("Network.webTransportCreated"):
        yield finding("request", f"connects to {event['url'][:200]}", "the file alone")


def find_messages(page):
    """A page without a script has nothing to say in the console."""
    for event in page.events("Log.entryAdded"):
        entry = event["entry"]
        if entry["level"] in ("warning", "error"):
            yield finding("console", f"{entry['level']}: {entry['text'][:200]}", "nothing in the console")
    for event in page.events("Runtime.consoleAPICalled"):
        words = " ".join(str(one.get("value", one.get("description"))) for one in event["args"])
        yield finding("console", f"{event['type']}: {words[:200]}", "nothing in the console")
    for event in page.events("Runtime.exceptionThrown"):
        details = event["exceptionDetails"]
        text = details.get("exception", {}).get("description", details["text"])
        yield finding("exception", text[:200], "no exception")


def find_unnamed(page):
    """Every drawing, every plot and every control has a name for those who don't see it, or is hidden from them as a mere ornament."""
    for node in page.send("Accessibility.getFullAXTree")["nodes"]:
        role = node.get("role", {}).get("value")
        if node["ignored"] or role not in DRAWINGS | CONTROLS or str(node.get("name", {}).get("value") or "").strip():
            continue
        element = page.send("DOM.describeNode", backendNodeId=node["backendDOMNodeId"], depth=1)["node"]
        # HTML-AAM names a figure by its caption; Chromium leaves that to screen readers.
        if role == "figure" and any(child["localName"] == "figcaption" for child in element.get("children", [])):
            continue
        attributes = " ".join(element.get("attributes", []))
        yield finding("name", f"<{element['localName']}> {attributes[:60]} ({role}) has no name", "an accessible name")
