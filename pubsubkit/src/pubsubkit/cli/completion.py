"""``pubsubkit completion``: click's completion scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import get_completion_class

from pubsubkit.cli.failure import DONE

if TYPE_CHECKING:
    from click.shell_completion import ShellComplete

__all__ = ["completion"]

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> int:
    """Print what makes SHELL complete the commands and options of pubsubkit, and the schemes of URLs.

    For the present shell:

    \b
      eval "$(pubsubkit completion bash)"
      eval "$(pubsubkit completion zsh)"
      pubsubkit completion fish | source

    To have it in every shell, write it to a file once; again after an update of click:

    \b
      mkdir -p ~/.local/share/bash-completion/completions
      pubsubkit completion bash > ~/.local/share/bash-completion/completions/pubsubkit

    \b
      pubsubkit completion zsh > ~/.pubsubkit-complete.zsh
      echo '. ~/.pubsubkit-complete.zsh' >> ~/.zshrc     # below the line with compinit

    \b
      pubsubkit completion fish > ~/.config/fish/completions/pubsubkit.fish
    """  # noqa: D301 - \b is a mark for click
    root = context.find_root()
    kind: type[ShellComplete] | None = get_completion_class(shell)
    if kind is None:  # pragma: no cover - click has all of _SHELLS
        raise click.UsageError(f"click cannot complete in {shell}")
    click.echo(kind(root.command, {}, "pubsubkit", "_PUBSUBKIT_COMPLETE").source())
    return DONE
