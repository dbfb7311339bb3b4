"""Clips in a store: each is there once, whole and checked, whatever happens to it on the way."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from seedance_batch.core.attempt import Phase
from seedance_batch.errors import Exit
from seedance_batch.objects import open_store
from tests import moto, s3_faults
from tests.cli.shop import Shop, say, shot
from tests.s3_faults import Fault, FaultyStore
from tests.service import read_rows

SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture
def faulty(bucket: str, s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    """What stands between this program and the S3 server."""
    with s3_faults.before(s3) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.address)
        yield relay


def check(shop: Shop, url: str, rows: int) -> None:
    """Every row was paid for once, and its clip is in the store alone, as the journal has it."""
    assert len(shop.tasks()) == rows
    assert shop.phases() == {Phase.DONE: rows}
    store, clips = open_store(url), [attempt.state.clip for attempt in shop.attempts()]
    stored = {each.name for each in store.list("videos")}
    assert stored == {clip.file for clip in clips if clip}
    for clip in filter(None, clips):
        got = store.get(clip.file)
        assert got is not None
        assert hashlib.sha256(got[0]).hexdigest() == clip.sha256 == got[1].sha256
        assert not (shop.run_folder / clip.file).exists()
    assert [row["video_file"] for row in shop.results()] == [
        store.address(clip.file) for clip in clips if clip
    ]


def test_clips_posters_sheets_and_page_are_in_the_store_and_no_secret_anywhere(
    shop: Shop, bucket: str
) -> None:
    shop.fill(3)
    said = shop.run("--store", bucket)
    assert said.code == Exit.OK
    check(shop, bucket, 3)
    store = open_store(bucket)
    names = {each.name for each in store.list()}
    assert {"results.csv", "results.xlsx", "results.jsonl", "summary.json", "report.html"} <= names
    assert len([name for name in names if name.startswith("posters/")]) == 3
    got = store.get("results.csv")
    assert got is not None
    assert got[0] == (shop.run_folder / "results.csv").read_bytes()
    assert f"{bucket}/videos/" in said.out
    # A later command knows the store, and has nothing to do.
    assert shop.run().code == Exit.OK
    assert shop.online("fetch").code == Exit.OK
    assert shop.at("verify").code == Exit.OK
    check(shop, bucket, 3)
    written = [path for path in shop.folder.rglob("*") if path.is_file()]
    for secret in (moto.ENVIRONMENT[name].encode() for name in SECRETS):
        assert [path for path in written if secret in path.read_bytes()] == []


def test_clips_whose_uploads_are_spoilt_arrive_in_the_same_run(
    shop: Shop, bucket: str, faulty: FaultyStore
) -> None:
    lasting = {Fault.EXPIRED, Fault.SKEWED}
    faulty.faults = [fault for fault in Fault if fault not in lasting]
    random.shuffle(faulty.faults)
    shop.fill(3)
    assert shop.run("--store", bucket).code == Exit.OK
    assert faulty.spoilt == len(Fault) - len(lasting)
    check(shop, bucket, 3)


@pytest.mark.more
def test_who_is_let_in_no_more_goes_on_later_by_the_same_command(
    shop: Shop, bucket: str, faulty: FaultyStore
) -> None:
    shop.fill(2)
    for fault in (Fault.EXPIRED, Fault.SKEWED):
        faulty.always = fault
        said = shop.run("--store", bucket)
        assert said.code == Exit.UNFINISHED
        told = said.out + said.err + str(shop.results())
        assert not [
            secret for secret in (*map(moto.ENVIRONMENT.get, SECRETS), "hush") if secret in told
        ]
        assert shop.phases() == {Phase.DOWNLOADING: 2}
        assert list(open_store(bucket).list("videos")) == []
        assert fault.value[1] in shop.results()[0]["message"]
    faulty.always = None
    assert shop.run("--store", bucket).code == Exit.OK
    check(shop, bucket, 2)


def test_a_server_that_overwrites_whatever_it_is_told_is_found_before_money_is_spent(
    shop: Shop, bucket: str, faulty: FaultyStore
) -> None:
    faulty.without_conditions = True
    shop.fill(1)
    said = shop.run("--store", bucket)
    assert said.code == Exit.USAGE
    assert "If-None-Match" in said.err
    assert shop.tasks() == []


@pytest.mark.slow
def test_a_store_that_goes_away_and_comes_back_has_everything_in_the_end(
    shop: Shop, bucket: str, faulty: FaultyStore
) -> None:
    shop.fill(2)
    faulty.always = Fault.SLOW_DOWN
    assert shop.run("--store", bucket, "--wait", "1").code == Exit.UNFINISHED
    assert list(open_store(bucket).list("videos")) == []
    faulty.always = None
    assert shop.run().code == Exit.OK
    check(shop, bucket, 2)


@pytest.mark.slow
def test_an_endpoint_that_is_not_there_ends_the_run_before_anything_is_sent(
    shop: Shop, bucket: str, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    shop.fill(2)
    said = shop.run("--store", bucket)
    assert said.code == Exit.UNFINISHED
    assert "does not answer" in said.err
    assert shop.tasks() == []
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    assert shop.run("--store", bucket).code == Exit.OK
    check(shop, bucket, 2)


def test_a_strangers_object_is_never_overwritten(shop: Shop, bucket: str) -> None:
    shop.fill(2)
    store = open_store(bucket)
    store.put("videos/shot1.mp4", b"somebody else's")
    said = shop.run("--store", bucket)
    assert said.code == Exit.UNFINISHED
    got = store.get("videos/shot1.mp4")
    assert got is not None
    assert got[0] == b"somebody else's"
    assert shop.phases() == {Phase.DOWNLOADING: 1, Phase.DONE: 1}
    assert "another object has its name" in shop.results()[0]["message"]
    assert (shop.run_folder / "videos" / "shot1.mp4").is_file()
    store.delete("videos/shot1.mp4")
    assert shop.run().code == Exit.OK
    check(shop, bucket, 2)


# ── what needs no server: a disk is a store too ─────────────────────────────────────────────────


@pytest.fixture
def disk(tmp_path: Path) -> str:
    """A store on this disk."""
    return (tmp_path / "the store").as_uri()


def test_a_run_folder_has_one_store(shop: Shop, disk: str, tmp_path: Path) -> None:
    shop.fill(1)
    assert shop.run("--store", disk).code == Exit.OK
    other = (tmp_path / "another").as_uri()
    said = shop.run("--store", other)
    assert said.code == Exit.USAGE
    assert f"keeps its clips in {disk}" in said.err
    assert shop.plan("--store", other).code == Exit.USAGE


def test_a_run_folder_is_no_store_of_itself(shop: Shop, tmp_path: Path) -> None:
    shop.fill(1)
    assert shop.run().code == Exit.OK
    link = tmp_path / "link"
    link.symlink_to(shop.run_folder)
    for same in (shop.run_folder, link):
        assert shop.run("--store", same.as_uri()).code == Exit.USAGE
    assert (shop.run_folder / "videos" / "shot1.mp4").is_file()


@pytest.mark.more
def test_a_persons_file_in_a_clips_place_stays(shop: Shop, disk: str) -> None:
    shop.fill(1)
    assert shop.run("--store", disk).code == Exit.OK
    mine = shop.run_folder / "videos" / "shot1.mp4"
    mine.write_bytes(b"a cut of mine")
    shop.fill(2)
    assert shop.run().code == Exit.OK
    assert mine.read_bytes() == b"a cut of mine"


@pytest.mark.more
def test_a_store_whose_disk_is_not_mounted_is_told_and_takes_nothing(
    shop: Shop, disk: str, tmp_path: Path
) -> None:
    shop.fill(1)
    assert shop.run("--store", disk).code == Exit.OK
    place, away = tmp_path / "the store", tmp_path / "away"
    place.rename(away)
    place.mkdir()
    shop.fill(2)
    said = shop.run()
    assert said.code == Exit.USAGE
    assert f"seedance-batch doctor --store {disk}" in said.err
    assert len(shop.tasks()) == 1
    assert not any(place.iterdir())
    place.rmdir()
    away.rename(place)
    assert shop.run().code == Exit.OK
    check(shop, disk, 2)


def test_a_store_with_a_password_in_its_address_is_refused(shop: Shop) -> None:
    shop.fill(1)
    said = shop.run("--store", "s3://key:hush@clips")
    assert said.code == Exit.USAGE
    assert "hush" not in said.err
    assert shop.tasks() == []


@pytest.mark.more
def test_clips_that_were_made_without_a_store_are_brought_there(shop: Shop, disk: str) -> None:
    shop.fill(2)
    assert shop.run().code == Exit.OK
    fetched = len(shop.service.requests("files", "GET"))
    assert shop.run("--store", disk).code == Exit.OK
    check(shop, disk, 2)
    assert len(shop.service.requests("files", "GET")) == fetched


def test_what_is_missing_in_the_store_is_told_and_fetched(shop: Shop, disk: str) -> None:
    shop.fill(2)
    assert shop.run("--store", disk).code == Exit.OK
    store = open_store(disk)
    store.delete("videos/shot1.mp4")
    assert shop.at("verify").code == Exit.SOME_FAILED
    assert shop.online("fetch").code == Exit.OK
    check(shop, disk, 2)
    store.put("videos/shot2.mp4", b"damaged")
    assert shop.at("verify").code == Exit.SOME_FAILED
    assert shop.online("fetch").code == Exit.UNFINISHED
    got = store.get("videos/shot2.mp4")
    assert got is not None
    assert got[0] == b"damaged"


@pytest.mark.more
def test_films_shares_pages_and_chains_take_their_clips_from_the_store(
    shop: Shop, disk: str, tmp_path: Path
) -> None:
    shop.write(
        {"id": "a", "prompt": "one", "duration": 4, "resolution": "480p"},
        {"id": "b", "prompt": "two", "duration": 4, "resolution": "480p"}
        | {"first_frame_url": "last_frame:a"},
    )
    assert shop.run("--store", disk).code == Exit.OK
    check(shop, disk, 2)
    # The first row's clip is only in the store when another follower wants its frame.
    assert shop.run("--remake", "--ids", "b", "--set", "duration=5").code == Exit.OK
    assert shop.at("join", "--output", str(tmp_path / "film.mp4"), "-q").code == Exit.OK
    assert (tmp_path / "film.mp4").stat().st_size > 10_000
    assert shop.at("report", "--share", str(tmp_path / "shared")).code == Exit.OK
    assert (tmp_path / "shared" / "videos" / "a.mp4").read_bytes()
    sets = {form: tmp_path / form for form in ("hf", "webdataset")}
    for form, place in sets.items():
        assert say("export", str(shop.run_folder), str(place), "--format", form).code == Exit.OK
    assert len(list(sets["hf"].rglob("*.mp4"))) == 2
    assert len(list(sets["webdataset"].glob("*.tar"))) == 1
    assert shop.at("report").code == Exit.OK
    assert shop.at("results").code == Exit.OK


@pytest.mark.more
def test_sheets_that_were_taken_away_are_brought_again_with_what_is_new(
    shop: Shop, disk: str
) -> None:
    shop.write(shot(1, prompt="forbidden"), shot(2))
    assert shop.run("--store", disk).code == Exit.SOME_FAILED
    store = open_store(disk)
    assert store.head("failed.csv")
    shop.fill(2)
    assert shop.run().code == Exit.OK
    assert store.head("failed.csv") is None
    got = store.get("results.csv")
    assert got is not None
    assert got[0] == (shop.run_folder / "results.csv").read_bytes()


def test_the_store_is_named_by_its_variable_too(
    shop: Shop, disk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEEDANCE_BATCH_STORE", disk)
    shop.fill(1)
    assert shop.run().code == Exit.OK
    check(shop, disk, 1)
    jsonl = read_lines(shop.run_folder / "results.jsonl")
    assert jsonl[0]["video_file"] == f"{disk}/videos/shot1.mp4"
    assert read_rows(shop.run_folder / "results.csv")[0]["sha256"] == jsonl[0]["sha256"]


def read_lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
