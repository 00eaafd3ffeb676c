"""What ``pubsubkit new-backend`` writes."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from installing import pretend_to_install

from pubsubkit_contract.requested import wanted_groups

SCAFFOLD = [sys.executable, "-m", "pubsubkit.cli", "new-backend"]


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a new distribution."""
    folder = tmp_path_factory.mktemp("new")
    result = run(*SCAFFOLD, "redis", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert "pip install -e '.[testing]'" in result.stderr
    made = folder / "pubsubkit-redis"
    files = [path for path in made.rglob("*") if path.is_file()]
    assert sorted(result.stdout.split()) == sorted(str(path.relative_to(folder)) for path in files)
    return made


def test_it_has_a_name_of_its_own(written: Path) -> None:
    """Nothing in the new distribution is called as in the template, and every part is there."""
    files = [path for path in written.rglob("*") if path.is_file()]
    assert "example" not in "".join(path.read_text().lower() + str(path.relative_to(written)) for path in files)
    names = {str(path.relative_to(written)) for path in files}
    assert {"pyproject.toml", "README.md", "tests/test_contract.py", ".github/workflows/contract.yml"} <= names
    assert {f"src/pubsubkit_redis/{name}" for name in ("py.typed", "driver.py", "testing.py")} <= names


def test_what_was_written_as_json(tmp_path: Path) -> None:
    """--json tells the folder and the files in a line."""
    result = run(*SCAFFOLD, "redis", "--json", cwd=tmp_path)
    told = json.loads(result.stdout)
    assert told["folder"] == "pubsubkit-redis"
    assert told["files"]
    assert all((tmp_path / file).is_file() for file in told["files"])


def test_the_contract_says_what_is_missing(written: Path, tmp_path: Path) -> None:
    """It runs at once: each case fails by the method that is to be written, and names its rule."""
    pretend_to_install(written, tmp_path)
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", f"--pubsubkit-report={tmp_path}/r"]
    path = os.pathsep.join((str(written / "src"), str(tmp_path)))
    result = run(*command, cwd=written, PYTHONPATH=path)
    assert result.returncode == 1
    assert "see: docs/reference/contract.md#coreroundtrip" in result.stdout
    (target,) = json.loads((tmp_path / "r").read_text())["targets"]
    outcomes = Counter(case["outcome"] for case in target["cases"])
    assert outcomes["fail"] > 100
    assert set(outcomes) <= {"fail", "pass", "not_applicable", "not_run"}
    blank = [case["id"] for case in target["cases"] if case["outcome"] == "fail" and not case["reason"]]
    assert not blank
    reasons = Counter(case["reason"] for case in target["cases"] if case["outcome"] == "fail")
    assert "RedisDriver.open is to be written" in reasons.most_common(1)[0][0]


@pytest.mark.parametrize("name", ["Redis", "my-broker", "1st", "a b", ""])
def test_a_bad_name_is_refused(tmp_path: Path, name: str) -> None:
    """The name must be a scheme and a part of a module's name."""
    result = run(*SCAFFOLD, name, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("pubsubkit: bad name")
    assert not list(tmp_path.iterdir())


def test_what_exists_is_left_alone(tmp_path: Path) -> None:
    """A folder with something in it is never written into."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    result = run(*SCAFFOLD, "redis", "--path", "mine", cwd=tmp_path)
    assert result.returncode == 2
    assert "exists" in result.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    "page", ["pubsubkit/src/pubsubkit/scaffold/_template/README.md", "docs/how-to/write-a-backend.md"]
)
def test_the_groups_that_pages_name_exist(page: str) -> None:
    """Every group of ``--only``, and of the column of groups in the guide, is one of the suite's."""
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    named = re.findall(r"--only ([a-z,]+)", text) + re.findall(r"\S \| `([a-z]+(?:,[a-z]+)*)` \|", text)
    assert len(named) > 5
    for groups in named:
        wanted_groups(groups)


def test_a_name_that_hides_another_module_is_refused(tmp_path: Path) -> None:
    """``pubsubkit_contract`` is the suite itself."""
    result = run(*SCAFFOLD, "contract", cwd=tmp_path)
    assert result.returncode == 2
    assert "pubsubkit_contract is the module of another distribution" in result.stderr
    assert not list(tmp_path.iterdir())
