"""Shell completion: the scripts, and what they complete."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from pubsubkit.cli.app import application

pytestmark = pytest.mark.usefixtures("command_line")


def complete(*words: str) -> list[str]:
    """What bash is given for the last of *words*."""
    result = CliRunner().invoke(
        application,
        [],
        prog_name="pubsubkit",
        env={
            "_PUBSUBKIT_COMPLETE": "bash_complete",
            "COMP_WORDS": "\n".join(("pubsubkit", *words)),
            "COMP_CWORD": str(len(words)),
        },
    )
    return [line.partition(",")[2] for line in result.stdout.splitlines() if line]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(shell: str) -> None:
    """Each shell gets a script that asks pubsubkit by the variable that it listens to."""
    result = CliRunner().invoke(application, ["completion", shell], prog_name="pubsubkit")
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"_PUBSUBKIT_COMPLETE={shell}_complete" in result.stdout


def test_unknown_shell() -> None:
    """Another shell is refused with those that there are."""
    result = CliRunner().invoke(application, ["completion", "tcsh"], prog_name="pubsubkit")
    assert result.exit_code == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in result.stderr


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["do"], ["doctor"]),
        (["backends", "show", "n"], ["nats"]),
        (["--url", "n"], ["nats://"]),
        (["pub", "--url", "m"], ["memory://"]),
        (["doctor", "me"], ["memory://"]),
        (["bench", "--storage", ""], ["memory", "file"]),
        (["contract", "n"], ["nats://"]),
        (["completion", "z"], ["zsh"]),
    ],
)
def test_what_is_completed(words: list[str], wanted: list[str]) -> None:
    """Commands, choices, backends and the schemes of URLs are completed."""
    assert complete(*words) == wanted


def test_all_that_is_installed_is_offered() -> None:
    """With nothing typed every backend is offered, as a name or as the beginning of a URL."""
    assert {"memory", "nats"} <= set(complete("backends", "show", ""))
    assert {"memory://", "nats://"} <= set(complete("sub", "--url", ""))


def test_completion_imports_no_backend() -> None:
    """Completing a scheme imports no backend and no contract suite, so that it does not keep anybody waiting."""
    code = """
import atexit, sys
names = ("nats", "pubsubkit_nats", "pubsubkit_memory", "pytest")
atexit.register(lambda: print([name for name in names if name in sys.modules]))
from pubsubkit.cli import main
main()
"""
    environment = {
        "_PUBSUBKIT_COMPLETE": "bash_complete",
        "COMP_WORDS": "pubsubkit\nbackends\nshow\n",
        "COMP_CWORD": "3",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={**os.environ, **environment},
    )
    *offered, imported = done.stdout.split()
    assert ({"plain,memory", "plain,nats"} <= set(offered), imported) == (True, "[]")
