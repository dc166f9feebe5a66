"""How the server starts listening, and how it ends: by a stop, or by an error."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import Any

import pytest

from secureai_appliance.core.errors import EXIT_PORT, StartupError
from secureai_appliance.web import server as server_module
from secureai_appliance.web.server import Server, listen
from tests.support.web import App
from tests.support.web_client import Client, serving, talk
from tests.support.web_routes import HeldSource


def test_a_server_that_ends_by_an_error_says_so(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = server_module.wasyncore.loop
    server, ended = Server(app.parts, listen("127.0.0.1", 0), app.gateway), threading.Event()

    def fail(*args: Any, **options: Any) -> None:
        if options["map"] is server._loop._map:
            raise RuntimeError("poll")
        loop(*args, **options)  # that of an appliance that other tests share

    monkeypatch.setattr(server_module.wasyncore, "loop", fail)
    server.start(ended.set)
    assert ended.wait(5)
    assert server.failed
    server.stop(1.0)


def test_a_stop_ends_streams_with_an_error_and_done(app: App) -> None:
    source = HeldSource()
    app.does.source = lambda: source
    with serving(app, grace=1.0) as server:
        idle, busy = Client(server.port), Client(server.port)
        assert idle.request("GET", "/healthz").status == 200
        busy.send(talk(app))
        busy.until(b": ping\n\n")
        server.stop(1.0)
        end = busy.rest()
        assert b"service_unavailable" in end
        assert end.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert idle.rest() == b""
        assert source.closed.is_set()
        with pytest.raises(ConnectionRefusedError):
            Client(server.port)


def test_a_stop_lets_a_running_stream_end_in_its_own_time(app: App) -> None:
    source = HeldSource()
    app.does.source = lambda: source
    with serving(app) as server:
        busy = Client(server.port)
        busy.send(talk(app))
        busy.until(b": ping\n\n")
        stopping = threading.Thread(target=server.stop, args=(8.0,))
        stopping.start()
        assert app.gateway.stopping.wait(5)
        source.go_on.set()
        end = busy.rest()
        stopping.join(5)
        assert not stopping.is_alive()
        assert b"error" not in end
        assert end.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_an_idle_server_stops_at_once(app: App) -> None:
    with serving(app) as server:
        stopping = threading.Thread(target=server.stop, args=(3600.0,))
        stopping.start()
        stopping.join(30)
        assert not stopping.is_alive()


def test_a_port_that_is_taken_is_one_clear_line() -> None:
    with closing(listen("127.0.0.1", 0)) as taken, pytest.raises(StartupError) as caught:
        listen("127.0.0.1", taken.getsockname()[1])
    assert caught.value.exit_code == EXIT_PORT
    assert "is taken" in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "a" * 300])
def test_an_address_that_is_not_ours_is_one_clear_line(host: str) -> None:
    with pytest.raises(StartupError) as caught:
        listen(host, 0)
    assert caught.value.exit_code == EXIT_PORT


def test_the_real_port_is_told(server: Server) -> None:
    assert server.address == f"http://127.0.0.1:{server.port}"
    assert server.port > 0
