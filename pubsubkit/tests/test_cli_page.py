"""The page of the command line."""

from cli_page import PAGE, page


def test_the_page_is_what_the_commands_say(monkeypatch) -> None:
    """To make it anew: python pubsubkit/tests/cli_page.py."""
    monkeypatch.delenv("PUBSUBKIT_URL", raising=False)
    assert PAGE.read_text(encoding="utf-8") == page()
