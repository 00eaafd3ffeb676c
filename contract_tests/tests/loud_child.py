"""Imported by a child process of the suite that complains of more than a pipe holds."""

import sys

sys.stderr.write("complaint\n" * 20_000)
