"""Run the code of a page, block after block, as a reader would.

``python``
    All blocks of a page share their names, and ``await`` works anywhere.  A block that begins with ``# name.py`` is
    also written to that file.  Functions ``test_…`` that a block defines are called.  ``print(…)  # this`` must print
    this.
``sh``
    Run by bash, in a folder of the page's own, with the variables that earlier blocks have exported.  Every command
    ``pubsubkit`` is parsed too, and ``pip install`` must ask for distributions and extras that there are.
``json``, ``toml``, ``yaml``
    Parsed.
``text``
    No code.

``nats://localhost:4222`` is a server that is started for the page.  These go into HTML comments before a block:

``invisible-code-block: python``
    Set-up that a reader need not see; it has ``ROOT``, the repository.  After ``quote("folder")`` the page's Python
    is looked for in the files of that folder instead of being run.
``skip: next "reason"``
    The next block is compiled or parsed, and not run.
``terminal: "text"``
    The next block of ``sh`` goes on running in a terminal of its own, once it has printed the text.
``output:``
    Each line of the next block of ``text`` must have been printed at the end of the page; ``…`` stands for anything.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

import shell
import yaml
from sybil.document import Document
from sybil.evaluators.python import pad
from sybil.parsers.markdown import CodeBlockParser, SkipParser
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, RawFencedCodeBlockLexer

from pubsubkit_nats.testing import NatsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType

    from sybil.example import Example
    from sybil.region import Region
    from sybil.typing import Parser

ROOT = Path(__file__).parents[2]
DATA: dict[str, Callable[[str], object]] = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}
LANGUAGES = {"python", "sh", "text", *DATA}
SERVER = "nats://localhost:4222"
DEADLINE = 50.0
"""Seconds that a block may take."""


def pages() -> list[Path]:
    """Every page in Markdown, of the site and beside the code."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob(".github/**/*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted({path for path in found if "_build" not in path.parts})


def parsed(path: Path, *parsers: Parser) -> Document:
    """A page with what the parsers find in it.  The commands of the README that others look for are ``sh``."""
    text = path.read_text(encoding="utf-8")
    document = Document(re.sub(r"(<!-- command: \w+ -->\n```)\n", r"\1sh\n", text), str(path))
    for parser in parsers:
        for region in parser(document):
            document.add(region)
    return document


def fences(path: Path) -> list[str]:
    """The languages of all blocks of a page; a directive of the site is none."""
    lexer = RawFencedCodeBlockLexer(re.compile(r"(?P<language>[^\n]*)$\n", re.MULTILINE))
    found = [region.lexemes["language"].strip() for region in lexer(parsed(path))]
    return [language for language in found if not language.startswith("{")]


def skips(path: Path) -> list[str]:
    """The blocks of a page that are left out, each with its reason.

    :raises AssertionError: one has no reason.
    """
    found = [example for example in parsed(path, SkipParser()) if example.parsed[0] != "end"]
    assert all(example.parsed[1] for example in found), f"{path}: why?"
    return [f"{path.relative_to(ROOT)}:{example.line}: {example.parsed[1]}" for example in found]


def compiled(source: str, example: Example) -> CodeType:
    """The code of a block, in which ``await`` may be used anywhere."""
    return compile(source, example.path, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def reading(read: Callable[[str], object]) -> Callable[[Example], None]:
    """An evaluator of blocks that are only parsed."""

    def evaluate(example: Example) -> None:
        read(example.parsed)

    return evaluate


def unindented(text: str) -> str:
    """A text of which only the indentation is lost."""
    return "\n".join(line.strip() for line in text.splitlines()) + "\n"


class Page:
    """One page that is being read: its folder, its event loop and what its blocks have made."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._folder = folder
        self._printed = io.StringIO()
        self._expected: list[str] = []
        self._next = ("", "")
        self._quoted = ""
        self._server = NatsServer(folder / ".nats")
        self._shell = shell.Shell(folder)
        self._runner = asyncio.Runner()
        parsers = {"python": self._python, "sh": self._sh, "text": self._text}
        parsers |= {language: reading(read) for language, read in DATA.items()}
        blocks = [CodeBlockParser(language, evaluator) for language, evaluator in parsers.items()]
        self.document = parsed(path, SkipParser(), self._directives, *blocks)
        self.document.namespace.update(__name__="page", ROOT=ROOT, quote=self._quote)

    def read(self) -> None:
        """Run all blocks.

        :raises AssertionError: something was not printed that the page says is; or whatever a block raises.
        """
        with self._runner:
            try:
                for example in self.document:
                    self._evaluate(example)
            finally:
                printed = self._printed.getvalue() + self._shell.close()
                self._runner.run(self._close())
        lines = printed.splitlines()
        for line in self._expected:
            pattern = re.escape(line.rstrip()).replace("…", ".*")
            assert any(re.fullmatch(pattern, each.rstrip()) for each in lines), f"not printed: {line}\n{printed}"

    def _evaluate(self, example: Example) -> None:
        try:
            example.evaluate()
        except SkipTest:
            if example.region.evaluator == self._sh:
                shell.check(example.parsed)
            elif example.region.evaluator == self._python:
                compiled(example.parsed, example)

    async def _close(self) -> None:
        for value in list(self.document.namespace.values()):
            if not isinstance(value, type) and inspect.iscoroutinefunction(close := getattr(value, "aclose", None)):
                await close()
        await self._server.stop()

    def _directives(self, document: Document) -> Iterator[Region]:
        """Parse what says something of the next block."""
        for region in DirectiveInHTMLCommentLexer("terminal|output")(document):
            region.parsed = (region.lexemes["directive"], region.lexemes["arguments"].strip('" '))
            region.evaluator = self._announce
            yield region

    def _announce(self, example: Example) -> None:
        self._next = example.parsed

    def _announced(self) -> tuple[str, str]:
        announced, self._next = self._next, ("", "")
        return announced

    def _quote(self, folder: str) -> None:
        self._quoted = "".join(unindented(path.read_text(encoding="utf-8")) for path in (ROOT / folder).rglob("*.py"))

    def _located(self, source: str) -> str:
        if SERVER not in source:
            return source
        if not self._server.url:
            self._runner.run(self._server.start())
        return source.replace(SERVER, self._server.url)

    def _python(self, example: Example) -> None:
        source = self._located(example.parsed)
        if self._quoted and "invisible" not in example.region.lexemes.get("directive", ""):
            assert unindented(source) in self._quoted, f"no file has it:\n{source}"
            return
        if name := re.match(r"# ([\w/]+\.py)\n", source):
            (self._folder / name[1]).write_text(source, encoding="utf-8")
        self._expected += re.findall(r"print\(.*\)  # (.*)", source)
        before = set(self.document.namespace)
        code = compiled(pad(source, example.line), example)
        with contextlib.redirect_stdout(self._printed):
            self._run(eval(code, self.document.namespace))
            for made in sorted(set(self.document.namespace) - before):
                if made.startswith("test_"):
                    self._run(self.document.namespace[made]())

    def _run(self, result: Any) -> None:
        """Wait for what a block has left to wait for."""
        if inspect.iscoroutine(result):
            self._runner.run(asyncio.wait_for(result, DEADLINE))

    def _sh(self, example: Example) -> None:
        shell.check(example.parsed)
        source = self._located(example.parsed)
        directive, text = self._announced()
        if directive == "terminal":
            self._shell.open(source, text, DEADLINE)
        else:
            self._shell.run(source, DEADLINE)

    def _text(self, example: Example) -> None:
        if self._announced()[0] == "output":
            self._expected += filter(None, example.parsed.splitlines())
