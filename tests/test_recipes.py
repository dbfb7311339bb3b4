"""CONTRIBUTING.md's recipes hold: whoever adds to a closed set is told of what they forgot."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path
from typing import Any, get_type_hints

import click
import pytest
import yaml

from seedance_batch import progress
from seedance_batch.cli import flags, starter
from seedance_batch.cli.run import run
from seedance_batch.core import attempt, columns, decide, model, outcome, shapes
from seedance_batch.core.attempt import Phase
from seedance_batch.core.manifest import Code, Severity
from seedance_batch.core.model import INPUT_FIELDS, LIST_FIELDS, MEDIA_FIELDS, TaskInput
from seedance_batch.core.outcome import Status
from seedance_batch.core.select import Selection
from seedance_batch.core.steps import Action
from seedance_batch.events import Stop
from seedance_batch.reader import cells, read, rows
from seedance_batch.reader.source import Format, Loading, Noted, ReadOptions, Source, format_of
from seedance_batch.sandbox import answers, config, views
from seedance_batch.sandbox.answers import Ending, Refusal, Reply
from seedance_batch.sandbox.file_origin import Piece, broken_piece
from seedance_batch.settings import RunSettings
from seedance_batch.writer import xlsx
from seedance_batch.writer.lines import _OF_OUTCOME, TAKE_COLUMNS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "seedance_batch"
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
DESIGN = (ROOT / "DESIGN.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PRODUCERS = (ROOT / "docs" / "producers.md").read_text(encoding="utf-8")
CORPUS = ROOT / "tests" / "data" / "manifests"
SENT = set(Phase) - {Phase.PLANNED}


# ── a column ────────────────────────────────────────────────────────────────────────────────────


def test_a_column_of_ours_has_a_value_and_a_width() -> None:
    assert set(columns.RESULT_COLUMNS) == _OF_OUTCOME.keys()
    assert {*columns.RESULT_COLUMNS, *TAKE_COLUMNS} == xlsx._WIDTHS.keys()


# ── an input field ──────────────────────────────────────────────────────────────────────────────


def kind_of(name: str) -> type:
    """What a field holds, by its annotation in the model."""
    words = str(TaskInput.model_fields[name].annotation)
    return next((kind for kind in (bool, int) if re.search(rf"\b{kind.__name__}\b", words)), str)


@pytest.mark.parametrize("name", INPUT_FIELDS)
def test_an_input_field_is_read_described_and_offered_to_people(name: str) -> None:
    assert name == "prompt" or cells.parser(name), "cells._PARSERS"
    assert name in starter.NOTES
    assert f"`{name}`" in PRODUCERS


@pytest.mark.parametrize("name", sorted(set(INPUT_FIELDS) - LIST_FIELDS))
def test_editors_know_what_a_field_holds(name: str) -> None:
    shape: dict[str, Any] = starter._field(name)
    assert (shape == starter._TRUTH) is (kind_of(name) is bool), "schema._field"
    assert (shape.get("type") == "integer") is (kind_of(name) is int), "schema._field"


def test_a_field_that_is_left_out_leaves_a_row_the_order_that_it_was() -> None:
    # Were it part of the content, every row of every run folder would count as edited.
    bare = TaskInput(prompt="a red fox").effective()
    assert bare.keys() == model.ALWAYS_SENT, "model.FALSE_BY_DEFAULT"


def test_media_fields_are_known_as_such() -> None:
    assert {name for name in INPUT_FIELDS if "_url" in name} == MEDIA_FIELDS.keys()
    assert MEDIA_FIELDS.keys() <= rows.PLACEHOLDERS.keys()


def test_the_sandbox_has_the_same_fields() -> None:
    spec = yaml.safe_load((PACKAGE / "sandbox" / "openapi.yaml").read_text(encoding="utf-8"))
    assert set(INPUT_FIELDS) == spec["components"]["schemas"]["Input"]["properties"].keys()


# ── a manifest format ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", Format)
def test_a_format_has_a_loader(form: Format) -> None:
    assert callable(read._loader(form)), "read._LOADERS"


def test_a_format_is_named_to_people_and_has_files_in_the_corpus() -> None:
    noted = Noted()
    read.tables_of(Source(b"%PDF", "x.pdf", ROOT), Loading(ReadOptions(), noted))
    words = re.findall(r"\w+", " ".join(finding.message for finding in noted))
    assert [form for form in Format if form not in words] == []
    for page in README, PRODUCERS:
        assert [form for form in Format if not re.search(rf"\b{form}\b", page)] == []
    files = [path for path in CORPUS.iterdir() if path.is_file()]
    found = {format_of(path.read_bytes(), path.name) for path in files}
    assert set(Format) <= found


# ── a phase, a status ───────────────────────────────────────────────────────────────────────────


def test_a_phase_has_its_place_in_every_table() -> None:
    assert outcome.STATUS_OF.keys() == set(Phase)
    assert set(decide._BEST_FIRST) == SENT
    assert progress._MARKS.keys() == SENT
    assert set(Phase) | set(Status) == {*xlsx.STATUS_COLOURS}
    assert xlsx._MEANING.keys() == set(Status)


def test_a_phase_is_live_lost_or_waits_for_a_person() -> None:
    assert sorted([*decide.LIVE, *decide.LOST, Phase.AMBIGUOUS]) == sorted(SENT)
    assert {Phase.IN_FLIGHT, Phase.DOWNLOADING} == (
        SENT - attempt.FINAL_PHASES - attempt.UNSETTLED_PHASES
    )


def rooms_with_sets_of_phases() -> set[str]:
    """The files that hold phases in a constant, where a new one may be missing."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and re.search(
                r"\bPhase\.[A-Z]", ast.unparse(node)
            ):
                found.add(path.relative_to(PACKAGE).as_posix())
    return found


