"""The site that Sphinx has built, in a real browser: on a desktop and on a phone, light and dark."""

import json
from collections.abc import Callable
from typing import Any

import chromium
import pytest
from code_blocks import ROOT

pytestmark = pytest.mark.browser

SITE = ROOT / "docs" / "_build"
DEVICES = {"desktop": (1280, "beside"), "phone": (390, "behind a button")}
FACTS = """
const facts = [...document.querySelectorAll("iframe")].map((frame) => {
  const page = frame.contentDocument, top = page.documentElement;
  const sidebar = page.querySelector(".sidebar-drawer"), menu = page.querySelector(".nav-overlay-icon");
  const scrolls = (one) => one.tagName !== "ARTICLE" && (
    ["auto", "scroll"].includes(getComputedStyle(one).overflowX) || scrolls(one.parentElement));
  const wide = (one) => Math.max(one.getBoundingClientRect().right, one === page.body ? one.scrollWidth : 0)
    > top.clientWidth && (one === page.body || !scrolls(one.parentElement));
  const shows = (one) => one.getBoundingClientRect().width > 0 && one.getBoundingClientRect().left >= 0;
  sidebar.style.transition = "none";
  const beside = shows(sidebar), button = shows(menu);
  if (button) menu.click();
  return {
    name: frame.dataset.name,
    wide: [...page.querySelectorAll("body, article *")].filter(wide).map((one) => one.tagName).slice(0, 3),
    headings: page.querySelectorAll("h1").length,
    navigation: beside ? "beside" : button && shows(sidebar) ? "behind a button" : "none",
    links: page.querySelectorAll(".sidebar-tree a").length,
    background: getComputedStyle(page.body).backgroundColor,
    elsewhere: frame.contentWindow.performance.getEntriesByType("resource").map((one) => one.name)
      .filter((name) => !name.startsWith("file:") && !name.startsWith("data:")),
  };
});
document.body.textContent = JSON.stringify(facts);
"""


@pytest.fixture(scope="module")
def site() -> list[str]:
    """The names of all pages."""
    names = [path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html")]
    found = sorted(name for name in names if not name.startswith("_"))  # what was downloaded is a page of its own
    assert "index.html" in found, "build the site first, as .ci/run does"
    return found


@pytest.fixture(scope="module")
def look(site: list[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, str], list[dict[str, Any]]]:
    """Open all pages at once, so wide, and tell of each what the script above finds."""
    folder = tmp_path_factory.mktemp("site")

    def open_all(width: int, scheme: str) -> list[dict[str, Any]]:
        frames = [f"<iframe data-name='{each}' src='{(SITE / each).as_uri()}'></iframe>" for each in site]
        style = f"<style>iframe {{ width: {width}px; height: 900px; border: 0 }}</style>"
        probe = folder / f"{scheme}{width}.html"
        probe.write_text(f"{style}{''.join(frames)}<script>onload = () => {{ {FACTS} }}</script>", encoding="utf-8")
        preferred = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
        flags = ("--dump-dom", "--allow-file-access-from-files", "--window-size=1400,1000", preferred)
        visit = chromium.visit(probe.as_uri(), folder, *flags)
        assert not visit.console
        found: list[dict[str, Any]] = json.loads(visit.output.partition("<body>")[2].partition("</body>")[0])
        assert [each["name"] for each in found] == site
        return found

    return open_all


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", DEVICES)
def test_pages(look: Callable[[int, str], list[dict[str, Any]]], device: str, scheme: str):
    """No page scrolls sideways, logs an error or loads anything from elsewhere; each has its navigation."""
    width, navigation = DEVICES[device]
    pages = look(width, scheme)
    assert not {page["name"]: page["wide"] for page in pages if page["wide"]}
    assert not {page["name"]: page["elsewhere"] for page in pages if page["elsewhere"]}
    assert not {page["name"]: page["navigation"] for page in pages if page["navigation"] != navigation}
    assert not [page["name"] for page in pages if page["links"] < 10]
    headless = [page["name"] for page in pages if page["headings"] != 1]
    assert headless in ([], ["search.html"])  # which Sphinx makes
    lightness = {page["name"]: sum(map(int, page["background"].strip("rgb()").split(","))) for page in pages}
    assert not [name for name, sum_of_rgb in lightness.items() if (sum_of_rgb > 600) != (scheme == "light")]
