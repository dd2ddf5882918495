"""Brings what the suite needs: a virtual environment, node packages and nginx, each from its registry's own client."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent
APPS = HERE / "apps"


class InstallError(Exception):
    """Something could not be installed."""


@dataclass(frozen=True)
class Tools:
    """What was installed, and where."""

    scratch: Path
    python: Path
    node: str
    modules: Path
    nginx: str
    tidegate: Path


def run(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise InstallError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout[-4000:]}")
    return done.stdout


@contextmanager
def services_stay_down():
    """Debian starts what it installs, nginx on port 80 too, unless this file says no. One that is there stays as it is."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


updated = False


def apt(*packages):
    global updated
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if not updated:
        run(["apt-get", "update", "-qq"], env=environment)
        updated = True
    with services_stay_down():
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], env=environment)


def stamp(*files):
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def kept(marker, value):
    return marker.exists() and marker.read_text() == value


def python_packages(scratch):
    venv, pins = scratch / "venv", APPS / "requirements.txt"
    marker, value = scratch / "venv.stamp", stamp(pins) + sys.version
    python = venv / "bin" / "python"
    if not kept(marker, value):
        shutil.rmtree(venv, ignore_errors=True)
        try:
            import ensurepip  # noqa: F401  (Debian ships python3 without it)
        except ImportError:
            apt("python3-venv")
        run([sys.executable, "-m", "venv", str(venv)])
        run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(pins)])
        marker.write_text(value)
    return python


def node_packages(scratch):
    node = shutil.which("node")
    version = node and run([node, "--version"]).strip()
    if not version or int(re.match(r"v(\d+)", version)[1]) < 18 or not shutil.which("npm"):
        apt("nodejs", "npm")
        node = shutil.which("node")
        version = run([node, "--version"]).strip()
    files = [APPS / "package.json", APPS / "package-lock.json"]
    folder = scratch / "npm"
    marker, value = scratch / "npm.stamp", stamp(*files) + version
    if not kept(marker, value):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file in files:
            shutil.copy(file, folder)
        run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder)
        marker.write_text(value)
    return node, folder / "node_modules"


def nginx():
    path = os.environ["PATH"] + ":/usr/sbin"
    if not shutil.which("nginx", path=path):
        apt("nginx")
    return shutil.which("nginx", path=path)


def tidegate(binary):
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = Path(binary) if binary else target / "release" / "tidegate"
    if binary is None:
        # Cargo knows what is up to date; a stale binary would be compared with a new suite.
        run(["cargo", "build", "--locked", "--release", "--bin", "tidegate"], cwd=ROOT)
    if not path.exists():
        raise InstallError(f"--binary: found no file {path}")
    return path.resolve()


def everything(scratch, binary):
    """Installs what isn't there yet and says how long each took."""
    scratch.mkdir(parents=True, exist_ok=True)

    def timed(what, action, *arguments):
        began = time.monotonic()
        result = action(*arguments)
        print(f"     {what}: {time.monotonic() - began:.1f} s", flush=True)
        return result

    server = timed("nginx", nginx)
    python = timed("Django, gunicorn, FastAPI, uvicorn", python_packages, scratch)
    node, modules = timed("Express and SDKs", node_packages, scratch)
    binary = timed("tidegate", tidegate, binary)
    return Tools(scratch, python, node, modules, server, binary)
