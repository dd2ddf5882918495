"""A client that sends what it is told, byte for byte, and keeps the whole answer."""

import http.client
from dataclasses import dataclass, field
from http.cookies import SimpleCookie

from process import HOST


@dataclass
class Answer:
    """An answer: names of its headers are in lower case, lines of one name stay apart and in their order."""

    status: int
    headers: list
    body: bytes

    def header(self, name):
        return next((value for key, value in self.headers if key == name), None)

    @property
    def acknowledged(self):
        return self.header("tidegate-event") is not None

    @property
    def forwarded(self):
        """Why an event call was forwarded, as `[server] explain` has Tidegate say."""
        return self.header("tidegate-forwarded")


@dataclass
class Browser:
    """One caller at one host: a cookie jar and the headers that it always sends."""

    port: int
    host: str
    headers: dict = field(default_factory=dict)
    jar: dict = field(default_factory=dict)

    def open(self, method, target, headers=(), body=None, chunked=False):
        """Sends a call. Returns the connection and the response, whose body isn't read yet."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=20)
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        given = {name.lower() for name, _ in headers}
        lines = [("Host", self.host)] if "host" not in given else []
        lines += [(name, value) for name, value in self.headers.items() if name.lower() not in given and value]
        if self.jar and "cookie" not in given:
            lines.append(("Cookie", "; ".join(f"{name}={value}" for name, value in self.jar.items())))
        lines += list(headers)
        if chunked:
            lines.append(("Transfer-Encoding", "chunked"))
        elif body is not None or method in ("POST", "PUT", "PATCH"):
            body = body or b""
            lines.append(("Content-Length", str(len(body))))
        for name, value in lines:
            connection.putheader(name, value)
        pieces = [body[at : at + 65_536] for at in range(0, len(body), 65_536)] if chunked else body
        try:
            connection.endheaders(pieces, encode_chunked=chunked)
        except BrokenPipeError:
            pass  # refused before the whole body was sent; the answer is there all the same
        response = connection.getresponse()
        for name, value in response.getheaders():
            if name.lower() == "set-cookie":
                for key, morsel in SimpleCookie(value).items():
                    self.jar[key] = morsel.coded_value
        return connection, response

    def call(self, method, target, headers=(), body=None, chunked=False):
        connection, response = self.open(method, target, headers, body, chunked)
        try:
            headers = [(name.lower(), value) for name, value in response.getheaders()]
            return Answer(response.status, headers, response.read())
        finally:
            connection.close()
