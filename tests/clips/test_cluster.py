"""A cluster's workers are told no key, and those that would do something else are not asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from seedance_batch.clips.cluster import odd_one, without_keys
from seedance_batch.clips.download import FetchJob, fetch_to_place
from seedance_batch.clips.kept import Unfit, Wanted, our_version, work_through
from seedance_batch.clips.transfer import ClipToFetch


def test_a_local_cluster_inherits_no_key_under_whatever_name_it_stands() -> None:
    environ = {
        "PATH": "/bin",
        "HIAPI_API_KEY": "sk-1",
        "HIAPI_API_KEY_FILE": "/home/key",
        "HIAPI_WEBHOOK_SECRET": "hook",
        "OTHER": "Bearer sk-1",
        "MORE": "sk-2",
        "AWS_ACCESS_KEY_ID": "the store's",
    }
    left = without_keys(environ, ["sk-2"])
    assert left == {"PATH": "/bin", "AWS_ACCESS_KEY_ID": "the store's"}


def told(**packages: str | None) -> dict[str, dict[str, str | None]]:
    same = {"python": "3.12.1.final.0", "distributed": "2026.1.0", "seedance-batch": "0.1.0"}
    return {"packages": {**same, **{name.replace("_", "-"): v for name, v in packages.items()}}}


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        ({"seedance_batch": None}, "the scheduler has seedance-batch not at all"),
        ({"distributed": "2025.1.0"}, "the scheduler has distributed 2025.1.0, this command 2026"),
        ({"python": "3.11.9.final.0"}, "the scheduler has python 3.11, this command 3.12"),
    ],
)
def test_another_version_is_named(theirs: dict[str, str | None], words: str) -> None:
    assert words in (odd_one({"this command": told(), "the scheduler": told(**theirs)}) or "")


def test_another_patch_of_python_does_as_well() -> None:
    assert odd_one({"this command": told(), "a": told(python="3.12.9.final.0")}) is None


def test_a_worker_of_another_version_refuses() -> None:
    with pytest.raises(Unfit, match=r"has seedance-batch .*, not 9\.9"):
        work_through("9.9", len, ["job"])
    assert work_through(our_version(), len, ["job"]) == [3]


def test_a_worker_that_is_too_late_finds_its_folder_gone_and_fetches_nothing(
    tmp_path: Path,
) -> None:
    wanted = ClipToFetch("http://127.0.0.1:1/", "videos/a.mp4", Wanted("480p", 4, "16:9", True))
    job = FetchJob(wanted, allow_private=True, attempt="final-1")
    with pytest.raises(Unfit, match="does not see"):
        fetch_to_place(str(tmp_path / "gone"), job)
    assert list(tmp_path.iterdir()) == []
