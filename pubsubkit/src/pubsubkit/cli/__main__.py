"""``python -m pubsubkit.cli``."""

from __future__ import annotations

from _pubsubkit_start import main

if __name__ == "__main__":
    main()
