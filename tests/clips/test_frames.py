"""What a clip gives to another row: the frame that came with it, else its own, as fine as fits."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from seedance_batch.clips.stills import CannotGive, edge_frame, given
from seedance_batch.core.attempt import Clip
from seedance_batch.core.model import LinkKind
from tests.clips.clips import encoded

CLIP = encoded(noise=200)
ROOM = 8 << 20
FILE = "videos/a.mp4"


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    """A clip in a run folder."""
    (tmp_path / "videos").mkdir()
    (tmp_path / FILE).write_bytes(CLIP)
    return Clip(FILE, len(CLIP), hashlib.sha256(CLIP).hexdigest(), 4.0, 864, 496, True)


@pytest.mark.cases(1)
@pytest.mark.parametrize("kind", [LinkKind.FIRST_FRAME, LinkKind.LAST_FRAME])
def test_its_own_frame_comes_at_full_size_and_without_loss(
    kind: LinkKind, clip: Clip, tmp_path: Path
) -> None:
    found = given(tmp_path, clip, kind, ROOM)
    picture = Image.open(io.BytesIO(found.content))
    frame = edge_frame(tmp_path / FILE, last=kind is LinkKind.LAST_FRAME)
    assert (found.mime, picture.size) == ("image/png", frame.size)
    assert ImageChops.difference(picture.convert("RGB"), frame).getbbox() is None
    assert given(tmp_path, clip, kind, ROOM) == found


@pytest.mark.more
def test_where_that_does_not_fit_it_is_a_fine_jpeg_and_then_nothing(
    clip: Clip, tmp_path: Path
) -> None:
    whole = len(given(tmp_path, clip, LinkKind.LAST_FRAME, ROOM).content)
    found = given(tmp_path, clip, LinkKind.LAST_FRAME, whole - 1)
    picture = Image.open(io.BytesIO(found.content))
    assert found.mime == "image/jpeg"
    assert len(found.content) < whole
    assert picture.size == edge_frame(tmp_path / FILE, last=True).size
    tables = getattr(picture, "quantization", {})
    assert max(max(table) for table in tables.values()) <= 12  # quality 95 has 10 and 12 at most
    with pytest.raises(CannotGive, match="does not fit into a request"):
        given(tmp_path, clip, LinkKind.LAST_FRAME, 500)


def test_the_returned_frame_is_taken_as_it_is_and_a_lost_one_is_decoded(
    clip: Clip, tmp_path: Path
) -> None:
    (tmp_path / "frames").mkdir()
    returned = tmp_path / "frames" / "a.png"
    Image.new("RGB", (864, 496), "navy").save(returned)
    with_frame = replace(clip, last_frame_file="frames/a.png")
    assert given(tmp_path, with_frame, LinkKind.LAST_FRAME, ROOM).content == returned.read_bytes()
    first = given(tmp_path, with_frame, LinkKind.FIRST_FRAME, ROOM)
    assert first == given(tmp_path, clip, LinkKind.FIRST_FRAME, ROOM)
    for spoil in (lambda: returned.write_bytes(b"<html>"), returned.unlink):
        spoil()
        own = given(tmp_path, clip, LinkKind.LAST_FRAME, ROOM)
        assert given(tmp_path, with_frame, LinkKind.LAST_FRAME, ROOM) == own


def test_the_clip_itself_is_given_as_it_is(clip: Clip, tmp_path: Path) -> None:
    assert given(tmp_path, clip, LinkKind.CLIP, 2 * ROOM).content == CLIP


def test_a_clip_that_is_gone_or_another_one_gives_nothing(clip: Clip, tmp_path: Path) -> None:
    other = replace(clip, sha256="0" * 64)
    with pytest.raises(CannotGive, match="was changed since it was downloaded"):
        given(tmp_path, other, LinkKind.LAST_FRAME, ROOM)
    (tmp_path / FILE).unlink()
    with pytest.raises(CannotGive, match=r"videos/a\.mp4 cannot be read"):
        given(tmp_path, clip, LinkKind.LAST_FRAME, ROOM)
