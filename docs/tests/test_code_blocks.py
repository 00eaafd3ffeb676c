"""Every block of code of every page runs."""

import os
import sys
from pathlib import Path
from unittest import mock

import pytest
from code_blocks import LANGUAGES, ROOT, Page, fences, pages, skips

PAGES = pages()
SKIPPED = 12
"""So many directives may leave out blocks.  Each says why; think twice before you raise the number."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("path", [path for path in PAGES if fences(path)], ids=name)
def test_a_page(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The page's code runs from top to bottom."""
    monkeypatch.chdir(tmp_path)
    with mock.patch.dict(os.environ):
        os.environ.pop("PUBSUBKIT_URL", None)
        Page(path, tmp_path).read()


def test_languages():
    """Each block says what it holds, so that none is left out unnoticed."""
    unknown = {name(path): found for path in PAGES if (found := set(fences(path)) - LANGUAGES)}
    assert not unknown


def test_skips():
    """Few blocks are left out, each for a reason."""
    found = [skip for path in PAGES for skip in skips(path)]
    assert len(found) <= SKIPPED, "\n".join(found)
