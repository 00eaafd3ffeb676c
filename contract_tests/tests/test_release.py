"""What the four distributions have in common when they are released: ``docs/explanation/versioning.md``."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from public_api import DISTRIBUTIONS, ROOT


def read(folder):
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


PROJECTS = {folder: read(folder) for folder in DISTRIBUTIONS}
CORE = PROJECTS["pubsubkit"]
NAMES = {project["name"] for project in PROJECTS.values()}
RELEASE = Version(CORE["version"])
NEXT = Version(f"{RELEASE.major}.{RELEASE.minor + 1}")
SAME = ("version", "requires-python", "license", "license-files", "authors", "classifiers")


@pytest.mark.parametrize("key", SAME)
def test_the_distributions_are_in_lockstep(key):
    """All four have one version, and say the same of Python, licence and authors."""
    assert all(project[key] == CORE[key] for project in PROJECTS.values())


def ours(project):
    """What *project* requires of the four distributions, also for its extras."""
    optional = project.get("optional-dependencies", {}).values()
    required = [Requirement(text) for texts in (project.get("dependencies", ()), *optional) for text in texts]
    return {each.name: each.specifier for each in required if each.name in NAMES}


@pytest.mark.parametrize("folder", [folder for folder in DISTRIBUTIONS if folder != "pubsubkit"])
def test_each_requires_its_own_release_or_a_later_one_of_the_minor_version(folder):
    """No backend is installed with a core that is older than it, or that may have broken it."""
    required = ours(PROJECTS[folder])
    assert "pubsubkit" in required
    assert set(required.values()) == {SpecifierSet(f">={RELEASE},<{NEXT}")}


def test_the_example_of_a_third_party_takes_every_release_of_the_minor_version():
    required = ours(read("docs/examples/pubsubkit_sqlite"))
    assert {RELEASE in each and NEXT not in each for each in required.values()} == {True}


def test_the_declared_pythons_are_the_tested_ones():
    """What the classifiers declare, the workflow and ``.ci/run`` test."""
    declared = re.findall(r"Python :: (3\.\d+)", " ".join(CORE["classifiers"]))
    workflow = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    run = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert re.findall(r'"(3\.\d+)"', re.search(r"python: \[(.*)\]", workflow)[1]) == declared
    assert re.search(r"^for version in (.*); do$", run, re.MULTILINE)[1].split() == declared
    assert CORE["requires-python"] == f">={declared[0]}"


@pytest.mark.parametrize("folder", DISTRIBUTIONS)
def test_each_has_the_licence(folder):
    assert (ROOT / folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
