"""A data set keeps its names, splits and shards while rows are added."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedance_batch.core.clip_sets import Sample, Shard, Splits, sample_key, sharded
from seedance_batch.errors import SettingsError

SPLITS = Splits.parse("train=90,validation=5,test=5")


def sample(number: int, splits: Splits = SPLITS) -> Sample:
    """A sample of ten bytes."""
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    key = sample_key(f"shot{number}", digest)
    return Sample(key, splits.of(f"shot{number}"), "clip.mp4", "poster.jpg", digest, 10, "{}")


def shards(numbers: set[int], made: list[list[str]], most: int = 5) -> list[Shard]:
    """The shards of these samples, of so many at most."""
    former = {key: number for number, keys in enumerate(made) for key in keys}
    found = [(former.get(each.key), each) for each in map(sample, numbers)]
    found.sort(key=lambda pair: (pair[0] is None, pair[0] or 0, pair[1].split, pair[1].key))
    return list(sharded(found, 10 * most))


def keys(found: list[Shard]) -> list[list[str]]:
    """What a list of shards keeps of them."""
    return [[each.key for each in shard.samples] for shard in found]


def test_shares_are_kept_and_a_row_stays_in_its_split() -> None:
    found = {f"shot{n}": SPLITS.of(f"shot{n}") for n in range(4_000)}
    count = Counter(found.values())
    assert count["train"] == pytest.approx(3_600, abs=80)
    assert count["test"] == pytest.approx(200, abs=60)
    # What was published once holds for ever: another rule would leak rows from train into test.
    assert {key: SPLITS.of(key) for key in PUBLISHED} == PUBLISHED
    twice = Splits.parse("train=180,validation=10,test=10")
    assert all(twice.of(key) == split for key, split in found.items())


PUBLISHED = {"shot1": "train", "shot10": "validation", "shot60": "test", "夜读": "train"}


@pytest.mark.parametrize("text", ["", "train", "train=0", "train=x", "a=1,a=2", "A=1", "../x=1"])
def test_what_names_no_splits_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is not a list of names with a share each"):
        Splits.parse(text)


@pytest.mark.parametrize(
    "key", ["a.b.c", "../../x", "two words", "x" * 400, "夜读" * 90, "nul", ""]
)
def test_a_sample_is_named_as_readers_of_tar_files_want_it(key: str) -> None:
    name = sample_key(key, "0123456789abcdef" * 4)
    assert name.endswith("-0123456789ab")
    assert not set(name) & set("./\\ \n\t")
    assert len(f"{name}.json".encode()) <= 255


@given(st.lists(st.sets(st.integers(0, 60), min_size=1, max_size=30), min_size=1, max_size=5))
def test_every_sample_is_in_one_shard_and_no_shard_changes_that_lost_none(
    steps: list[set[int]],
) -> None:
    made: list[Shard] = []
    for numbers in steps:
        found = shards(numbers, keys(made))
        assert sorted(k for shard in found for k in keys([shard])[0]) == sorted(
            sample(n).key for n in numbers
        )
        assert all(len({s.split for s in shard.samples}) == 1 for shard in found)
        assert all(len(shard.samples) <= 5 for shard in found)
        here = {sample(n).key for n in numbers}
        untouched = {shard.name for shard in made if here.issuperset(*keys([shard]))}
        assert untouched <= {shard.name for shard in found}
        assert [s.name for s in shards(numbers, keys(found))] == [s.name for s in found]
        made = found


def test_a_large_clip_has_a_shard_of_its_own() -> None:
    assert [len(each) for each in keys(shards({1, 2, 3}, [], most=0))] == [1, 1, 1]
