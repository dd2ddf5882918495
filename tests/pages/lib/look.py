"""Makes the HTML reports from real traffic, and looks at them and at the dashboard in headless Chromium; prints one line for
each look."""

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import dashboard
import extremes
import png
from application import Application
from chromium import BrowserError, Chromium, Page
from inspection import inspect_page
from process import StartError
from scene import Scene
from sidecar import Sidecar, write_page_of
from traffic import Traffic

ROOT = Path(__file__).resolve().parents[3]
IMAGES = ROOT / "docs" / "images"
WIDTHS, SCHEMES = (380, 1_280), ("light", "dark")
# What docs/images shows: the top of these pages, at these widths.
SHOWN, SHOTS = ("observe", "parity"), {(1_280, "light"): "wide", (1_280, "dark"): "wide", (380, "light"): "narrow"}
MOST_HEIGHT, MOST_BYTES = 1_200, 600 * 1_024
# Ten minutes are what a recommendation takes; a look takes some seconds.
SECONDS, RENEW_SECONDS = 8, 660
DASHBOARD_SECONDS, DASHBOARD_RENEW_SECONDS = 6, 300
EVERY_FAULT = {"request", "console", "exception", "width", "size", "contrast", "cut", "overlap", "scheme", "name"}


def arguments():
    parser = argparse.ArgumentParser(prog="tests/pages/run", description=__doc__)
    parser.add_argument("--binary", type=Path, help="a tidegate binary; without it target/debug/tidegate is built")
    parser.add_argument("--scratch", type=Path, default=ROOT / "target" / "pages", help="where pages and logs lie")
    parser.add_argument("--seconds", type=int, help=f"how long calls come; {SECONDS}, with --renew {RENEW_SECONDS}")
    parser.add_argument("--renew", nargs="?", const="all", choices=("all", "dashboard"), help="takes the screenshots of docs/images anew")
    return parser.parse_args()


def choose_proof(seconds):
    """What a verdict takes: little where calls come for some seconds, so that there is a `go`, else the default."""
    return {"min_events": 50, "max_rate": 0.1} if seconds < 300 else {"min_events": 1_000, "max_rate": 0.001}


def write_pages(binary, scratch, seconds):
    """The pages: without a call, of real traffic, and as full as they can get."""
    pages = {name: scratch / f"{name}.html" for name in ("observe", "parity")}
    with Application() as application, Application(is_twin=True) as twin:
        with Sidecar(binary, scratch, application.port, twin.port, choose_proof(seconds)) as sidecar:
            for name in ("observe", "parity"):
                pages[f"{name}-empty"] = scratch / f"{name}-empty.html"
                sidecar.write_page(name, pages[f"{name}-empty"])
            traffic = Traffic(sidecar.listen, seconds)
            traffic.play()
            if traffic.problems:
                raise StartError("; ".join(traffic.problems[:5]))
            sidecar.wait_for(traffic.sent)
            for name, fill in (("observe", extremes.fill_observe), ("parity", extremes.fill_parity)):
                sidecar.write_page(name, pages[name])
                pages[f"{name}-full"] = scratch / f"{name}-full.html"
                report = fill(sidecar.read_report(name))
                write_page_of(binary, scratch, name, report, pages[f"{name}-full"])
    print(f"     {sum(traffic.sent.values())} calls in {seconds} s", flush=True)
    return pages


def print_findings(findings):
    """Each one once, however often it is on the page."""
    for (kind, found, allowed), count in list(Counter(tuple(one.values()) for one in findings).items())[:20]:
        times = f" ({count} times)" if count > 1 else ""
        print(f"       {kind}: {found}{times}; allowed: {allowed}", flush=True)
    if len(findings) > 20:
        print(f"       {len(findings)} findings in all", flush=True)


def look_at_faults(browser):
    """The check itself: of a page with every fault it must find each."""
    faulty = (Path(__file__).parent / "faulty.html").resolve().as_uri()
    with Page(browser, faulty, 380, "light") as page:
        missed = EVERY_FAULT - {one["kind"] for one in inspect_page(page)}
    print(f"{'FAIL' if missed else 'ok  '} every fault of faulty.html is found{': not ' * bool(missed)}{', '.join(sorted(missed))}")
    return not missed


