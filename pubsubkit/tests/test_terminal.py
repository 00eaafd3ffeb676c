"""The command line in a real terminal: tmux types, and its screen is read."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pubsubkit_memory.driver import MemoryDriver
from pubsubkit_nats.testing import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.terminal

SERVICE = """
from pubsubkit import Reject
from pubsubkit.worker import Worker

worker = Worker()


@worker.handler(stream="orders", durable="billing", dead_letter="orders-dead")
async def bill(data: str) -> None:
    if data == "bad":
        raise Reject("no such customer")
    print("billed", data, flush=True)
"""
DEADLINE = 20.0
PROMPT = "bash-"


class Terminal:
    """A shell in a terminal of its own."""

    def __init__(self, folder: Path, columns: int = 80, lines: int = 40, **environment: str):
        self._runs = 0
        self._tmux = ("tmux", "-f", "/dev/null", "-S", str(folder / f"tmux-{columns}"))
        kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
        path = f"{Path(sys.executable).parent}:{kept.get('PATH', '')}"
        self._environment = {**kept, "PATH": path, "TERM": "xterm-256color", **environment}
        size = ("-x", str(columns), "-y", str(lines))
        self._run("new-session", "-d", *size, "bash --norc --noprofile")
        self.until(lambda screen: PROMPT in screen)

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._tmux, *arguments], env=self._environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    def type(self, text: str) -> None:
        """Type a line."""
        self._run("send-keys", "-l", text)
        self._run("send-keys", "Enter")

    def press(self, key: str) -> None:
        """Press a key by tmux's name."""
        self._run("send-keys", key)

    def screen(self, *, colours: bool = False) -> str:
        """What is to be seen."""
        return self._run("capture-pane", "-p", *(["-e"] if colours else []))

    def until(self, condition) -> str:
        """Return the screen once *condition* holds of it."""
        ends = time.monotonic() + DEADLINE
        while not condition(screen := self.screen()):
            assert time.monotonic() < ends, screen
            time.sleep(0.02)
        return screen

    def run(self, *command: str) -> str:
        """Run a command to its end; what it has shown, and its exit code in the last line."""
        self._runs += 1  # its number tells the end of this command from that of the one before
        self.type(f"clear; {shlex.join(command)}; echo {self._runs} code=$?")
        ended = re.compile(rf"^{self._runs} (code=\d+)", re.MULTILINE)
        screen = self.until(ended.search)
        end = ended.search(screen)
        return screen[: end.start()] + end[1]

    def close(self) -> None:
        self._run("kill-server")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[list[Terminal]]:
    """The terminals of a test, which are closed after it."""
    terminals: list[Terminal] = []
    yield terminals
    for terminal in terminals:
        terminal.close()


@pytest.fixture
def open_terminal(tmp_path: Path, opened: list[Terminal]):
    def make(columns: int = 80, **environment: str) -> Terminal:
        opened.append(Terminal(tmp_path, columns, **environment))
        return opened[-1]

    return make


@pytest.fixture
async def url(tmp_path: Path):
    async with NatsServer(tmp_path / "nats") as server:
        yield server.url


def test_demo(open_terminal) -> None:
    """The demo tells what it does and leaves nothing of its progress on the screen."""
    screen = open_terminal().run("pubsubkit", "demo")
    assert "code=0" in screen
    assert "\r" not in screen
    assert "Traceback" not in screen


@pytest.mark.parametrize("columns", [60, 100])
def test_doctor_fits_the_terminal(open_terminal, columns: int) -> None:
    """Lines are broken between words, and what goes on is indented."""
    screen = open_terminal(columns).run("pubsubkit", "doctor")
    assert "code=0" in screen
    told = [line for line in screen.splitlines() if line and "code=" not in line and "nothing to mend" not in line]
    assert all(line[:5] in ("ok   ", "?    ", "-    ", "     ") for line in told)
    assert max(map(len, told)) <= columns


def test_colours(open_terminal) -> None:
    """Colour on a terminal, and none with NO_COLOR."""
    coloured, plain = open_terminal(80), open_terminal(90, NO_COLOR="1")
    for terminal in (coloured, plain):
        terminal.run("pubsubkit", "doctor")
    assert "\x1b[32mok" in coloured.screen(colours=True)
    assert "\x1b[3" not in plain.screen(colours=True)


def test_an_error_is_one_line(open_terminal) -> None:
    screen = open_terminal(120).run("pubsubkit", "--url", "nats://user:secret@localhost:1", "streams")
    assert "code=1" in screen
    assert "secret" not in screen.partition("code=")[0].replace("user:secret@localhost:1", "")
    assert "Traceback" not in screen


