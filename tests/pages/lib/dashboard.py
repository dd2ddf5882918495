"""The live dashboard in the browser: read, and used as an operator does."""

from chromium import Page
from inspection import inspect_page
from scene import Guard


def wait_until_live(page):
    page.wait_until('document.getElementById("link").textContent === "Live"', "the page is live")
    page.wait_until("document.querySelectorAll('#plots path.line[d]').length > 0", "the plots are drawn")


def expect(findings, kind, condition, found, allowed):
    if not condition:
        findings.append({"kind": kind, "found": found, "allowed": allowed})


def replay_by_click(page, scene, findings):
    """The flaw is mended, and a dead letter goes back by two clicks."""
    expect(findings, "markup", page.evaluate("document.title") == "Tidegate", "an id became markup", "text")
    expect(findings, "markup", page.evaluate("document.querySelectorAll('#letters img').length") == 0, "an id became markup", "text")
    scene.application.is_mended = True
    page.click("[aria-label='Replay flawed-7f3a']")
    page.wait_until("document.getElementById('ask').open", "the question before a replay")
    expect(findings, "asks", scene.count_letters() == 2, "replayed without an answer", "a question first")
    findings += inspect_page(page)
    page.click("#ask-yes")
    page.wait_until("!document.getElementById('ask').open", "the answer is taken")
    page.wait_until("document.querySelectorAll('#letters tr').length === 1", "the letter leaves the list")
    scene.wait_for(lambda status: status["dead_letters"]["kept"] == 1, "one dead letter")


def change_mode_by_keyboard(page, scene, findings):
    """By Tab, Enter and arrows alone; Escape changes nothing."""
    path = "/api/analytics"
    focus = "document.activeElement"
    page.evaluate(f"{focus}.blur()")
    for _ in range(60):
        page.press("Tab")
        if page.evaluate(f"{focus}.getAttribute('aria-label') === 'Change POST {path}'"):
            break
    outline = page.evaluate(f"getComputedStyle({focus}).outlineStyle")
    expect(findings, "focus", outline != "none", "focus can't be seen", "an outline")
    page.press("Enter", "\r")
    page.wait_until("document.getElementById('mode').open", "the dialog of a route, opened by Enter")
    findings += inspect_page(page)
    page.press("Escape")
    page.wait_until("!document.getElementById('mode').open", "the dialog, closed by Escape")
    expect(findings, "asks", scene.mode_of(path) == "coalesce", "Escape changed the mode", "no change")
    page.press("Enter", "\r")
    page.wait_until("document.getElementById('mode').open && document.activeElement.id === 'mode-name'", "focus in the dialog")
    page.press("ArrowUp")
    page.press("ArrowUp")
    page.wait_until(f"{focus}.value === 'observe'", "the mode, chosen by arrows")
    for _ in range(3):
        page.press("Tab")
    page.wait_until(f"{focus}.id === 'mode-yes'", "the button, reached by Tab")
    page.press("Enter", "\r")
    page.wait_until("!document.getElementById('mode').open", "the change is taken")
    page.wait_until(f"[...document.querySelectorAll('#routes tr')].some((row) => row.textContent.includes('{path}') && row.cells[1].textContent === 'observe')", "the page shows the new mode")
    expect(findings, "mode", scene.mode_of(path) == "observe", f"mode {scene.mode_of(path)}", "observe")


def survive_restart(page, scene, findings):
    """Says that the connection is lost, and is live again when the listener is."""
    findings += inspect_page(page)
    before = len(page.events("Log.entryAdded"))
    scene.stop()
    page.wait_until("!document.getElementById('lost').hidden", "the page says that the connection is lost")
    findings += [one for one in inspect_page(page) if one["kind"] != "console"]
    scene.start()
    wait_until_live(page)
    page.wait_until("document.getElementById('lost').hidden", "the notice goes")
    page.wait_until("document.querySelectorAll('#letters tr').length === 1", "the dead letter is there after the restart")
    # The browser itself says that there is no listener; the page says nothing.
    said = [one["entry"] for one in page.events("Log.entryAdded")[before:]]
    odd = [entry["text"] for entry in said if entry["level"] in ("warning", "error") and entry["source"] != "network"]
    expect(findings, "console", not odd, str(odd)[:200], "nothing in the console")


def use_page(browser, scene):
    """All that an operator does, in one page; what is found."""
    findings = []
    with Page(browser, scene.address, 1_280, "light") as page:
        wait_until_live(page)
        page.wait_until("document.querySelectorAll('#letters tr').length === 2", "both dead letters are listed")
        replay_by_click(page, scene, findings)
        change_mode_by_keyboard(page, scene, findings)
        survive_restart(page, scene, findings)
    return findings


def give_token(browser, scene):
    """The page asks for the token that its listener wants, keeps it for the tab, and goes on; what is found."""
    findings = []
    with Guard(scene.admin) as guard, Page(browser, guard.address, 1_280, "light") as page:
        page.wait_until("document.getElementById('token').open", "the question for the token")
        findings += [one for one in inspect_page(page) if one["kind"] != "console"]
        page.click("#token-value")
        page.send("Input.insertText", text=guard.TOKEN)
        page.press("Enter", "\r")
        wait_until_live(page)
        expect(findings, "token", not page.evaluate("document.getElementById('token').open"), "asked again", "asked once")
        expect(findings, "token", page.evaluate("localStorage.length") == 0, "kept for other tabs", "for this tab only")
        expect(findings, "token", guard.refused > 0, "nothing was refused", "a call without a token")
    return findings
