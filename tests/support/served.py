"""The page's server as a process of its own, and a client that asks it as anybody on the network could."""

import http.client
import json
import re
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

from support.command import clean_environment


class Answer:
    """An answer of the server."""

    def __init__(self, found: http.client.HTTPResponse) -> None:
        self.code = found.status
        self.headers = {name.lower(): value for name, value in found.getheaders()}
        self.body = found.read()

    @property
    def json(self) -> dict[str, object]:
        """Its object."""
        value: dict[str, object] = json.loads(self.body)
        return value


class Page(AbstractContextManager["Page"]):
    """``upswell dashboard`` over OUTPUT ``out`` in a place, on a free port."""

    def __init__(self, place: Path, *words: str, **environment: str) -> None:
        listen = () if "--listen" in words else ("--listen", "127.0.0.1:0")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "upswell", "dashboard", "--output", "out", *listen, *words],
            cwd=place, env=clean_environment() | environment, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stderr
        told, found = "", None
        while found is None and self.process.poll() is None:
            told += self.process.stderr.readline()
            found = re.search(r"http://(127\.0\.0\.1|0\.0\.0\.0):(\d+)/", told)
        assert found, told + self.process.stderr.read()
        self.host, self.port = "127.0.0.1", int(found[2])
        self.address = f"http://{self.host}:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate()

    def ask(
        self, path: str, method: str = "GET", body: str | None = None, **headers: str
    ) -> Answer:
        """One answer; a header ``content_type`` is sent as Content-Type."""
        client = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            client.request(method, path, body, named)
            return Answer(client.getresponse())
        finally:
            client.close()

    def look_up(self, msisdn: str, **headers: str) -> Answer:
        """The story of a customer."""
        body = json.dumps({"msisdn": msisdn})
        return self.ask("/api/explain", "POST", body, content_type="application/json", **headers)
