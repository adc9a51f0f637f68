"""``python -m benchmarks``: measures, prints a table a section, and with ``--write`` keeps it in docs/benchmarks.md.

A section is a package here that has ``TITLE``, ``ABOUT`` and ``BENCHMARKS``: functions of the number of rounds that
yield rows, a module each. Sections are measured one after the other, nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path

from benchmarks.harness import Row
from benchmarks.report import replaced, section_text, table

SECTIONS = ("core", "panel", "images", "clusters", "delivery")
FILE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def main() -> int:
    """Measures what was asked for; 1 when a figure misses its target."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast, beside the peers.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all when left out")
    parser.add_argument("--only", default="", help="one benchmark of the sections; prints, and writes nothing")
    parser.add_argument("--rounds", type=int, default=5, help="how often each thing is measured; the median counts")
    parser.add_argument("--write", action="store_true", help="replace the sections in docs/benchmarks.md")
    words = parser.parse_args()
    if unknown := set(words.sections) - set(SECTIONS):
        parser.error(f"there is no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    if words.only and words.write:
        parser.error("--only measures a part, and --write keeps whole sections")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # users do not compile what they import anew each time
    rows: list[Row] = []
    for name in words.sections or SECTIONS:
        section = import_module(f"benchmarks.{name}")
        measured: list[Row] = []
        for benchmark in section.BENCHMARKS:
            if words.only in {"", benchmark.__module__.rpartition(".")[2]}:
                print(f"… {benchmark.__module__}", file=sys.stderr, flush=True)
                measured += benchmark(words.rounds)
        print(f"\n{section.TITLE}\n\n{table(measured)}\n", flush=True)
        if words.write:
            FILE.parent.mkdir(exist_ok=True)
            text = FILE.read_text(encoding="utf-8") if FILE.exists() else ""
            whole = section_text(section.TITLE, section.ABOUT, measured, words.rounds)
            FILE.write_text(replaced(text, name, whole), encoding="utf-8")
        rows += measured
    if not rows:
        parser.error(f"there is no benchmark {words.only!r}")
    return int(any(row.met is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
