"""The manifests that the README uses are sound, and say what a studio would say."""

from __future__ import annotations

from pathlib import Path

import yaml

from seedance_batch.cli.starter import manifest_schema
from seedance_batch.core.manifest import Manifest
from seedance_batch.core.model import AspectRatio, Resolution
from seedance_batch.reader.read import read_manifest

MANIFESTS = Path(__file__).parent.parent.parent / "manifests"


def storyboard() -> Manifest:
    return read_manifest(MANIFESTS / "storyboard.csv")


def test_the_storyboard_has_twelve_rows_and_nothing_to_complain_about() -> None:
    manifest = storyboard()

    assert manifest.findings == ()
    assert len(manifest.jobs) == 12
    assert manifest.name == "storyboard"
    assert manifest.columns[:2] == ("shot", "client")


def test_the_storyboard_shows_every_kind_of_row() -> None:
    inputs = [job.input for job in storyboard().jobs]

    assert sum(i.resolution is Resolution.P480 for i in inputs) >= 10
    assert {i.duration for i in inputs} == {4, 5, 6}
    assert {i.generate_audio for i in inputs} == {True, False}
    assert len({i.aspect_ratio for i in inputs}) >= 5
    assert AspectRatio.ADAPTIVE not in {i.aspect_ratio for i in inputs}
    assert {len(i.frames) for i in inputs} == {0, 1, 2}
    assert sum(bool(i.reference_image_urls) for i in inputs) == 1
    assert any({",", '"', "\n"} <= set(i.prompt) for i in inputs)
    assert any("灯" in i.prompt for i in inputs)


def test_the_teaser_takes_its_defaults_and_its_own_words() -> None:
    manifest = read_manifest(MANIFESTS / "teaser.yaml")

    assert manifest.findings == ()
    assert [job.row.cells["client"] for job in manifest.jobs] == ["Lumo Lighting"] * 4
    assert [job.row.cells["shot"] for job in manifest.jobs] == ["010", "020", "030", "040"]
    assert [job.input.duration for job in manifest.jobs] == [4, 5, 6, 4]


def test_the_frames_are_small() -> None:
    sizes = [path.stat().st_size for path in (MANIFESTS / "frames").iterdir()]

    assert len(sizes) == 6
    assert max(sizes) < 12_000


def test_the_schema_accepts_the_teaser_and_refuses_slips() -> None:
    import jsonschema_rs

    schema = jsonschema_rs.validator_for(manifest_schema())
    teaser = yaml.safe_load((MANIFESTS / "teaser.yaml").read_text(encoding="utf-8"))

    assert schema.is_valid(teaser)
    assert not schema.is_valid({"row": [{"prompt": "A lamp wakes"}]})
    assert not schema.is_valid({"rows": [{"prompt": "ab"}]})
    assert not schema.is_valid({"rows": [{"prompt": "A lamp wakes", "duration": 3}]})
    assert not schema.is_valid({"rows": [{"prompt": "A lamp wakes", "resolution": "720i"}]})
    assert schema.is_valid({"matrix": {"prompt": ["A lamp wakes"]}, "variants": 2})
