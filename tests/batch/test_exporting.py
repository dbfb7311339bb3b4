"""Data sets: deterministic, added to without touching what is there, and whole after any death."""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest

from seedance_batch.batch.exporting import Exported, export_dataset
from seedance_batch.batch.samples import ClipsGone, ExportPart, ExportWish
from seedance_batch.core.clip_sets import DatasetFormat, Splits
from seedance_batch.core.select import Selection
from seedance_batch.errors import EmptySelection, FolderInUse, UsageError
from seedance_batch.run_folder import RunFolder
from tests.batch.finished import clip_bytes, finished_folder
from tests.writer.samples import row

SPLITS = Splits.parse("train=60,test=40")


def wish(dest: Path, *folders: RunFolder, **more: Any) -> ExportWish:
    """A data set of these folders, in small shards."""
    parts = tuple(map(ExportPart, folders))
    made = ExportWish(parts, dest, splits=SPLITS, shard_bytes=len(clip_bytes(1, 0)) * 3)
    return replace(made, **more)


def exported(dest: Path, *folders: RunFolder, **more: Any) -> Exported:
    """The data set, made."""
    return export_dataset(wish(dest, *folders, **more), None)


def files(place: Path) -> dict[str, bytes]:
    """All that lies in a folder."""
    found = (path for path in place.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in found}


def members(dest: Path) -> Iterable[tuple[str, bytes]]:
    """Every file in the tar shards that are listed."""
    for each in json.loads((dest / "shards.json").read_bytes())["shardlist"]:
        with tarfile.open(dest / each["url"]) as tar:
            for member in tar:
                content = tar.extractfile(member)
                assert content is not None
                assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
                yield member.name, content.read()


# ── tar shards ──────────────────────────────────────────────────────────────────────────────────


