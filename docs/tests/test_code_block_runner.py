"""What runs the code of the pages finds what is wrong with it."""

import os
import sys
from pathlib import Path
from unittest import mock

import pytest
from code_blocks import Page, fences, skips

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell")


def read(text: str, folder: Path) -> None:
    """Run a page."""
    path = folder / "page.md"
    path.write_text(text, encoding="utf-8")
    with mock.patch.dict(os.environ):
        Page(path, folder).read()


def block(language: str, code: str) -> str:
    return f"```{language}\n{code}\n```\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (block("python", "await none_such()"), "none_such"),
        (block("python", "print(1)  # 2"), "not printed: 2"),
        (block("python", "def test_it():\n    assert 1 == 2, 'unequal'"), "unequal"),
        (block("python", "async def test_it():\n    assert 1 == 2, 'unequal'"), "unequal"),
        ("<!-- invisible-code-block: python\nassert 1 == 2, 'unequal'\n-->\n", "unequal"),
        ('<!-- skip: next "why" -->\n' + block("python", "1 +"), "invalid syntax"),
        ('<!-- invisible-code-block: python\nquote("examples")\n-->\n' + block("python", "x = 1"), "no file has it"),
        (block("sh", "false\ntrue"), "exit code 1"),
        (block("sh", "cat none_such | tail"), "exit code 1"),
        (block("sh", "pubsubkit sub 'orders.>' --durabel x"), "durabel"),
        ('<!-- skip: next "why" -->\n' + block("sh", "X=1 pubsubkit dlq lst orders > x"), "lst"),
        ('<!-- skip: next "why" -->\n' + block("sh", "python3 -m uv run pubsubkit dlq list"), "stream"),
        (block("sh", "pip install 'pubsubkit[cli,none-such]'"), "none-such"),
        (block("sh", "pip install pubsubkit-none-such"), "pubsubkit-none-such"),
        ('<!-- terminal: "ready" -->\n' + block("sh", "echo other"), "it printed no 'ready'"),
        ("<!-- output: -->\n" + block("text", "it … done"), "not printed: it … done"),
        (block("json", '{"a": }'), "Expecting value"),
        (block("toml", "a = "), "Invalid value"),
        (block("yaml", "a: ["), "expected the node content"),
    ],
)
def test_what_is_wrong_is_found(text: str, problem: str, tmp_path: Path):
    """A page with one fault fails, and the error says what it is."""
    with pytest.raises(Exception, match=problem):
        read(text, tmp_path)


def test_what_is_right_passes(tmp_path: Path):
    """Names, files, exported variables and terminals last to the end of the page, and its server is a real one."""
    read(
        block("python", "# service.py\nfrom pubsubkit import connect\n\nname = 'service'")
        + block("python", 'async with connect("nats://localhost:4222") as backend:\n    print(name)  # service')
        + '<!-- terminal: "ready" -->\n'
        + block("sh", "python3 -c \"import service; print(f'{service.name} is ready')\"; sleep 60")
        + block("sh", "export WHAT=this\nmkdir below && cd below")
        + block("sh", 'echo "$WHAT in $(basename $PWD)"')
        + "<!-- output: -->\n"
        + block("text", "service … ready\nthis in below"),
        tmp_path,
    )


def test_terminals_are_closed(tmp_path: Path):
    """What a page has left running is ended with it."""
    read('<!-- terminal: "up" -->\n' + block("sh", "echo $$ > pid; echo up; sleep 60"), tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_blocks_without_a_language_are_found(tmp_path: Path):
    """The languages of all blocks are known, but for directives of the site."""
    path = tmp_path / "page.md"
    path.write_text(block("", "x") + block("python", "x") + block("{toctree}", "x"), encoding="utf-8")
    assert fences(path) == ["", "python"]


def test_a_skip_needs_a_reason(tmp_path: Path):
    """Leaving out a block says why."""
    path = tmp_path / "page.md"
    path.write_text("<!-- skip: next -->\n" + block("python", "x"), encoding="utf-8")
    with pytest.raises(AssertionError, match="why"):
        skips(path)