def test_subscribe_until_ctrl_c(open_terminal, url: str) -> None:
    """Messages are printed as they come; Ctrl-C ends it well and says how many there were."""
    terminal, other = open_terminal(PUBSUBKIT_URL=url), open_terminal(100, PUBSUBKIT_URL=url)
    assert "code=0" in other.run("pubsubkit", "pub", "orders.created", "first")
    terminal.type("clear; pubsubkit sub 'orders.>' --durable billing; echo code=$?")
    terminal.until(lambda screen: '"first"' in screen)
    assert "code=0" in other.run("pubsubkit", "pub", "orders.created", "second")
    terminal.until(lambda screen: '"second"' in screen)
    terminal.press("C-c")
    screen = terminal.until(lambda screen: "code=" in screen.replace("echo code=$?", ""))
    assert "code=0" in screen
    assert "acknowledged 2 messages" in screen


def test_bench_ends_in_a_table(open_terminal, url: str) -> None:
    """The progress has gone when the table is there, and so have the streams."""
    terminal = open_terminal(PUBSUBKIT_URL=url)
    screen = terminal.run("pubsubkit", "bench", "--count", "200")
    assert "code=0" in screen
    assert "publish one by one" in screen
    assert "%" not in screen
    assert "no streams" in terminal.run("pubsubkit", "streams")


def test_contract_that_is_stopped(open_terminal) -> None:
    """Ctrl-C leaves nothing of the progress, and what was run is told in lines of the terminal's width."""
    terminal = open_terminal(60)
    terminal.type("clear; pubsubkit contract memory://; echo code=$?")
    terminal.until(lambda screen: re.search(r"^[1-9]\d+/\d+  ", screen, re.MULTILINE))
    terminal.press("C-c")
    screen = terminal.until(lambda screen: "code=" in screen.replace("echo code=$?", ""))
    assert "code=130" in screen
    assert not re.search(r"^\d+/\d+  ", screen, re.MULTILINE)
    assert "only a part" in screen
    words = {word.strip(",") for word in screen.split()}
    assert set(map(str, MemoryDriver.capabilities)) <= words


def test_worker_and_its_dead_letters(open_terminal, url: str, tmp_path: Path) -> None:
    """A worker tells what it does until Ctrl-C; what it could not handle is listed, shown and published again."""
    (tmp_path / "service.py").write_text(SERVICE)
    terminal, other = open_terminal(PUBSUBKIT_URL=url), open_terminal(100, PUBSUBKIT_URL=url)
    terminal.run("cd", str(tmp_path))
    terminal.type("clear; pubsubkit run service:worker; echo code=$?")
    terminal.until(lambda screen: "bill consumes orders/billing" in screen)
    assert '"sequence": 1' in other.run("pubsubkit", "pub", "--json", "orders.created", "good")
    assert "code=0" in other.run("pubsubkit", "pub", "orders.created", "bad")
    terminal.until(lambda screen: "billed good" in screen and "moved to orders-dead" in screen)
    terminal.press("C-c")
    screen = terminal.until(lambda screen: "code=" in screen.replace("echo code=$?", ""))
    assert "SIGINT: stopping" in screen
    assert "code=0" in screen
    assert "no such customer" in other.run("pubsubkit", "dlq", "list", "orders-dead")
    shown = other.run("pubsubkit", "dlq", "show", "orders-dead", "1")
    assert "from        stream orders, consumer billing, sequence 2" in shown
    assert "\nbad\n" in shown
    assert "replayed 1 dead letter" in other.run("pubsubkit", "dlq", "replay", "orders-dead", "1")
    assert "no open dead letters" in other.run("pubsubkit", "dlq", "list", "orders-dead")


@pytest.mark.parametrize("key", ["C-c", "q"])
def test_top_gives_the_screen_back(open_terminal, url: str, key: str) -> None:
    """While it runs it has the whole screen; afterwards what was there before is there again."""
    terminal = open_terminal(60, PUBSUBKIT_URL=url)
    terminal.run("pubsubkit", "pub", "orders.created", "first")
    terminal.type("clear; pubsubkit top --interval 0.2; echo code=$?")
    screen = terminal.until(lambda screen: "STREAM / CONSUMER" in screen)
    assert "orders" in screen
    terminal.press("x")
    terminal.press(key)
    terminal.until(lambda screen: "code=0" in screen and "STREAM / CONSUMER" not in screen)
    terminal.type("echo seen")
    terminal.until(lambda screen: " echo seen\nseen" in screen)
    assert "\x1b[?25l" not in terminal.screen(colours=True)