def test_shards_hold_each_clip_with_its_facts_and_its_poster(tmp_path: Path) -> None:
    folder, dest = finished_folder(tmp_path / "run", range(1, 9)), tmp_path / "set"
    found = exported(dest, folder)
    assert (found.samples, sum(found.splits.values())) == (8, 8)
    by_name = dict(members(dest))
    assert len(by_name) == 3 * 8
    for name in (name for name in by_name if name.endswith(".mp4")):
        facts = json.loads(by_name[name.replace(".mp4", ".json")])
        number = int(facts["id"].removeprefix("shot-"))
        assert by_name[name] == clip_bytes(number, 0)
        assert name == f"{facts['key']}.mp4"
        assert facts["prompt"] == f"A cat, take {number}"
        assert (facts["fps"], facts["width"], facts["audio"]) == (24.0, 160, False)
        assert (facts["est_cost_usd"], facts["model"]) == ("0.7125", "seedance-2-0")
        assert facts["submitted_at"] == "2026-05-28T20:26:40Z"
        assert facts["split"] == SPLITS.of(facts["id"])
        assert by_name[f"{facts['key']}.jpg"] == b"\xff\xd8a poster\xff\xd9"


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # it leaves closing its files to Python
def test_webdataset_reads_the_shards(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    folder, dest = finished_folder(tmp_path / "run", range(1, 9)), tmp_path / "set"
    exported(dest, folder)
    urls = sorted(map(str, dest.glob("train-*.tar")))
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert {s["json"]["id"] for s in samples} == {
        row(n).key for n in range(1, 9) if SPLITS.of(row(n).key) == "train"
    }
    for each in samples:
        assert each["__key__"] == each["json"]["key"]
        assert each["mp4"] == clip_bytes(int(each["json"]["id"].removeprefix("shot-")), 0)
    gc.collect()


def test_new_rows_make_new_shards_and_touch_no_other(tmp_path: Path) -> None:
    run, dest = tmp_path / "run", tmp_path / "set"
    exported(dest, finished_folder(run, range(1, 8)))
    before, made_at = files(dest), {p: p.stat().st_mtime_ns for p in dest.glob("*.tar")}
    again = exported(dest, RunFolder(run))
    assert (again.made, files(dest)) == ((), before)
    more = exported(dest, finished_folder(run, range(1, 12)))
    assert more.samples == 11
    assert more.removed == ()
    assert {p: p.stat().st_mtime_ns for p in made_at} == made_at
    assert {name for name, _ in members(dest) if name.endswith(".mp4")} == {
        f"{json.loads(content)['key']}.mp4"
        for name, content in members(dest)
        if name.endswith(".json")
    }
    fewer = exported(dest, finished_folder(run, range(2, 12)))
    assert (fewer.samples, len(fewer.removed)) == (10, 1)


@pytest.mark.cases(2)
@pytest.mark.parametrize("cut", [0, 1, 30, 200, -3, -1])
def test_a_list_that_was_cut_or_is_none_is_made_anew(tmp_path: Path, cut: int) -> None:
    folder, dest = finished_folder(tmp_path / "run", range(1, 8)), tmp_path / "set"
    exported(dest, folder)
    before, listed = files(dest), (dest / "shards.json").read_bytes()
    for content in (listed[:cut], b'{"shardlist": [{"url": 1}]}', b'{"shardlist": [[]]}', b"\xff"):
        (dest / "shards.json").write_bytes(content)
        exported(dest, folder)
        assert files(dest) == before


def test_several_folders_make_one_set_with_each_clip_once(tmp_path: Path) -> None:
    one, two = (
        finished_folder(tmp_path / name, numbers)
        for name, numbers in (("one", range(1, 5)), ("two", range(3, 8)))
    )
    found = exported(tmp_path / "set", one, two)
    assert (found.samples, found.duplicates) == (7, 2)


def test_a_poster_is_made_for_the_set_alone_where_the_run_folder_has_none(tmp_path: Path) -> None:
    folder = finished_folder(tmp_path / "run", range(1, 3), posters=False)
    before = sorted(path.name for path in folder.path.rglob("*.*") if path.suffix != ".db")
    exported(tmp_path / "set", folder)
    pictures = [content for name, content in members(tmp_path / "set") if name.endswith(".jpg")]
    assert [picture[:2] for picture in pictures] == [b"\xff\xd8"] * 2
    after = {path.name for path in folder.path.rglob("*.*") if "journal.db" not in path.name}
    assert sorted(after) == before


# ── tables and folders ──────────────────────────────────────────────────────────────────────────


def test_pandas_reads_the_table(tmp_path: Path) -> None:
    folder, dest = finished_folder(tmp_path / "run", range(1, 9)), tmp_path / "set"
    exported(dest, folder, form=DatasetFormat.PARQUET)
    table = pandas.concat(map(pandas.read_parquet, sorted(dest.glob("*.parquet"))))
    assert sorted(table["id"]) == [row(n).key for n in range(1, 9)]
    assert list(table["split"]) == [SPLITS.of(key) for key in table["id"]]
    assert set(map(str, table["est_cost_usd"])) == {"0.712500"}
    assert str(table["submitted_at"].iloc[0]) == "2026-05-28 20:26:40+00:00"
    assert all(Path(path).read_bytes() for path in table["video_file"])


def test_a_missing_pyarrow_is_told_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    folder = finished_folder(tmp_path / "run", [1])
    with pytest.raises(UsageError, match="pyarrow") as raised:
        exported(tmp_path / "set", folder, form=DatasetFormat.PARQUET)
    assert raised.value.hint == "pip install 'seedance-batch[export]'"
    assert not (tmp_path / "set").exists()


def test_a_video_folder_has_a_table_beside_the_clips_of_each_split(tmp_path: Path) -> None:
    run, dest = tmp_path / "run", tmp_path / "set"
    exported(dest, finished_folder(run, range(1, 9)), form=DatasetFormat.HF)
    found = exported(dest, finished_folder(run, range(3, 11)), form=DatasetFormat.HF)
    assert (len(found.made), found.kept, len(found.removed)) == (2, 6, 2)
    shown = set()
    for table in dest.glob("data/*/metadata.jsonl"):
        lines = [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines()]
        assert {line["file_name"] for line in lines} == {p.name for p in table.parent.glob("*.mp4")}
        for line in lines:
            assert line["split"] == table.parent.name == SPLITS.of(line["id"])
            shown.add(line["id"])
            assert None not in line.values()
    assert shown == {row(n).key for n in range(3, 11)}


def test_hugging_face_reads_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    folder, dest = finished_folder(tmp_path / "run", range(1, 9)), tmp_path / "set"
    exported(dest, folder, form=DatasetFormat.HF)
    found = datasets.load_dataset("videofolder", data_dir=str(dest))
    assert set(found) == {"train", "test"}
    for split, rows in found.items():
        plain = rows.cast_column("video", datasets.Video(decode=False))
        assert {SPLITS.of(each["id"]) for each in plain} == {split}


# ── what is refused ─────────────────────────────────────────────────────────────────────────────


def test_a_clip_that_was_changed_gets_into_no_set(tmp_path: Path) -> None:
    folder, dest = finished_folder(tmp_path / "run", range(1, 5)), tmp_path / "set"
    changed = folder.path / "videos" / "shot-02.mp4"
    changed.write_bytes(changed.read_bytes()[:-1] + b"\0")  # of the same size
    (folder.path / "videos" / "shot-03.mp4").unlink()
    with pytest.raises(UsageError, match=r"shot-03 .*is missing") as raised:
        exported(dest, folder)
    assert raised.value.hint == f"seedance-batch fetch {folder.path}"
    found = exported(dest, folder, skip_missing=True)
    assert {each.key for each in found.left_out} == {"shot-02", "shot-03"}
    assert found.samples == 2
    (folder.path / "videos" / "shot-03.mp4").write_bytes(clip_bytes(3, 0))
    with pytest.raises(UsageError, match=r"shot-02 .*not the file that was downloaded"):
        exported(dest, folder)


def test_ids_are_looked_for_in_all_folders(tmp_path: Path) -> None:
    one, two = (finished_folder(tmp_path / name, [n]) for name, n in (("one", 1), ("two", 2)))

    def chosen(*ids: str) -> Exported:
        parts = tuple(ExportPart(folder, Selection(ids=ids)) for folder in (one, two))
        return export_dataset(ExportWish(parts, tmp_path / "set"), None)

    assert chosen("shot-01", "shot-02").samples == 2
    assert chosen("shot-02").samples == 1
    with pytest.raises(UsageError, match="no row of these folders has the id shot-03"):
        chosen("shot-01", "shot-03")


@pytest.mark.parametrize("form", DatasetFormat)
def test_many_damaged_clips_are_told_and_left_out_at_once(
    tmp_path: Path, form: DatasetFormat
) -> None:
    folder, dest = finished_folder(tmp_path / "run", range(1, 12)), tmp_path / "set"
    exported(dest, folder, form=form)
    for number in (2, 5, 9):
        clip = folder.path / "videos" / f"shot-{number:02}.mp4"
        clip.write_bytes(b"\0" * clip.stat().st_size)
    if form is not DatasetFormat.WEBDATASET:  # its shards are whole, and are kept
        for path in dest.rglob("[!.]*-*.*"):
            path.unlink()
    (folder.path / "videos" / "shot-10.mp4").unlink()
    found = exported(dest, folder, form=form, skip_missing=True)
    assert {each.key for each in found.left_out} >= {"shot-10"}
    again = exported(tmp_path / "again", folder, form=form, skip_missing=True)
    assert {each.key for each in again.left_out} == {"shot-02", "shot-05", "shot-09", "shot-10"}
    assert again.samples == 7
    with pytest.raises(ClipsGone):
        exported(tmp_path / "third", folder, form=form)


def test_nothing_is_written_among_other_things(tmp_path: Path) -> None:
    folder, other = finished_folder(tmp_path / "run", [1]), tmp_path / "other"
    another = finished_folder(tmp_path / "another", [2])
    other.mkdir()
    (other / "thesis.txt").write_text("mine", encoding="utf-8")
    for dest, words in (
        (other, "holds other files"),
        (folder.path / "set", "is in the run folder"),
        (another.path / "set", "is in the run folder"),
        (other / "thesis.txt", "is a file"),
    ):
        with pytest.raises(UsageError, match=words):
            exported(dest, folder)
    assert files(other) == {"thesis.txt": b"mine"}
    exported(tmp_path / "set", folder)
    with pytest.raises(UsageError, match="in the format webdataset, not hf"):
        exported(tmp_path / "set", folder, form=DatasetFormat.HF)
    with pytest.raises(EmptySelection, match="None of 0 rows"):
        exported(tmp_path / "none", finished_folder(tmp_path / "empty", []))


def test_two_exports_never_write_to_one_place(tmp_path: Path) -> None:
    from filelock import FileLock

    folder, dest = finished_folder(tmp_path / "run", [1]), tmp_path / "set"
    dest.mkdir()
    with FileLock(dest / ".lock"), pytest.raises(FolderInUse):
        exported(dest, folder)


# ── deaths ──────────────────────────────────────────────────────────────────────────────────────

KILLED = """
import av, os, signal, sys
from pathlib import Path
from pyarrow import parquet
from tests.batch.test_exporting import wish
from seedance_batch.batch.exporting import export_dataset
from seedance_batch.core.clip_sets import DatasetFormat
from seedance_batch.run_folder import RunFolder

run, dest, form, deaths, look = sys.argv[1:]
wished = wish(Path(dest), RunFolder(Path(run)), form=DatasetFormat(form), look=bool(look))

def watched(event, args):
    global left
    if event in {"open", "os.rename", "os.remove"} and str(Path(dest).parent) in str(args[0]):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watched)
for death in map(int, deaths.split(",")):
    child = os.fork()
    if not child:
        left = death
        export_dataset(wished, None)
        os._exit(0)
    os.waitpid(child, 0)
left = -1
export_dataset(wished, None)
"""
"""Exports that die at the nth file that they open, rename or remove, and one that does not."""


@pytest.mark.more
@pytest.mark.parametrize(
    ("form", "look"),
    [
        (DatasetFormat.WEBDATASET, False),
        *(pytest.param(form, False, marks=pytest.mark.slow) for form in list(DatasetFormat)[1:]),
        *(pytest.param(form, True, marks=pytest.mark.slow) for form in DatasetFormat),
    ],
)
def test_a_set_that_died_again_and_again_is_the_undisturbed_one(
    tmp_path: Path, form: DatasetFormat, look: bool
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201
    deaths = ",".join(str(random.Random(seed + n).randint(1, 60)) for n in range(4))
    run, dest = tmp_path / "run", tmp_path / "set"
    for numbers in (range(1, 9), range(3, 14)):  # also one that is added to
        folder = finished_folder(run, numbers)
        exported(tmp_path / "undisturbed", folder, form=form, look=look)
        flag = "look" if look else ""
        given = [sys.executable, "-c", KILLED, str(run), str(dest), form, deaths, flag]
        done = subprocess.run(given, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr
        assert files(dest) == files(tmp_path / "undisturbed")
