"""The project holds to its own rules: import direction, names, documents."""

from __future__ import annotations

import ast
import functools
import graphlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import seedance_batch
from seedance_batch.cli.main import cli
from seedance_batch.sandbox import config
from tests import commands_page
from tests.rig import environment

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "seedance_batch"
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = sorted((ROOT / "docs").glob("*.md"))
LONGEST_README = 170
"""Lines: what a newcomer needs. The rest is in ``docs/``, by reader."""

CORE = {"core", "errors", "events"}
"""Rooms of the pure core: no files, no network, no clock, no randomness, no environment."""

PURE = {
    "__future__", "collections", "collections.abc", "dataclasses", "datetime", "decimal",
    "bisect", "copy", "difflib", "enum", "fractions", "functools", "graphlib", "hashlib", "heapq",
    "itertools", "json", "keyword", "math", "operator", "re", "shlex", "statistics", "string",
    "textwrap", "typing", "unicodedata",
    "email.utils.parsedate_to_datetime",  # of a text; its neighbours read the clock
    "hmac",  # arithmetic on a given key and salt
    "pathlib.PurePath",  # names of files, without files
    "contextlib.closing",
    "errno", "os.strerror",  # the name of a number
    "pydantic", "pydantic_core",  # TaskInput's rules
    "sqlite3",  # a table in memory, for `--where`
    "urllib.parse",
}  # fmt: skip
"""What the core may import from elsewhere, as a module, a part of it or one name; time, chance,
files and the environment are handed in."""

IMPURE_CALLS = {
    "open", "input", "print", "eval", "exec", "__import__",
    "hash", "id",  # another number in every process
    "now", "utcnow", "today", "astimezone",  # of datetime: the clock and the local time zone
}  # fmt: skip

ALONE = {
    "api": {"reader", "clips", "journal", "runner", "batch", "writer", "page", "library", "cli"},
    "clips": {"reader", "journal", "runner", "batch", "writer", "page", "library", "cli"},
    "journal": {"reader", "api", "clips", "runner", "batch", "writer", "page", "library", "cli"},
    "reader": {"api", "clips", "journal", "runner", "batch", "writer", "page", "library", "cli"},
    "runner": {"reader", "batch", "writer", "page", "library", "cli"},
    "writer": {"api", "journal", "runner", "batch", "page", "library", "cli"},
    "page": {"api", "journal", "runner", "batch", "library", "cli"},
    "batch": {"library", "cli"},
}
"""Rooms of the shell, and what they must not know."""

LONGEST_FILE = 600


def _files() -> Iterator[Path]:
    yield from sorted(PACKAGE.rglob("*.py"))


def _room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0].removesuffix(".py")


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def _nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(_tree(path)))


def _imports(path: Path) -> Iterator[str]:
    for node in _nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module == "seedance_batch":
                yield from (f"seedance_batch.{alias.name}" for alias in node.names)


def _own(imports: Iterator[str]) -> set[str]:
    return {name.split(".")[1] for name in imports if name.startswith("seedance_batch.")}


@pytest.mark.parametrize("path", [p for p in _files() if _room(p) in CORE], ids=str)
def test_the_core_is_pure_and_imports_only_the_core(path: Path) -> None:
    names = set(_imports(path))
    assert _own(iter(names)) <= CORE
    assert {name for name in _elsewhere(path) if not _is_pure(name)} == set()
    assert _calls(path) & IMPURE_CALLS == set()