def test_the_recipe_for_a_phase_names_every_set_of_phases() -> None:
    recipe = CONTRIBUTING.partition("**a phase**")[2].partition("\n**")[0]
    assert {room for room in rooms_with_sets_of_phases() if f"`{room}" not in recipe} == set()


def test_the_sandbox_speaks_no_status_that_the_client_takes_for_unknown() -> None:
    spoken = {*config.TaskState, *views._ALIASES.values()}
    assert {name for name in spoken if not shapes.knows_status(name)} == set()


def test_the_schema_of_output_has_every_word_that_there_is() -> None:
    defs = starter.output_schema()["$defs"]
    words = {
        ("event_row", "status"): Phase,
        ("event_row", "error_class"): attempt.ErrorClass,
        ("event_row", "reason"): attempt.Reason,
        ("event_row", "kind"): attempt.Kind,
        ("event_end", "stop"): Stop,
        ("step", "action"): Action,
        ("finding", "severity"): Severity,
        ("finding", "code"): Code,
    }
    for (name, field), known in words.items():
        said = set(defs[name]["properties"][field]["enum"]) - {None}
        assert said == set(known), (name, field)


# ── a fault ─────────────────────────────────────────────────────────────────────────────────────

ODDITIES = [*config.OutputFault, *config.CallbackFault, *config.StatusFault]
SANDBOX = "".join(
    path.read_text(encoding="utf-8")
    for path in (PACKAGE / "sandbox").glob("*.py")
    if path.name != "config.py"
)


@pytest.mark.parametrize("fault", ODDITIES, ids=lambda fault: f"{type(fault).__name__} {fault}")
def test_an_oddity_that_can_be_asked_for_is_done_somewhere(fault: Any) -> None:
    assert re.search(rf"\b{type(fault).__name__}\.{fault.name}\b", SANDBOX)


@pytest.mark.parametrize("fault", config.ApiFault)
def test_a_fault_of_the_api_spoils_an_answer(fault: config.ApiFault) -> None:
    sound = Reply(200, "done", b"{}")
    try:
        spoilt = answers.broken(
            None if answers.strikes_before(fault) else sound, fault, config.FaultConfig(), 0.0
        )
    except Refusal:
        return
    assert spoilt.having(verdict=sound.verdict) != sound
    if answers.strikes_before(fault):  # nothing was done, so nothing may read as if it were
        assert spoilt.status >= 300 or spoilt.ending is Ending.RESET


@pytest.mark.parametrize("fault", config.FileFault)
def test_a_fault_of_a_file_spoils_a_download(fault: config.FileFault) -> None:
    piece = Piece(b"....moov" * 50, "video/mp4", '"etag"')
    headers = {"range": "bytes=8-"}
    spoilt = broken_piece(fault, config.FaultConfig(), piece, headers, (0,))
    assert spoilt is not None
    assert spoilt != piece.part(8, 399)


# ── a flag ──────────────────────────────────────────────────────────────────────────────────────


def test_a_setting_has_a_flag_of_its_name() -> None:
    # Settings are taken from flags by name: one of another name would do nothing.
    assert isinstance(run, click.Command)
    given = {parameter.name for parameter in run.params}
    assert {field.name for field in dataclasses.fields(RunSettings)} <= given
    assert {field.name for field in dataclasses.fields(Selection)} - {"from_ids", "takes"} <= given


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(RunSettings)])
def test_a_flag_is_of_its_settings_type(name: str) -> None:
    flag, setting = get_type_hints(flags.Planning)[name], get_type_hints(RunSettings)[name]
    assert setting in {flag, flag | None}  # 0 stands for None where a flag has a default


# ── the recipes themselves ──────────────────────────────────────────────────────────────────────


def test_everything_that_the_recipes_name_is_there() -> None:
    recipes = CONTRIBUTING.partition("## How to add")[2].partition("\n## ")[0]
    named = re.findall(r"`([\w/.-]+\.(?:py|yaml|md))`(?: \(((?:`\w+`(?:, )?)+)\))?", recipes)
    assert named
    for path, things in named:
        file = PACKAGE / path if (PACKAGE / path).is_file() else ROOT / path
        assert file.is_file(), path
        for thing in re.findall(r"\w+", things):
            assert re.search(rf"\b{thing}\b", file.read_text(encoding="utf-8")), (path, thing)


def test_the_house_on_one_page_has_every_room() -> None:
    house = DESIGN.partition("## The house")[2].partition("\n## ")[0]
    rooms = [p.name if p.is_file() else f"{p.name}/" for p in PACKAGE.iterdir()]
    unnamed = [r for r in rooms if not re.search(rf"(?m)(^|\s){r}", house) and r[:2] != "__"]
    assert unnamed == ["py.typed"]


def test_every_bench_is_in_the_table_of_benches() -> None:
    folder = ROOT / "tests" / "benchmarks"
    files = [p for p in folder.glob("*.py") if "__main__" in p.read_text(encoding="utf-8")]
    names = {
        "tests.benchmarks" if p.stem == "__main__" else f"tests.benchmarks.{p.stem}" for p in files
    }
    assert names == set(re.findall(r"`(tests\.benchmarks[\w.]*)`", CONTRIBUTING))
