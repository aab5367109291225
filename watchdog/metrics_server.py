"""Serves a registry over HTTP to whoever asks for its run.

Runs in: watchdog actor.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable, Iterable
from http import HTTPStatus
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

_log = logging.getLogger(__name__)

#: Chosen: a host seldom drives more runs, and a firewall or a list of ports can name as many.
_NEIGHBOURS = 16

_App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Server(ThreadingMixIn, WSGIServer):
    """A slow reader keeps nobody waiting, and nobody keeps the process alive."""

    daemon_threads = True


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Silent(WSGIRequestHandler):
    """Writes no line for each scrape."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def listen(
    host: str, port: int, registry: CollectorRegistry, run: str | None
) -> tuple[WSGIServer, Thread]:
    """Serve on `port`, on one of the next where another run has it, or on any that is free.

    Raises:
        OSError: the address cannot be listened on, for another reason than a busy port.
    """
    server = _bound(host, port, _app(registry, run))
    if port and server.server_port != port:
        _log.info("port %d is another run's; metrics are on %d", port, server.server_port)
    thread = Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    return server, thread


def _bound(host: str, port: int, app: _App) -> WSGIServer:
    """Return the server, bound to the first port that is free."""
    kind = _ServerV6 if ":" in host else _Server
    wanted = range(port, min(port + _NEIGHBOURS, 65536)) if port else ()
    for candidate in wanted:
        try:
            return make_server(host, candidate, app, kind, handler_class=_Silent)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    return make_server(host, 0, app, kind, handler_class=_Silent)


def _app(registry: CollectorRegistry, run: str | None) -> _App:
    """Return what answers a request: the metrics, unless another run's were asked for."""
    metrics = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        asked = parse_qs(environ.get("QUERY_STRING", "")).get("run")
        if run is not None and asked is not None and run not in asked:
            status = f"{HTTPStatus.NOT_FOUND.value} {HTTPStatus.NOT_FOUND.phrase}"
            start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
            return [f"here is run {run}, not {asked[0][:80]}\n".encode()]
        response: Iterable[bytes] = metrics(environ, start_response)
        return response

    return answer
