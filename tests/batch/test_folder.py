"""Where a run folder is, who holds it, and what may be done to its disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from seedance_batch import run_folder
from seedance_batch.batch.sheets import write_page
from seedance_batch.errors import FolderInUse, FolderMissing, FolderUnusable
from seedance_batch.journal.opening import look_into
from seedance_batch.run_folder import (
    RunFolder,
    default_folder,
    folder_of,
    held,
    sweep_leftovers,
    wal_is_safe,
)


def ran(path: Path) -> Path:
    """A folder in which something was run."""
    path.mkdir(parents=True)
    (path / "journal.db").touch()
    return path


def test_a_run_folder_lies_beside_its_manifest_and_the_sandboxs_apart(tmp_path: Path) -> None:
    manifest = tmp_path / "shots.csv"
    assert default_folder(manifest, sandbox=False).path == tmp_path / "runs/shots"
    assert default_folder(manifest, sandbox=True).path == tmp_path / "runs/shots-sandbox"


def test_another_working_directory_finds_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "films").mkdir()
    monkeypatch.chdir(tmp_path / "films")
    from_inside = default_folder(Path("shots.csv"), sandbox=False)
    monkeypatch.chdir(tmp_path)
    assert default_folder(Path("films/shots.csv"), sandbox=False) == from_inside


def test_a_sheet_of_ours_continues_the_folder_that_it_lies_in(tmp_path: Path) -> None:
    own = ran(tmp_path / "runs/shots")
    assert default_folder(own / "results.csv", sandbox=False).path == own
    assert default_folder(own / "failed.xlsx", sandbox=True).path == own


def test_a_manifest_and_its_folder_name_the_same_and_a_flag_goes_first(tmp_path: Path) -> None:
    own, other = ran(tmp_path / "runs/shots"), ran(tmp_path / "other")
    manifest = tmp_path / "shots.csv"
    assert folder_of(manifest, out=None, sandbox=False).path == own
    assert folder_of(own, out=None, sandbox=False).path == own
    assert folder_of(manifest, out=other, sandbox=False).path == other


def test_a_manifest_that_was_only_rehearsed_means_its_rehearsal(tmp_path: Path) -> None:
    rehearsed = ran(tmp_path / "runs/shots-sandbox")
    manifest = tmp_path / "shots.csv"
    assert folder_of(manifest, out=None, sandbox=False).path == rehearsed
    real = ran(tmp_path / "runs/shots")
    assert folder_of(manifest, out=None, sandbox=False).path == real
    assert folder_of(manifest, out=None, sandbox=True).path == rehearsed


def test_a_folder_that_is_not_there_is_an_error_whose_hint_is_a_command(tmp_path: Path) -> None:
    with pytest.raises(FolderMissing) as missing:
        folder_of(tmp_path / "my shots.csv", out=None, sandbox=False)
    assert f"'{tmp_path / 'my shots.csv'}'" in (missing.value.hint or "")
    with pytest.raises(FolderMissing):
        folder_of(tmp_path, out=None, sandbox=False)


HOLD = """
import sys, time
from pathlib import Path
from seedance_batch.run_folder import RunFolder
from seedance_batch.run_folder import held
with held(RunFolder(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_who_holds_the_folder_and_a_dead_one_holds_nothing(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(FolderInUse, match=f"process {other.pid} on ") as refused:
            with held(RunFolder(tmp_path)):
                pass
        assert str(tmp_path) in (refused.value.hint or "")
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert (tmp_path / ".lock.json").exists()  # the dead one could not take it away
    with held(RunFolder(tmp_path)):
        assert json.loads((tmp_path / ".lock.json").read_text())["pid"] == os.getpid()
    assert not (tmp_path / ".lock.json").exists()


def test_who_only_writes_sheets_is_waited_for_and_by_a_look_is_not(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    begun, over = threading.Event(), threading.Event()

    def write_sheets() -> None:
        with held(folder, briefly=True):
            begun.set()
            over.wait(5)

    writing = threading.Thread(target=write_sheets)
    writing.start()
    begun.wait(5)
    with pytest.raises(FolderInUse), held(folder, patient=False):
        pass
    threading.Timer(0.5, over.set).start()
    with held(folder):  # longer than a look
        assert over.is_set()
    writing.join()


@pytest.mark.parametrize("content", [None, "", "[]", "{}", "\x00"])
def test_a_holder_who_left_no_readable_name_is_another_process(
    tmp_path: Path, content: str | None
) -> None:
    folder = RunFolder(tmp_path)
    with held(folder):
        (tmp_path / ".lock.json").unlink()
        if content is not None:
            (tmp_path / ".lock.json").write_text(content)
        with pytest.raises(FolderInUse, match="another process"), held(folder):
            pass


def test_a_folder_that_cannot_be_made_is_storage_that_failed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(FolderUnusable, match="Nothing was sent"),
        held(RunFolder(tmp_path / "file")),
    ):
        pass


def test_only_what_a_dead_process_left_half_written_is_swept(tmp_path: Path) -> None:
    posters = tmp_path / "posters"
    posters.mkdir()
    left = [tmp_path / ".sheet.ab12_xyz.csv", posters / ".a.jpg.ab12_xyz.tmp"]
    kept = [
        tmp_path / "results.csv",
        tmp_path / ".lock",
        tmp_path / ".gitignore",
        posters / "a.jpg",
    ]
    for path in (*left, *kept):
        path.touch()
    (tmp_path / ".linked.ab12_xyz.tmp").symlink_to(tmp_path / "results.csv")
    sweep_leftovers(RunFolder(tmp_path))
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)
    assert (tmp_path / ".linked.ab12_xyz.tmp").is_symlink()


def test_a_film_that_is_being_made_is_left_and_one_that_was_given_up_is_swept(
    tmp_path: Path,
) -> None:
    scenes = tmp_path / "films" / "scene"
    scenes.mkdir(parents=True)
    made = [home / ".a.mp4.ab12_xyz.tmp" for home in (scenes, scenes.parent)]
    left = [home / ".a.mp4.cd34_xyz.tmp" for home in (scenes, scenes.parent)]
    for path in (*made, *left):
        path.touch()
    for path in left:
        os.utime(path, (0, 0))
    sweep_leftovers(RunFolder(tmp_path))
    assert [path.exists() for path in (*made, *left)] == [True, True, False, False]


def test_a_page_is_written_though_a_run_that_begins_sweeps_it_half_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    pages = iter(range(20))
    swept = threading.Event()

    def begin_a_run() -> None:
        while not any(tmp_path.glob(".report*.tmp")) and not swept.is_set():
            pass
        sweep_leftovers(folder)
        swept.set()

    with look_into(folder.journal) as journal:
        running = threading.Thread(target=begin_a_run)
        running.start()
        while not swept.is_set() and next(pages, None) is not None:
            assert write_page(folder, journal).is_file()
        swept.set()
        running.join()


@pytest.mark.parametrize("name", ["Dropbox", "OneDrive", "Google Drive", "Mobile Documents"])
def test_write_ahead_logging_is_not_for_synced_folders(tmp_path: Path, name: str) -> None:
    assert wal_is_safe(tmp_path)
    assert not wal_is_safe(tmp_path / name / "films")


def test_the_mount_that_a_folder_lies_on_is_the_innermost() -> None:
    assert run_folder._file_system(Path("/proc/self")) == "proc"


def test_shares_are_known_by_what_macos_tells_of_its_mounts() -> None:
    told = (
        "/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)\n"
        "map auto_home on /System/Volumes/Data/home (autofs, automounted, nobrowse)\n"
        "//me@nas._smb._tcp.local/films on /Volumes/my films (1) (smbfs, nodev, nosuid)\n"
        "nas:/export on /Volumes/nfs (nfs)\n"
    )
    assert list(run_folder.mounts_of_macos(told)) == [
        (Path("/"), "apfs"),
        (Path("/System/Volumes/Data/home"), "autofs"),
        (Path("/Volumes/my films (1)"), "smbfs"),
        (Path("/Volumes/nfs"), "nfs"),
    ]


@pytest.mark.parametrize(
    "name", ["OneDrive - Acme Films", "Library/CloudStorage/GoogleDrive-me@example.com"]
)
def test_todays_folders_of_synchronisers_are_known(tmp_path: Path, name: str) -> None:
    assert not wal_is_safe(tmp_path / name / "films")
