"""Whatever the package says in an exception, a caller from Python reads keywords and functions."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import seedance_batch as sb
from seedance_batch.core.manifest import Code
from seedance_batch.errors import EmptySelection, FolderMissing, ManifestError, SettingsError
from seedance_batch.library.interface import in_python
from tests.cli.shop import shot
from tests.library.conftest import manifest
from tests.service import Service

PACKAGE = Path(sb.__file__).parent
FLAG = re.compile(r"(?<![\w-])--[a-z]")


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("--rows 1-20,57", 'rows="1-20,57"'),
        ("--limit 10", "limit=10"),
        ("--where \"client = 'Acme'\"", "where=\"client = 'Acme'\""),
        ("--draft", "draft=True"),
        ("--callback-url https://a.b/c --callback-bind 127.0.0.1:87",
         'callback_url="https://a.b/c", callback_bind="127.0.0.1:87"'),
        ("add --sandbox to rehearse", "add sandbox=True to rehearse"),
        ("leave out --rows, --ids and --limit", "leave out rows, ids and limit"),
        ("choose a run folder with --out", "choose a run folder with out=…"),
        ("--where is not an SQL condition: it's", "where is not an SQL condition: it's"),
        ("rename it, or use --map ratio='Aspect r.'",
         'rename it, or use column_map={"ratio": "Aspect r."}'),
        ("name one: --map prompt=…", 'name one: column_map={"prompt": "…"}'),
        ("(--allow-4k sends it)", "(allow=Allow(resolution_4k=True) sends it)"),
        ("only rerun --class expired pays again", 'only rerun classes="expired" pays again'),
        ("seedance-batch run 'my shots.csv' --sandbox --out runs/a",
         'sb.run("my shots.csv", sandbox=True, out="runs/a")'),
        ("to download again: seedance-batch fetch runs/shots",
         'to download again: sb.fetch("runs/shots")'),
        ("seedance-batch status runs/shots", "seedance-batch status runs/shots"),
    ],
)  # fmt: skip
def test_flags_become_keywords_and_commands_become_calls(told: str, meant: str) -> None:
    assert in_python(told) == meant


def _texts() -> list[str]:
    """Every text of the package that names a flag and may be said to a caller from Python."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] not in {"cli", "sandbox"}:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            found += [
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
                if id(node) not in prose and FLAG.search(node.value)
            ]
    return found


@pytest.mark.more
def test_no_text_that_the_package_holds_keeps_a_flag_in_python() -> None:
    texts = _texts()
    assert len(texts) > 50
    kept = [text for text in texts if FLAG.search(in_python(text))]
    assert [text for text in kept if "seedance-batch" not in text] == []
    assert len(kept) <= 2  # of commands that are no functions: `reconcile`, `prices`


def test_problems_of_a_table_are_named_in_the_exception(home: Path) -> None:
    table = pd.DataFrame([shot(1, duration=99), shot(2)])
    with pytest.raises(ManifestError) as refused:
        sb.plan(table, sandbox=True, column_map={"seed": "none"})
    told = "\n".join(refused.value.__notes__)
    assert "duration" in told
    assert "99" in told
    assert ".problems" in (refused.value.hint or "")
    assert not FLAG.search(told + str(refused.value))
    (flag,) = (each for each in refused.value.problems if each.code is Code.FLAG)
    assert flag.place.file == "column_map"


@pytest.mark.parametrize(
    ("odd", "kind"),
    [
        ({"where": "prompt ="}, SettingsError.__base__),
        ({"where": "duration > 99"}, EmptySelection),
        ({"rows": "3-x"}, SettingsError.__base__),
        ({"rows": "9"}, SettingsError.__base__),
        ({"limit": -1}, SettingsError.__base__),
        ({"ids": ["none"]}, EmptySelection.__base__),
        ({"name": "{scene}"}, SettingsError),
        ({"name": "{"}, SettingsError),
        ({"storage": "ever"}, SettingsError),
        ({"max_cost": -1}, SettingsError),
        ({"sandbox": True, "api_url": "https://a.example"}, SettingsError),
        ({"sandbox_config": "a.yaml"}, SettingsError),
        ({"callback_bind": "here"}, SettingsError),
        ({"delimiter": "ab"}, ManifestError),
        ({"encoding": "klingon"}, ManifestError),
        ({"column_map": {"prompt": "nowhere"}}, ManifestError),
        ({"overrides": {"nofield": "1"}}, ManifestError),
    ],
)
def test_what_is_refused_names_the_keyword_that_was_given(
    home: Path, service: Service, options: dict[str, Any], odd: dict[str, Any], kind: type
) -> None:
    given = {"yes": True, **options, **odd}
    with pytest.raises(kind) as refused:
        sb.run(manifest(home), **given)
    notes = getattr(refused.value, "__notes__", [])
    told = "\n".join([str(refused.value), *notes])
    assert not FLAG.search(told), told
    assert next(iter(odd)).split("_")[0] in told, told


def test_without_a_key_the_sandbox_is_offered_by_its_keyword(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HIAPI_API_KEY")
    with pytest.raises(SettingsError) as refused:
        sb.run(manifest(home))
    assert "sandbox=True" in (refused.value.hint or "")
    with pytest.raises(FolderMissing) as missing:
        sb.fetch(manifest(home))
    assert "sandbox=True" in (missing.value.hint or "")


@pytest.mark.parametrize("name", ["out", "api_url", "price_file", "where", "store", "sheet"])
def test_an_empty_text_is_neither_the_working_directory_nor_what_is_usual(
    home: Path, name: str
) -> None:
    with pytest.raises(SettingsError, match=f"{name} is an empty text; None stands for"):
        sb.plan(manifest(home), **{"sandbox": name != "api_url", name: ""})
