"""A new backend: the distribution to fill in, written by ``pubsubkit new-backend``."""

from __future__ import annotations

import re
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory

from pubsubkit.errors import ConflictError, InvalidArgumentError

__all__ = ["write_backend"]


def write_backend(name: str, folder: Path) -> list[Path]:
    """Write the distribution ``pubsubkit-NAME`` into *folder*; return its files.

    :param name: the scheme of its URLs, such as ``redis``.
    :param folder: is made, and must not exist or be empty.
    :raises InvalidArgumentError: *name* cannot be a scheme and the name of a module.
    :raises ConflictError: *folder* has something in it; nothing is written.
    :raises OSError: it cannot be written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*", name):
        raise InvalidArgumentError(f"bad name {name!r}: expected small letters and digits, such as 'redis'")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConflictError(f"{str(folder)!r} exists: give another folder by --path, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".draft-", dir=folder) as draft:
        written = _write(name, Path(draft))
        for part in Path(draft).iterdir():
            part.replace(folder / part.name)
    return [folder / place for place in written]


def _write(name: str, folder: Path) -> list[str]:
    """Fill *folder*; return where its files are in it."""
    places: list[str] = []
    with as_file(files("pubsubkit.scaffold") / "_template") as template:
        for source in sorted(path for path in template.rglob("*") if path.is_file() and path.suffix != ".pyc"):
            # "dot_" because the checks of wheels leave hidden folders out
            places.append(str(source.relative_to(template)).replace("dot_", ".").replace("example", name))
            target = folder / places[-1]
            target.parent.mkdir(parents=True, exist_ok=True)
            text = source.read_text(encoding="utf-8")
            target.write_text(text.replace("Example", name.capitalize()).replace("example", name), encoding="utf-8")
    return places
