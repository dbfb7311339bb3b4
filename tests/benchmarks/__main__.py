"""Prints every bench in virtual time: its figures, and each beside what it has to reach."""

from __future__ import annotations

import sys

from .cases import all_benches


def main(wanted: str = "") -> int:
    """0 where everything is reached; ``wanted`` picks benches by a part of their name."""
    missed = 0
    for bench in all_benches():
        if wanted not in bench.name:
            continue
        found, checks = bench.run()
        lines = [bench.name, f"  {found}", *(f"  {check}" for check in checks)]
        sys.stdout.write("\n".join(lines) + "\n\n")
        sys.stdout.flush()
        missed += sum(1 for check in checks if not check.passed)
    sys.stdout.write(f"{missed} missed\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
