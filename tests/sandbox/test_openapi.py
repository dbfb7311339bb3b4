"""``openapi.yaml`` and the running sandbox agree.

In a process of its own: schemathesis writes its cases while tests are collected, and each worker
of this suite would do that again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rig import some

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).with_name("described.py")


@pytest.mark.more
@pytest.mark.parametrize("chosen", some("not slow", slow=["slow"]))
def test_schemathesis_finds_no_difference(chosen: str, tmp_path: Path) -> None:
    words = ["-n0", "-p", "schemathesis", "-p", "no:cacheprovider", "-m", chosen]
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHONPATH"))}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "--basetemp", str(tmp_path / "inner"), str(CASES)],
        cwd=ROOT,
        env=ours,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert " passed" in ran.stdout
