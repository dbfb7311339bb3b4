"""A store gives each name once, on a disk and on a real S3 server alike."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from pathlib import Path

import httpx
import pytest

from seedance_batch.errors import Exit, StoreAway, StoreUnusable
from seedance_batch.objects import Store, open_store, store_url, try_out


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "disk":
        return open_store((tmp_path / "ä store").as_uri())
    url: str = request.getfixturevalue("bucket")
    return open_store(url)


def test_a_name_is_given_once_and_equal_bytes_are_ours(store: Store, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"one clip")
    name = "videos/café #1 & 50%.mp4"
    put = store.put_new(name, clip, sha256(b"one clip"), {"attempt": "2"})
    assert (put.size, put.sha256) == (8, sha256(b"one clip"))
    assert store.put_new(name, b"one clip", sha256(b"one clip")) == put
    with pytest.raises(FileExistsError):
        store.put_new(name, b"another", sha256(b"another"))
    assert store.head(name) == put
    got = store.get(name)
    assert got == (b"one clip", put)
    back = tmp_path / "back.mp4"
    assert store.fetch(name, back) == put
    assert back.read_bytes() == b"one clip"
    assert [each.name for each in store.list("videos")] == [name]
    assert store.address(name).startswith(f"{store.url}/videos/caf%C3%A9%20%231")


def test_what_is_not_there_is_none(store: Store, tmp_path: Path) -> None:
    assert store.head("a/b") is None
    assert store.get("a/b") is None
    assert store.fetch("a/b", tmp_path / "x") is None
    assert list(store.list("a")) == []
    store.delete("a/b")


def test_a_state_is_replaced_only_by_who_knows_it(store: Store) -> None:
    first = store.put_if("lease.json", b"owner 1", None)
    assert first
    assert store.put_if("lease.json", b"owner 2", None) is None
    second = store.put_if("lease.json", b"owner 1 again", first)
    assert second
    assert second != first
    assert store.put_if("lease.json", b"owner 2", first) is None
    got = store.get("lease.json")
    assert got is not None
    assert (got[0], got[1].etag) == (b"owner 1 again", second)
    assert store.put_if("nothing.json", b"x", first) is None
    store.delete("lease.json")
    assert store.head("lease.json") is None
    assert store.put_if("lease.json", b"owner 2", None)


def test_of_many_who_want_a_name_at_once_one_gets_it(tmp_path: Path) -> None:
    store, won = open_store(tmp_path.as_uri()), []

    def want(mine: bytes) -> None:
        try:
            store.put_new("one.mp4", mine, sha256(mine))
            won.append(mine)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=want, args=(b"%d" % n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got = store.get("one.mp4")
    assert got is not None
    assert won == [got[0]]


def test_a_page_is_written_over(store: Store) -> None:
    store.put("report.html", b"old")
    store.put("report.html", b"new")
    got = store.get("report.html")
    assert got is not None
    assert got[0] == b"new"


def test_an_object_whose_hash_nobody_wrote_down_is_known_by_its_bytes(store: Store) -> None:
    store.put("a.mp4", b"one clip")
    assert store.put_new("a.mp4", b"one clip", sha256(b"one clip")).sha256 == sha256(b"one clip")
    with pytest.raises(FileExistsError):
        store.put_new("a.mp4", b"two clip", sha256(b"two clip"))


def test_a_store_is_tried_out_before_money_is_spent(store: Store) -> None:
    try_out(store)
    try_out(store)


@pytest.mark.parametrize("name", ["../a", "a/../b", "/a", "a//b", ""])
def test_no_name_leaves_the_store(name: str, store: Store) -> None:
    with pytest.raises(ValueError, match="no name"):
        store.put(name, b"x")


def test_a_bucket_that_is_missing_is_said_before_anything_is_sent(bucket: str) -> None:
    with pytest.raises(StoreUnusable, match="404") as missing:
        try_out(open_store(bucket.replace("//b-", "//c-")))
    assert missing.value.exit_code is Exit.USAGE


def test_an_endpoint_that_is_not_there_is_away(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreAway, match="does not answer") as away:
        try_out(open_store(bucket, patience=0.2, longest=0.2))
    assert away.value.exit_code is Exit.UNFINISHED
    assert not away.value.refused


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("s3://clips", "s3://clips"),
        ("S3://clips//shots/", "s3://clips/shots"),
        ("gs://clips/a%20b/c d", "gs://clips/a%20b/c%20d"),
        ("az://container/shots", "az://container/shots"),
        ("file:///srv/clips/", "file:///srv/clips"),
        ("file://localhost/srv/clips", "file:///srv/clips"),
    ],
)
def test_a_store_has_one_spelling(given: str, url: str) -> None:
    assert store_url(given) == url
    assert store_url(url) == url


@pytest.mark.parametrize(
    "given",
    [
        *(
            "s3://key:hush@clips/a",
            "s3://key@clips/a",
            "s3://clips/a?token=hush",
            "s3://clips#hush",
        ),
        *("s3://", "clips", "/srv/clips", "https://clips.example/a", "file://", "file://host/a"),
        *("s3://clips/../a", "file:relative", "s3://[", ""),
    ],
)
def test_what_is_no_address_of_a_store_or_holds_a_secret_is_refused(given: str) -> None:
    with pytest.raises(StoreUnusable) as refused:
        store_url(given)
    assert "hush" not in f"{refused.value.message} {refused.value.hint}"


def test_http_is_for_loopback_unless_it_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio.example:9000")
    with pytest.raises(StoreUnusable, match="http://"):
        open_store("s3://clips")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    open_store("s3://clips")


def test_a_missing_library_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(StoreUnusable, match="obstore") as missing:
        open_store(f"s3://clips/{os.getpid()}")
    assert "seedance-batch[store]" in str(missing.value.hint)


def test_a_state_is_known_as_well_where_a_bucket_keeps_every_version(bucket: str, s3: str) -> None:
    name = bucket.removeprefix("s3://").partition("/")[0]
    enable = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert httpx.put(f"{s3}/{name}?versioning", content=enable, timeout=60).status_code == 200
    store = open_store(bucket)
    first = store.put_if("lease.json", b"owner 1", None)
    assert first
    assert " " in first  # Google compares versions, S3 tags
    second = store.put_if("lease.json", b"owner 1 again", first)
    assert second
    assert store.put_if("lease.json", b"owner 2", first) is None
    got = store.get("lease.json")
    assert got is not None
    assert got[1].etag == second
