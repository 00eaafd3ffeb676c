"""Run the commands of a page, and check those of ``pubsubkit`` and ``pip`` also where they are not run."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pubsubkit.cli.app import application

if TYPE_CHECKING:
    from collections.abc import Iterator

OPERATORS = set("|;&()<>")
INTRODUCTION = re.compile(r"^(\w+=[^\0]*\0|python3?\0-m\0(uv\0run\0)?)*")
"""What may come before a command, whose words are parted by NUL."""
PRELUDE = """
pip() { :; }         # check() looks at what is to be installed; it is there already
nats-server() { :; } # the page has one
uv() { [ "$1" = run ] || { echo "uv $1?"; exit 9; }; shift; "$@"; }
python3() { case "$*" in "-m pip "*) ;; "-m uv "*) shift 2; uv "$@";; *) python "$@";; esac; }
"""


def check(source: str) -> None:
    """Parse a block.

    :raises AssertionError: bash does not take it, or a distribution or extra does not exist.
    :raises click.UsageError: a command, argument or option of ``pubsubkit`` does not exist.
    """
    done = subprocess.run(["bash", "-n", "-c", source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for words in calls(source):
        if words[0] == "pubsubkit":
            parse(words[1:])
        elif words[:2] == ["pip", "install"]:
            for requirement in filter(lambda word: not word.startswith(("-", ".")), words[2:]):
                exists(Requirement(requirement))


def calls(source: str) -> Iterator[list[str]]:
    """The commands of a block, each split into words; what runs another by ``uv run`` is left out."""
    for line in source.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(re.sub(r"(?<=\s)\d(?=>)", "", line), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        redirected = False
        with suppress(ValueError):  # a quotation that goes on in the next line, of which bash knows
            for word in [*lexer, ";"]:
                if redirected:
                    redirected = False
                elif set(word) - OPERATORS:
                    words.append(word)
                elif not (redirected := word[0] in "<>"):
                    if call := INTRODUCTION.sub("", "\0".join(words)):
                        yield call.split("\0")
                    words = []


def parse(arguments: list[str]) -> None:
    """Parse a command line of ``pubsubkit`` without doing what it says; files need not exist."""
    command: click.Command = application
    context, name = None, "pubsubkit"
    try:
        while True:
            context = command.make_context(name, arguments, parent=context)
            context.close()
            arguments = [*context._protected_args, *context.args]
            if not isinstance(command, click.Group) or not arguments:
                return
            name, found, arguments = command.resolve_command(context, arguments)
            assert found
            command = found
    except click.exceptions.Exit:  # of --help and --version
        return
    except click.BadParameter as error:
        if not isinstance(error.__context__, FileNotFoundError):
            raise


def exists(requirement: Requirement) -> None:
    """Look for a distribution among those that are installed, and for its extras."""
    if requirement.name == "uv":  # which installs the others
        return
    known = importlib.metadata.metadata(requirement.name)
    extras = {canonicalize_name(extra) for extra in known.get_all("Provides-Extra") or ()}
    assert {canonicalize_name(extra) for extra in requirement.extras} <= extras, f"{requirement}: {extras}"


class Shell:
    """Commands that share a folder and the variables that they export.

    :param folder: where they start, and what their output goes to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._exported = folder / ".exported"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._terminals: list[int] = []

    def run(self, source: str, deadline: float) -> None:
        """Run a block to its end.

        :raises AssertionError: a command failed.
        :raises subprocess.TimeoutExpired: it took longer than *deadline* seconds.
        """
        process, output = self._start(f"{source}\nenv -0 > {self._exported}")
        code = process.wait(deadline)
        assert code == 0, f"exit code {code}\n{output.read_text(encoding='utf-8')}"

    def open(self, source: str, text: str, deadline: float) -> None:
        """Run a block as in a terminal of its own; return when it has printed *text*.

        :raises AssertionError: it ended without, or took longer than *deadline* seconds.
        """
        process, output = self._start(source)
        end = time.monotonic() + deadline
        while text not in (printed := output.read_text(encoding="utf-8")):
            failed = process.poll() is not None or time.monotonic() > end
            assert not failed, f"it printed no {text!r}:\n{printed}"
            time.sleep(0.02)

    def close(self) -> str:
        """End what runs; return all that was printed."""
        for process in reversed(self._processes):
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(10)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for file in self._terminals:
            os.close(file)
        return "".join(path.read_text(encoding="utf-8") for path in sorted(self.folder.glob(".output*")))

    def _start(self, source: str) -> tuple[subprocess.Popen[bytes], Path]:
        environment = self._environment()
        output = self.folder / f".output{len(self._processes):03}"
        with output.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", PRELUDE + source],
                cwd=environment["PWD"],
                env=environment,
                stdin=self._keyboard(),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)
        return process, output

    def _keyboard(self) -> int:
        """The side of a new terminal that is read; yes was typed for every question."""
        typing, reading = os.openpty()
        self._terminals += (typing, reading)
        os.write(typing, b"y\n" * 9 + b"\x04")
        return reading

    def _environment(self) -> dict[str, str]:
        if self._exported.exists():
            return dict(line.split("=", 1) for line in self._exported.read_text("utf-8").split("\0") if line)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "PWD": str(self.folder), "PYTHONUNBUFFERED": "1"}
