"""What the four distributions promise, as text: ``python3 -m uv run python contract_tests/tests/public_api.py``.

That writes ``docs/reference/public-api.txt`` anew, which a test compares with the code: whoever changes the public API
sees it in the diff.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import griffe

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reference/public-api.txt"
DISTRIBUTIONS = {
    "pubsubkit": "pubsubkit",
    "pubsubkit_memory": "pubsubkit_memory",
    "pubsubkit_nats": "pubsubkit_nats",
    "contract_tests": "pubsubkit_contract",
}
"""The folder of each distribution, and its package."""
PUBLIC = (
    "pubsubkit",
    "pubsubkit.cloudevents",
    "pubsubkit.dead_letters",
    "pubsubkit.decoding",
    "pubsubkit.driver",
    "pubsubkit.errors",
    "pubsubkit.hookspecs",
    "pubsubkit.logs",
    "pubsubkit.options",
    "pubsubkit.otel",
    "pubsubkit.params",
    "pubsubkit.prometheus",
    "pubsubkit.settings",
    "pubsubkit.subjects",
    "pubsubkit.url",
    "pubsubkit.worker",
    "pubsubkit_memory",
    "pubsubkit_memory.testing",
    "pubsubkit_memory.workertest",
    "pubsubkit_nats",
    "pubsubkit_nats.testing",
    "pubsubkit_contract",
)
"""The modules that everybody may use; what ``docs/explanation/versioning.md`` promises holds for them."""
SHARED = (
    "pubsubkit.native.differences",
    "pubsubkit.native.merged",
    "pubsubkit.payload.message_size",
    "pubsubkit.redaction.redact",
    "pubsubkit.registry.create_driver",
    "pubsubkit.registry.find_backend",
    "pubsubkit.registry.installed_backends",
)
"""What else of the core the project's other distributions use."""


def load() -> griffe.ModulesCollection:
    """The four packages, read without importing them."""
    loader = griffe.GriffeLoader(
        search_paths=[ROOT / folder / "src" for folder in DISTRIBUTIONS], docstring_parser=None
    )
    for package in DISTRIBUTIONS.values():
        loader.load(package)
    loader.resolve_aliases()
    return loader.modules_collection


def page(modules: griffe.ModulesCollection) -> str:
    """The public API, a line for each name."""
    public = [line for name in PUBLIC for line in (name, *_lines(modules[name]), "")]
    shared = [f"  {line}" for name in SHARED for line in _described(modules[name])]
    return "\n".join((*public, "for the project's own distributions alone", *shared, ""))


def _lines(module: griffe.Object) -> Iterator[str]:
    for name in sorted(map(str, module.exports or ())):
        home = module.members[name].canonical_path.removesuffix(f".{name}")
        if home != module.path and home in PUBLIC:
            yield f"  {name} of {home}"
        else:
            yield from (f"  {line}" for line in _described(module.members[name]))


def _described(member: griffe.Object | griffe.Alias) -> Iterator[str]:
    found = member.final_target if isinstance(member, griffe.Alias) else member
    if isinstance(found, griffe.Class):
        yield f"class {found.name}({', '.join(map(str, found.bases))})"
        for each in sorted(found.all_members.values(), key=lambda each: each.name):
            if _is_public(each):
                yield from (f"  {line}" for line in _described(each))
    elif isinstance(found, griffe.Function):
        kind = [label for label in ("classmethod", "staticmethod", "async") if label in found.labels]
        yield " ".join((*kind, "def", found.signature()))
    elif isinstance(found, griffe.Attribute):
        constant = not found.annotation and found.labels & {"class-attribute", "module-attribute"}
        yield found.name + (f": {found.annotation}" if found.annotation else f" = {found.value}" if constant else "")


def _is_public(member: griffe.Object | griffe.Alias) -> bool:
    """Not so the cases of the contract, which the rule book lists."""
    special = member.is_special and member.is_function and member.name not in {"__init_subclass__", "__post_init__"}
    hidden = member.name.startswith("_") and not special
    return not hidden and not member.canonical_path.startswith("pubsubkit_contract.cases.")


if __name__ == "__main__":
    PAGE.write_text(page(load()), encoding="utf-8")
