"""Processes of the suite: started on free loopback ports, waited for, and ended by their own ids."""

import http.client
import random
import signal
import socket
import subprocess
import time

HOST = "127.0.0.1"
taken = set()
# The shell's standard input becomes descriptor 3 of the command that takes its place.
PASS = 'exec 3<&0 0</dev/null && export LISTEN_FDS=1 LISTEN_PID=$$ && exec "$0" "$@"'


class StartError(Exception):
    """A process did not become ready."""


def free_port():
    """A port below the range that outgoing connections use, so that none of them takes it before the server does."""
    for _ in range(1_000):
        port = random.randint(20_000, 32_000)
        if port in taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        taken.add(port)
        return port
    raise StartError("found no free port between 20000 and 32000")


def ask(port, method, target, host=None, timeout=5.0):
    """One call to a control or admin surface."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request(method, target, headers={"Host": host} if host else {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def wait_until(condition, seconds, what, process=None):
    """Polls until the condition holds. A process that ended meanwhile is an error at once."""
    end = time.monotonic() + seconds
    while True:
        if process is not None and process.poll() is not None:
            raise StartError(f"{what}: the process ended with code {process.returncode}")
        if (value := condition()) is not None:
            return value
        if time.monotonic() > end:
            raise StartError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


class Process:
    """A child with its log file, and a listening socket if one is passed to it (sd_listen_fds(3)). Ends with its context."""

    def __init__(self, name, command, log, cwd=None, env=None, listener=None):
        self.name, self.log = name, log
        self.output = open(log, "wb")
        if listener is not None:
            command = ["sh", "-c", PASS, *command]
        stdin = listener or subprocess.DEVNULL
        self.child = subprocess.Popen(command, stdout=self.output, stderr=subprocess.STDOUT, stdin=stdin, cwd=cwd, env=env)

    def ready(self, port, target, host=None):
        def answered():
            try:
                return True if ask(port, "GET", target, host)[0] == 200 else None
            except OSError:
                return None
            except http.client.HTTPException:
                return None

        try:
            wait_until(answered, 30, f"{self.name} on port {port}", self.child)
        except StartError as error:
            self.stop()
            raise StartError(f"{error}\n{self.log.read_text(errors='replace')[-2000:]}") from error
        return self

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait(10)
        self.output.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
