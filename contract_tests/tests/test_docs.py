"""The pages that are made from the cases and their results are those of today's cases."""

import re
from pathlib import Path

from saboteurs import rule_book

from pubsubkit_contract.suite import ContractSuite, cases_of

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def test_the_rule_book():
    """docs/reference/contract.md is what the cases and the saboteurs say."""
    assert rule_book.PAGE.read_text(encoding="utf-8") == rule_book.render(), (
        "run: PYTHONPATH=contract_tests/tests python -m saboteurs.rule_book"
    )


def test_the_conformance_pages():
    """docs/reference/conformance has every case of today, and both backends conform."""
    page = (REFERENCE / "conformance.md").read_text(encoding="utf-8")
    html = (REFERENCE / "conformance.html").read_text(encoding="utf-8")
    cases = set(cases_of(ContractSuite))
    assert set(re.findall(r"`([a-z]+\.[a-z_]+)`", page)) >= cases
    assert all(case in html for case in cases)
    for backend in ("memory", "nats"):
        assert re.search(rf"{backend} conforms to pubsubkit contract", page)
    assert (REFERENCE / "conformance.png").read_bytes().startswith(b"\x89PNG")


def test_the_cases_of_the_explanation():
    """Every case that the explanation names exists."""
    page = (REFERENCE.parent / "explanation" / "contract.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z]+\.[a-z_]+)`", page))
    assert len(named) > 20
    assert named <= set(cases_of(ContractSuite))
