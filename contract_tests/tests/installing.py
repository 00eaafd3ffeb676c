"""A distribution that looks installed."""

import tomllib
from pathlib import Path


def pretend_to_install(distribution: Path, folder: Path) -> None:
    """Make *distribution* look installed where *folder* is on the path."""
    project = tomllib.loads((distribution / "pyproject.toml").read_text())["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    entries = project["entry-points"]["pubsubkit.backends"].items()
    (info / "entry_points.txt").write_text("\n".join(["[pubsubkit.backends]", *(f"{k} = {v}" for k, v in entries)]))
