"""``python -m pubsubkit.cli``."""

from __future__ import annotations

from pubsubkit.cli import main

if __name__ == "__main__":
    main()