def _elsewhere(path: Path) -> Iterator[str]:
    """What a file imports from other packages, down to the name."""
    for node in _nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _is_pure(name: str) -> bool:
    parts = name.split(".")
    above = {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return parts[0] == "seedance_batch" or bool(above & PURE)


def _calls(path: Path) -> set[str]:
    """Names of what a file calls, whatever they are called on; `fromtimestamp` without a zone
    counts as `now`."""
    found = set()
    for node in _nodes(path):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            local = name == "fromtimestamp" and len(node.args) + len(node.keywords) < 2
            found.add("now" if local else name)
    return found


@pytest.mark.parametrize(
    "line",
    [
        "import os.path", "from pathlib import Path", "import secrets", "from time import time",
        "from tempfile import mkstemp", "import email.utils", "from urllib import request",
        "open('x')", "datetime.now(UTC)", "date.today()", "datetime.fromtimestamp(at)", "hash(x)",
    ],
)  # fmt: skip
def test_files_clocks_and_chance_are_seen(line: str, tmp_path: Path) -> None:
    room = tmp_path / "room.py"
    room.write_text(line, encoding="utf-8")
    impure = {name for name in _elsewhere(room) if not _is_pure(name)}
    assert impure | (_calls(room) & IMPURE_CALLS)


@pytest.mark.parametrize("path", sorted((PACKAGE / "sandbox").rglob("*.py")), ids=str)
def test_the_sandbox_imports_nothing_from_the_rest(path: Path) -> None:
    assert _own(_imports(path)) <= {"sandbox"}


@pytest.mark.parametrize("path", [p for p in _files() if _room(p) in ALONE], ids=str)
def test_rooms_on_one_floor_do_not_know_each_other(path: Path) -> None:
    assert not _own(_imports(path)) & ALONE[_room(path)]


def test_httpx_is_known_in_few_rooms() -> None:
    using = {_room(path) for path in _files() if "httpx" in set(_imports(path))}
    assert using <= {"api", "batch", "clips", "sandbox"}


def test_a_journals_tables_are_known_to_the_journal_alone() -> None:
    using = {path for path in _files() if "sqlite3" in set(_imports(path))}
    others = {p.relative_to(PACKAGE).as_posix() for p in using if _room(p) != "journal"}
    # Tables of their own: the sandbox's state, the account's file, marks, a data set's
    # samples, and tables in memory.
    own = {
        "sandbox/ledger.py",
        "runner/account_file.py",
        "page/marks.py",
        "batch/samples.py",
        "batch/looking.py",
    }
    assert others == {*own, "core/select.py", "batch/preflight.py"}


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_no_file_outgrows_its_idea() -> None:
    assert {str(path): n for path in _files() if (n := _lines(path)) > LONGEST_FILE} == {}


def test_a_stranger_can_hold_the_house_in_the_head() -> None:
    names = [path.name for path in _files() if path.name != "__init__.py"]
    assert sorted({name for name in names if names.count(name) > 1}) == []
    assert len(list(_files())) <= 130
    assert len([p for p in PACKAGE.glob("*.py") if p.name[0] != "_"]) <= 10
    assert len([p for p in PACKAGE.iterdir() if p.is_dir() and p.name[0] != "_"]) <= 12


def test_the_design_says_why_on_two_hundred_lines() -> None:
    assert _lines(ROOT / "DESIGN.md") <= 200


def test_imports_are_few_and_no_init_hands_names_on() -> None:
    spans = [
        node.end_lineno - node.lineno + 1
        for path in _files()
        for node in _nodes(path)
        if isinstance(node, ast.Import | ast.ImportFrom) and node.end_lineno
    ]
    assert sum(spans) / sum(map(_lines, _files())) <= 0.065
    inits = [path for path in _files() if path.name == "__init__.py" and path.parent != PACKAGE]
    assert [str(path) for path in inits if len(_tree(path).body) > 1] == []


def test_no_files_import_each_other_in_a_circle() -> None:
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in _files()
        if path.name != "__init__.py"
    }
    graph = {
        name: ({*_imports(path), *_elsewhere(path)} & modules.keys()) - {name}
        for name, path in modules.items()
    }
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(modules)


def test_no_public_class_or_function_has_two_meanings() -> None:
    places: dict[str, set[str]] = {}
    for path in _files():
        for node in _tree(path).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                places.setdefault(node.name, set()).add(path.relative_to(PACKAGE).as_posix())
    twice = {name for name, at in places.items() if len(at) > 1 and name[0] != "_"}
    # The commands, and the library's functions that do the same.
    assert twice == {"export", "fetch", "join", "plan", "promote", "rerun", "run", "verify"}


def test_the_public_names_are_these() -> None:
    assert sorted(seedance_batch.__all__) == [
        "Finished",
        "Planned",
        "Reading",
        "SeedanceBatchError",
        "Verified",
        "arun",
        "export",
        "fetch",
        "join",
        "plan",
        "promote",
        "read",
        "rerun",
        "run",
        "verify",
    ]
    for name in seedance_batch.__all__:
        assert getattr(seedance_batch, name).__doc__


def _commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    names = cli.list_commands(context)
    found = {name: cli.get_command(context, name) for name in names}
    return {name: command for name, command in found.items() if command is not None}


def test_every_command_is_in_the_readme_and_has_an_example() -> None:
    for name, command in _commands().items():
        assert re.search(rf"\b{name}\b", README), name
        assert "seedance-batch" in (command.epilog or ""), name


def test_the_page_of_commands_has_every_command_and_flag_as_they_are() -> None:
    page = commands_page.PAGE.read_text(encoding="utf-8")
    assert page == commands_page.page(), "run python -m tests.commands_page"


