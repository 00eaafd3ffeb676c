"""A new backend: the distribution to fill in, written by ``pubsubkit new-backend``."""

from __future__ import annotations

import re
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from pubsubkit.errors import ConflictError, InvalidArgumentError

if TYPE_CHECKING:
    from pathlib import Path

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
    written: list[Path] = []
    with as_file(files("pubsubkit.scaffold") / "template") as template:
        for source in sorted(path for path in template.rglob("*") if path.is_file() and path.suffix != ".pyc"):
            place = str(source.relative_to(template)).replace("dot_", ".")  # a wheel's checks leave hidden folders out
            target = folder / place.replace("example", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = source.read_text(encoding="utf-8")
            target.write_text(text.replace("Example", name.capitalize()).replace("example", name), encoding="utf-8")
            written.append(target)
    return written
