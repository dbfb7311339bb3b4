"""The prompts that the server charges for are, byte for byte, those that the manifest holds."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from seedance_batch.api.client import Client
from seedance_batch.core.manifest import Manifest, body_template, render_body
from seedance_batch.reader.read import grouped, read_manifest
from seedance_batch.sandbox.config import SandboxConfig
from seedance_batch.sandbox.server import build, inline
from tests.in_process import InProcess

from .sheets import WRITERS

CORPUS = Path(__file__).parent.parent / "data" / "manifests"


def prompts_of(path: Path) -> list[str]:
    """The prompts in a CSV, by Python's own reader."""
    with path.open(encoding="utf-8", newline="") as file:
        return [row["prompt"] for row in csv.DictReader(file)]


def ledger_of(manifest: Manifest) -> dict[str, Any]:
    """What a sandbox was asked for, by idempotency key, once every row of a manifest was sent."""
    assert not manifest.problems, grouped(manifest.problems)

    async def main() -> dict[str, Any]:
        sandbox = build(SandboxConfig(generation_time="1000"), offload=inline)
        transport = InProcess(sandbox.api)
        async with Client("http://127.0.0.1:1", "sk-test", transport=transport) as client:
            for job in manifest.jobs:
                body = render_body(body_template(job.model, job.input), {})
                answer = await client.create(body, f"key-{job.row.number}")
                assert answer.value is not None, answer
        found = {task.idempotency_key: task.input for task in sandbox.engine.ledger.tasks()}
        sandbox.close()
        return found

    return anyio.run(main)


@pytest.mark.parametrize("name", [*WRITERS, "awkward-prompts.jsonl", "awkward-prompts.csv"])
def test_the_ledger_holds_the_manifests_prompts(tmp_path: Path, name: str) -> None:
    expected = prompts_of(CORPUS / "awkward-prompts.csv")
    path = CORPUS / name
    if name in WRITERS:
        path = tmp_path / name
        WRITERS[name](path, [{"shot": "", "prompt": prompt} for prompt in expected])

    charged = ledger_of(read_manifest(path))

    assert [charged[f"key-{n}"]["prompt"] for n in range(1, len(expected) + 1)] == expected


def test_every_field_arrives_as_it_was_written(tmp_path: Path) -> None:
    row = {
        "prompt": "A lamp wakes",
        "aspect_ratio": "21:9",
        "duration": "15",
        "resolution": "1080p",
        "reference_image_urls": "https://example.com/a,b.png?x=1|asset://7",
        "return_last_frame": "yes",
        "generate_audio": "no",
        "web_search": "true",
        "nsfw_checker": "1",
        "seed": "2147483647",
    }
    path = tmp_path / "shots.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")

    assert ledger_of(read_manifest(path))["key-1"] == {
        "prompt": "A lamp wakes",
        "aspect_ratio": "21:9",
        "duration": 15,
        "resolution": "1080p",
        "reference_image_urls": ["https://example.com/a,b.png?x=1", "asset://7"],
        "return_last_frame": True,
        "generate_audio": False,
        "web_search": True,
        "nsfw_checker": True,
        "seed": 2147483647,
    }