def test_the_readme_is_what_a_newcomer_needs_and_leads_to_every_page() -> None:
    assert len(README.splitlines()) <= LONGEST_README
    assert [page.name for page in DOCS if f"(docs/{page.name})" not in README] == []


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *DOCS], ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    files = [link for link in links if "://" not in link]
    assert [link for link in files if not (page.parent / link).is_file()] == []


def _given(text: str) -> Iterator[list[str]]:
    """Command lines that a page shows, in its sessions or in a sentence, without the program."""
    bare = re.sub(r"^```.*$", "", text, flags=re.M)
    sessions = re.findall(r"^\$ (.+)$", bare, flags=re.M)
    for code in [*sessions, *re.findall(r"`([^`\n]+)`", bare)]:
        for line in code.split(" && "):
            words = line.removeprefix("seedance-batch ").split()
            if line.startswith("seedance-batch ") or (words and words[0] in _commands()):
                yield words


def _flags(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts} | {"--help", "-h"}


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS], ids=lambda page: page.name)
def test_every_command_and_flag_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    commands = _commands()
    known = {"--version"}.union(*map(_flags, commands.values()))
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text)) <= known
    for name, *words in _given(text):
        assert name in commands or name in known, name
        given = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert given <= _flags(commands[name]) if name in commands else not given, (name, given)


def test_the_page_of_the_sandbox_names_faults_that_there_are() -> None:
    page = (ROOT / "docs" / "sandbox.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+`) \| .+ \| (.+) \|$", page, flags=re.M)
    assert len(rows) > 10
    kinds = [config.ApiFault, config.ListedFault, config.OutputFault, config.FileFault]
    faults = {
        str(fault) for kind in [*kinds, config.CallbackFault, config.StatusFault] for fault in kind
    }
    for places, names in rows:
        assert set(re.findall(r"\w+", places)) <= config.FaultConfig.model_fields.keys()
        assert places == "`tasks`" or set(re.findall(r"`(\w+)`", names)) <= faults


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["run", "--help"]])
def test_starting_the_command_line_is_light_with_a_config_file_too(
    words: list[str], tmp_path: Path
) -> None:
    heavy = {"pandas", "httpx", "av", "pydantic", "anyio", "starlette", "jinja2", "xlsxwriter"}
    config = tmp_path / "config.toml"
    config.write_text("rpm = 40\nmax-cost = 5\n", encoding="utf-8")
    script = (
        f"import sys; from seedance_batch.cli.main import main; main({words!r}); "
        f"print({heavy!r} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env={**os.environ, "SEEDANCE_BATCH_CONFIG": str(config)},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "set()"


NEEDS_OF_A_RUN = {
    *("av", "PIL", "numpy", "pandas", "xlsxwriter", "jinja2", "filelock", "yaml"),
    *(f"seedance_batch.clips.{name}" for name in ("cluster", "download", "transfer")),
    *(f"seedance_batch.runner.{name}" for name in ("fetch", "gate", "runner", "submit", "watch")),
    *(f"seedance_batch.batch.{name}" for name in ("running", "sheets", "takes")),
    *("seedance_batch.writer.files", "seedance_batch.page.page"),
}
"""Libraries and rooms for sending, fetching and writing."""
NEEDS_OF_REQUESTS = {"httpx", "httpcore", "seedance_batch.api.client"}


@pytest.mark.parametrize(
    ("words", "needless"),
    [
        (["plan", "shots.csv", "--sandbox"], NEEDS_OF_A_RUN),
        (["check", "shots.csv"], NEEDS_OF_A_RUN | NEEDS_OF_REQUESTS),
        (["status"], NEEDS_OF_A_RUN | NEEDS_OF_REQUESTS),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else "",
)
def test_a_command_imports_only_what_it_needs(
    words: list[str], needless: set[str], tmp_path: Path
) -> None:
    (tmp_path / "shots.csv").write_text("prompt\nA fox\n", encoding="utf-8")
    script = (
        f"import sys; from seedance_batch.cli.main import main; code = main({words!r}); "
        "print(code, sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path,
        env=environment(tmp_path),
    )  # fmt: skip
    code, _, imported = done.stdout.splitlines()[-1].partition(" ")
    assert code == "0"
    assert needless & set(ast.literal_eval(imported)) == set()


@pytest.mark.parametrize("word", [r"/work/", r"\.\./shared", r"\bhelper[- ]session"])
def test_the_project_speaks_of_itself_alone(word: str) -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".js", ".css", ".html"}:
            if path != Path(__file__) and path.exists():  # not moved, but not committed yet
                assert not re.search(word, path.read_text(encoding="utf-8")), name
