"""Prints what Alertmanager sends, for those who have given it nobody to call yet.

Runs in: a terminal.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Chosen: a group of alerts has some kB; more is not Alertmanager.
_MAX_BYTES = 1 << 20


def sentences(path: str, body: Mapping[str, Any]) -> list[str]:
    """Return a line for each alert of a notification; none of the dead man's switch.

    Args:
        path: the receiver that was meant: `/page`, `/tickets` or `/heartbeat`.
        body: what Alertmanager posts to a webhook.
    """
    if path == "/heartbeat":
        return []
    told = "page" if path == "/page" else "ticket"
    return [_sentence(told, alert) for alert in body.get("alerts", [])]


def _sentence(told: str, alert: Mapping[str, Any]) -> str:
    labels, notes = alert.get("labels", {}), alert.get("annotations", {})
    name, summary = labels.get("alertname", "?"), notes.get("summary", "")
    if alert.get("status") == "resolved":
        return f"{told} over: {name}: {summary}"
    return f"{told}: {name}: {summary} ({notes.get('runbook_url', 'no runbook')})"


class Desk:
    """A webhook on a free loopback port; `say` gets one line after the other."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._has_heard = False
        desk = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                try:
                    body = json.loads(self.rfile.read(min(length, _MAX_BYTES)))
                    desk._hear(self.path, body)
                except (ValueError, AttributeError):
                    self.send_error(400)
                    return
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def _hear(self, path: str, body: Mapping[str, Any]) -> None:
        if path == "/heartbeat" and not self._has_heard:
            self._has_heard = True
            self._tell("alerting works: the dead man's switch arrived")
        for line in sentences(path, body):
            self._tell(line)

    def _tell(self, line: str) -> None:
        self._say(f"{datetime.now(UTC).astimezone():%H:%M:%S} {line}")

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
