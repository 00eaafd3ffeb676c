"""Links between pages and to files of the repository, as they are followed in the repository itself."""

import re
from pathlib import Path

import pytest
from code_blocks import ROOT, pages


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def slugs(path: Path) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", pages(), ids=name)
def test_links(path: Path):
    """Every relative link leads to something that exists, and to a heading that its page has."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        if "://" not in link and not (file.exists() and (not anchor or anchor in slugs(file))):
            broken.append(link)
    assert not broken
