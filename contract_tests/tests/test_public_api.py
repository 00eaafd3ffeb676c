"""What the distributions promise by name: ``docs/explanation/versioning.md``."""

import ast
from difflib import unified_diff
from importlib import import_module

import public_api
import pytest
from public_api import DISTRIBUTIONS, PAGE, PUBLIC, ROOT, SHARED

pytestmark = pytest.mark.xdist_group("public api")  # reading four packages takes two seconds


@pytest.fixture(scope="module")
def modules():
    return public_api.load()


def test_a_change_of_the_public_api_is_seen(modules):
    """Nobody changes a public name or signature without a diff that shows it."""
    was, now = PAGE.read_text(encoding="utf-8").splitlines(), public_api.page(modules).splitlines()
    changes = list(unified_diff(was, now, "the page", "the code", n=1, lineterm=""))
    assert changes == [], "\n".join((public_api.__doc__, *changes))


@pytest.mark.parametrize("name", PUBLIC)
def test_all_names_what_there_is(name):
    module = import_module(name)
    assert [each for each in module.__all__ if not hasattr(module, each)] == []


@pytest.mark.parametrize("name", PUBLIC)
def test_all_is_complete(modules, name):
    """What a public module defines is private by its name, or public."""
    module = modules[name]
    defined = {
        each.name for each in module.members.values() if not (each.is_alias or each.is_module or each.is_private)
    }
    assert defined - set(module.exports) - {"logger"} - {each for each in defined if each.startswith("__")} == set()


def used_of_the_core(folder):
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / folder / "src").rglob("*.py")]
    imports = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    core = [node for node in imports if node.module.partition(".")[0] == "pubsubkit"]
    return {f"{node.module}.{alias.name}" for node in core for alias in node.names}


def public(modules):
    return {*PUBLIC, *(f"{module}.{name}" for module in PUBLIC for name in modules[module].exports)}


def test_the_other_distributions_use_what_is_public(modules):
    """A backend goes on working with a later core of the same minor version."""
    used = set[str]().union(*(used_of_the_core(folder) for folder in DISTRIBUTIONS if folder != "pubsubkit"))
    assert used - public(modules) == set(SHARED)


def test_a_third_party_needs_only_what_is_public(modules):
    used = used_of_the_core("docs/examples/pubsubkit_sqlite")
    assert used
    assert used <= public(modules)
