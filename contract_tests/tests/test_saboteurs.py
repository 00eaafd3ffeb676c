"""The contract is proved by broken backends: each is caught by the cases that it names."""

import json
from collections import Counter

import pytest
from saboteurs.saboteur import Saboteur
from saboteurs.trial import MATRIX, load_all, try_on
from saboteurs.unproven import UNPROVEN

from pubsubkit_contract.suite import ContractSuite, cases_of

SABOTEURS = load_all()
CASES = cases_of(ContractSuite)


@pytest.mark.filterwarnings("ignore")  # a broken backend leaves all sorts of things behind
@pytest.mark.parametrize("saboteur", SABOTEURS.values(), ids=SABOTEURS.keys())
def test_each_is_caught(saboteur: Saboteur):
    """Every case that a saboteur names fails on it."""
    survived = set(saboteur.caught_by) - try_on(saboteur, saboteur.caught_by).keys()
    assert not survived, f"{', '.join(survived)} did not notice: {saboteur.broken}"


def test_every_case_is_named():
    """Every case is named by a saboteur, and every saboteur names a case and says what is broken."""
    named = Counter(case_id for saboteur in SABOTEURS.values() for case_id in saboteur.caught_by)
    assert named.keys() == CASES.keys()
    assert all(saboteur.broken and saboteur.caught_by for saboteur in SABOTEURS.values())


def test_every_case_catches_what_no_other_does():
    """Each case is the only one to catch some saboteur, or is listed as unproven with the reason.

    That is read from the matrix of all saboteurs and all cases, which is made by a command.
    """
    matrix: dict[str, list[str]] = json.loads(MATRIX.read_text(encoding="utf-8"))
    assert matrix.keys() == SABOTEURS.keys(), "run: PYTHONPATH=contract_tests/tests python -m saboteurs.trial"
    alone = {failed[0] for failed in matrix.values() if len(failed) == 1}
    assert CASES.keys() - alone == UNPROVEN.keys()
    for name, saboteur in SABOTEURS.items():
        assert set(saboteur.caught_by) <= set(matrix[name]), name