def look(browser, name, file, width, scheme, shots):
    """One look at one page, and its screenshot where one is wanted."""
    with Page(browser, file.resolve().as_uri(), width, scheme) as page:
        findings = inspect_page(page)
        if shots is not None and name in SHOWN and (width, scheme) in SHOTS:
            shots[f"{name}-{SHOTS[width, scheme]}-{scheme}.png"] = png.shrink(page.screenshot(MOST_HEIGHT))
    print(f"{'FAIL' if findings else 'ok  '} {name} at {width} px, {scheme}", flush=True)
    print_findings(findings)
    return not findings


def look_at_dashboard(browser, scene, what, width, scheme, shots):
    """One look at the live dashboard, and its screenshot where one is wanted."""
    with Page(browser, scene.address, width, scheme) as page:
        dashboard.wait_until_live(page)
        findings = inspect_page(page)
        if shots is not None and (width, scheme) in SHOTS:
            shots[f"dashboard-{SHOTS[width, scheme]}-{scheme}.png"] = png.shrink(page.screenshot(MOST_HEIGHT))
    print(f"{'FAIL' if findings else 'ok  '} dashboard, {what}, at {width} px, {scheme}", flush=True)
    print_findings(findings)
    return not findings


def use_dashboard(browser, scene):
    """A replay by clicks, a change of mode by keyboard, a restart; and a token."""
    deeds = {
        "a letter replayed by clicks, a mode changed by keyboard, a restart": dashboard.use_page,
        "a token is asked for": dashboard.give_token,
    }
    for name, do in deeds.items():
        findings = do(browser, scene)
        print(f"{'FAIL' if findings else 'ok  '} dashboard: {name}", flush=True)
        print_findings(findings)
        yield not findings


def renew_images(shots):
    """Writes the screenshots, if they are small enough."""
    others = [file for file in IMAGES.glob("*.png") if file.name not in shots]
    size = sum(map(len, shots.values())) + sum(file.stat().st_size for file in others)
    if size > MOST_BYTES:
        print(f"FAIL docs/images: {size // 1_024} KiB; allowed: {MOST_BYTES // 1_024} KiB")
        return False
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, shot in shots.items():
        (IMAGES / name).write_bytes(shot)
    print(f"ok   docs/images: {len(shots)} screenshots taken, {size // 1_024} KiB in all")
    return True


def main():
    options = arguments()
    began = time.monotonic()
    if not options.binary:
        subprocess.run(["cargo", "build", "--locked"], cwd=ROOT, check=True)
    binary = (options.binary or ROOT / "target" / "debug" / "tidegate").resolve()
    scratch = options.scratch.resolve()
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    seconds = options.seconds or (RENEW_SECONDS if options.renew == "all" else SECONDS)
    try:
        pages = write_pages(binary, scratch, seconds)
        shots = {} if options.renew else None
        with Chromium(scratch / "profile", scratch / "chromium.log") as browser:
            results = [look_at_faults(browser)]
            for name, file in pages.items():
                taken = shots if options.renew == "all" else None
                results += [look(browser, name, file, width, scheme, taken) for width in WIDTHS for scheme in SCHEMES]
            with Scene(binary, scratch / "dashboard") as scene:
                results += [look_at_dashboard(browser, scene, "without a call", width, "light", None) for width in WIDTHS]
                scene.play(DASHBOARD_RENEW_SECONDS if options.renew else DASHBOARD_SECONDS)
                results += [look_at_dashboard(browser, scene, "in use", width, scheme, shots) for width in WIDTHS for scheme in SCHEMES]
                results += use_dashboard(browser, scene)
    except (BrowserError, StartError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        print(f"FAIL {type(error).__name__}: {error}")
        return 1
    if options.renew and all(results):
        results.append(renew_images(shots))
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed in {time.monotonic() - began:.0f} s; pages in {scratch}")
    return 0 if all(results) else 1


if __name__ == "__main__":
    # Asked to end, it ends its processes first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    sys.exit(main())
