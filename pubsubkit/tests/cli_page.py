"""Makes the page of the command line from its own help: ``python pubsubkit/tests/cli_page.py``."""

from collections.abc import Iterator
from pathlib import Path

import click

from pubsubkit.cli.app import application

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
_HEAD = """# The command line

<!-- Generated from the commands' own help by pubsubkit/tests/cli_page.py; a test compares. -->

`pip install 'pubsubkit[cli]'` brings the command `pubsubkit`.
"""


def page() -> str:
    """The page as it should be."""
    return "\n".join([_HEAD, *_sections(application, None, "pubsubkit")])


def _sections(command: click.Command, parent: click.Context | None, name: str) -> Iterator[str]:
    context = command.make_context(name, [], parent, resilient_parsing=True, terminal_width=100)
    path = context.command_path
    yield f"{'#' * (2 if len(path.split()) < 3 else 3)} {path}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            found = command.get_command(context, sub)
            assert found is not None
            yield from _sections(found, context, sub)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
