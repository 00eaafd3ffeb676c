"""The page in a real browser: what it looks like, and what it contains."""

import struct
import zlib
from collections import Counter
from pathlib import Path

import chromium
import pytest
from report_example import example

from pubsubkit_contract.report import html

pytestmark = pytest.mark.browser


@pytest.fixture
def page(tmp_path) -> Path:
    """The page of the example."""
    path = tmp_path / "page.html"
    path.write_text(html.render(example()), encoding="utf-8")
    return path


def visit(page: Path, *flags: str, anchor: str = "") -> str:
    """Open *page*; its document, unless a flag asks for something else."""
    return chromium.visit(f"{page.as_uri()}{anchor}", page.parent, *flags).output


def pixels(path: Path) -> tuple[int, int, Counter]:
    """Width, height and the colours of a PNG file of eight bits a channel, with how often each occurs."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, bits, kind = struct.unpack(">IIBB", data[16:26])
    size = {2: 3, 6: 4}[kind]
    packed, place = b"", 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        if data[place + 4 : place + 8] == b"IDAT":
            packed += data[place + 8 : place + 8 + length]
        place += 12 + length
    assert bits == 8
    return width, height, colours(zlib.decompress(packed), width * size, size)


def colours(raw: bytes, stride: int, size: int) -> Counter:
    """The colours of the rows of *raw*, with the filters of PNG undone."""
    found, above = Counter(), bytearray(stride)
    for start in range(0, len(raw), stride + 1):
        row = unfiltered(raw[start], bytearray(raw[start + 1 : start + 1 + stride]), above, size)
        found.update(zip(row[::size], row[1::size], row[2::size], strict=True))
        above = row
    return found


def unfiltered(kind: int, row: bytearray, above: bytearray, size: int) -> bytearray:
    """*row* with its filter undone (PNG, section 9.2)."""
    if kind == 2:
        return bytearray((value + upper) & 255 for value, upper in zip(row, above, strict=True))
    lefts, corners = bytearray(size) + row, bytearray(size) + above
    for at in range(len(row)) if kind else ():
        left = lefts[at]
        guess = left if kind == 1 else (left + above[at]) // 2 if kind == 3 else paeth(left, above[at], corners[at])
        row[at] = lefts[at + size] = (row[at] + guess) & 255
    return row


def paeth(left: int, above: int, corner: int) -> int:
    far_left, far_above = abs(above - corner), abs(left - corner)
    far_corner = abs(left + above - 2 * corner)
    if far_left <= far_above and far_left <= far_corner:
        return left
    return above if far_above <= far_corner else corner


@pytest.mark.parametrize(("width", "height"), [(1280, 1400), (400, 900)], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_screenshot(page, width, height, scheme):
    """The page has the size of the window, is light or dark as asked for, and shows the colours of the outcomes."""
    picture = page.with_suffix(".png")
    preferred = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    visit(page, f"--window-size={width},{height}", preferred, f"--screenshot={picture}")
    found_width, found_height, found = pixels(picture)
    assert (found_width, found_height) == (width, height)
    assert len(found) > 100
    tints = {"light": [(223, 243, 234), (253, 227, 220)], "dark": [(18, 57, 45), (76, 27, 18)]}[scheme]
    assert all(found[tint] > 500 for tint in tints), found.most_common(10)
    (commonest, _), *_ = found.most_common(1)
    assert (sum(commonest) > 600) == (scheme == "light")


def test_dom(page):
    """The verdicts are there, evidence is text, and the filter has been shown by the script."""
    dom = visit(page, "--dump-dom")
    assert "✓ conformant" in dom
    assert "✗ not conformant" in dom
    assert "&lt;script&gt;alert('evidence')&lt;/script&gt;" in dom
    assert dom.count("<script>") == 1
    assert '<div class="bar">' in dom
    assert dom.count('<tr class="case"') == 42


def test_only_groups_with_failures_are_unfolded(page):
    """What failed is seen without a click."""
    dom = visit(page, "--dump-dom")
    assert dom.count('<details open=""><summary>') == 1
    assert '<details open=""><summary>Acknowledgement' in dom


def test_link_to_a_case_unfolds_its_evidence(page):
    """Following the link of a failed case opens what was observed."""
    dom = visit(page, "--dump-dom", anchor="#ack.first")
    row = dom[dom.index('id="ack.first"') :].partition("</tr>")[0]
    assert '<td class="t1 fail"><details open="">' in row


def probed(page: Path, width: int, script: str) -> str:
    """What *script* returns for the document ``inner`` of *page*, shown in a window so wide."""
    probe = page.with_name("probe.html")
    probe.write_text(
        f"<iframe style='width: {width}px; height: 900px; border: 0' src='page.html'></iframe><script>onload = () => {{"
        "const inner = document.querySelector('iframe').contentDocument;"
        f"document.body.dataset.found = (() => {{ {script} }})(); }}</script>"
    )
    dom = visit(probe, "--dump-dom", "--allow-file-access-from-files", "--window-size=1400,1000")
    return dom.partition('data-found="')[2].partition('"')[0]


@pytest.mark.parametrize("width", [400, 1280])
def test_the_body_does_not_scroll_sideways(page, width):
    """However narrow the window, only the tables scroll."""
    found = probed(page, width, "const top = inner.documentElement; return `${top.scrollWidth} ${top.clientWidth}`;")
    scroll, client = map(int, found.split())
    assert 0 < client <= width
    assert scroll <= client


VISIBLE = (
    "return [...inner.querySelectorAll('.case')].filter((row) => row.offsetHeight).map((row) => row.id).join(' ');"
)


@pytest.mark.parametrize(
    ("action", "shown"),
    [
        ("", "ack.first ack.second"),
        ("inner.querySelector('[data-show=fail]').click();", "ack.first"),
        ("inner.querySelector('[data-show=open]').click();", "ack.first dlq.second rst.first"),
        (
            "const box = inner.querySelector('#find'); box.value = 'DLQ.'; box.dispatchEvent(new Event('input'));",
            "dlq.first dlq.second",
        ),
        (
            "inner.querySelector('[data-show=fail]').click(); inner.querySelector('[data-show=all]').click();",
            "ack.first ack.second",
        ),
    ],
)
def test_filter(page, action, shown):
    """Cases are found by what they came to and by text; their groups unfold and go back."""
    assert probed(page, 1000, action + VISIBLE) == shown


def test_unfold_all(page):
    """One button unfolds every group, and folds them again."""
    click = "inner.querySelector('#unfold').click();"
    assert len(probed(page, 1000, click + VISIBLE).split()) == 42
    assert probed(page, 1000, click * 2 + VISIBLE) == ""


def test_evidence_is_shown_beside_evidence(page):
    """Unfolding the results of a case shows a panel for each, and only those."""
    script = (
        "inner.querySelectorAll('[id=\"ack.second\"] td > details')[1].open = true;"
        "return [...inner.querySelectorAll('.panel')].filter((one) => one.offsetHeight).length;"
    )
    assert probed(page, 1000, script) == "1"
