"""Fail when the branch coverage of the core package is below a floor: coverage_floor.py REPORT.json PERCENT."""

import json
import sys
from pathlib import Path

report = json.loads(Path(sys.argv[1]).read_text())
floor = float(sys.argv[2])
files = {name: data["summary"] for name, data in report["files"].items() if "/pubsubkit/src/" in f"/{name}"}
covered = sum(item["covered_lines"] + item.get("covered_branches", 0) for item in files.values())
total = sum(item["num_statements"] + item.get("num_branches", 0) for item in files.values())
percent = 100 * covered / total
sys.stdout.write(f"core: {percent:.1f} % of {total} lines and branches, the floor is {floor:g} %\n")
sys.exit(percent < floor)
