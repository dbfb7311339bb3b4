"""Every awkward file under ``tests/data/manifests`` comes to exactly what is written beside it."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from seedance_batch.core.manifest import Manifest, Severity
from seedance_batch.core.model import Allow
from seedance_batch.reader.read import grouped, read_manifest
from seedance_batch.reader.source import ReadOptions

CORPUS = Path(__file__).parent.parent / "data" / "manifests"
EXPECTED = (CORPUS / "expected.yaml").read_text(encoding="utf-8")
CASES: list[dict[str, Any]] = yaml.load(EXPECTED, yaml.CSafeLoader)


def options_of(case: dict[str, Any]) -> ReadOptions:
    given = dict(case.get("options", {}))
    if "allow" in given:
        given["allow"] = Allow(**given["allow"])
    return ReadOptions(**given)


def lines(manifest: Manifest, severity: Severity) -> list[str]:
    told = grouped(found for found in manifest.findings if found.severity is severity)
    return [line.replace(str(CORPUS), "HERE") for line in told]


def here(expected: str) -> str:
    """An expectation with the words that this system has for its errors."""
    return re.sub(r"\{(E[A-Z]+)\}", lambda name: os.strerror(getattr(errno, name[1])), expected)


def name_of(case: dict[str, Any]) -> str:
    return " ".join([case["file"], *map(str, case.get("options", {}).values())])


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_each_awkward_file_comes_to_what_is_expected_of_it(case: dict[str, Any]) -> None:
    manifest = read_manifest(CORPUS / case["file"], options_of(case))

    assert len(manifest.jobs) == case["jobs"]
    for severity in Severity:
        assert lines(manifest, severity) == list(map(here, case.get(f"{severity.value}s", [])))
    if "prompts" in case:
        assert [job.input.prompt for job in manifest.jobs] == case["prompts"]


def test_the_corpus_is_large_and_no_file_in_it_is_forgotten() -> None:
    described = {case["file"] for case in CASES}
    there = {path.name for path in CORPUS.iterdir() if path.is_file()}

    assert there - described == {"make.py", "expected.yaml", ".gitattributes"}, "not described"
    assert described <= there
    assert len(described) >= 60
