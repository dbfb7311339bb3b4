"""``report --share``: what a client gets, and what stays here."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from seedance_batch.errors import Exit
from seedance_batch.page.marks import save_mark
from tests.cli.shop import Shop, shot


@pytest.fixture
def three(shop: Shop) -> Shop:
    """Three clips, two of them kept."""
    shop.write(
        shot(1, client="Acme"), shot(2, client="Acme"), shot(3, client="Globex </script><b>")
    )
    assert shop.run().code == Exit.OK
    for key in ("shot1", "shot3"):
        said = {"mark": "keep", "seen": True, "note": "too *warm*", "stars": 4}
        save_mark(shop.run_folder, key, "final 1", said)
    return shop


def names(folder: Path) -> list[str]:
    """All files below a folder."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name.split(".")[0] for name in found)


def test_a_client_gets_the_page_the_chosen_clips_and_their_marks_and_nothing_else(
    three: Shop,
) -> None:
    target = three.folder / "for acme"
    done = three.at("report", "--share", str(target), "--from", "marks")
    assert (Exit.OK, f"{target}\n") == (done.code, done.out), done.err
    assert ["index", "posters/shot1", "posters/shot3", "videos/shot1", "videos/shot3"] == names(
        target
    )
    html = (target / "index.html").read_text("utf-8")
    assert "paper boat, number 1" in html
    assert "too *warm*" in html
    assert "</script><b>" not in html
    data = html.split('id="data">')[1].split("</script>")[0]
    secrets = [*(str(a.state.task_id) for a in three.attempts()), three.service.api_url, three.key]
    for secret in [*secrets, "127.0.0.1", "$", "0.19", str(three.folder), "number 2", "journal"]:
        assert secret not in data, secret


def test_prompts_can_stay_here_and_costs_can_go(three: Shop) -> None:
    target = three.folder / "for-acme.zip"
    flags = ("--where", "client == 'Acme'", "--no-prompts", "--costs")
    assert Exit.OK == three.at("report", "--share", str(target), *flags).code
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        html = archive.read("index.html").decode()
        clip = archive.read("videos/shot2.mp4")
    assert (three.run_folder / "videos" / "shot2.mp4").read_bytes() == clip
    assert "paper boat" not in html
    assert "$0.19" in html
    assert "shot3" not in html


def test_what_is_there_already_is_kept(three: Shop) -> None:
    target = three.folder / "taken"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    said = three.at("report", "--share", str(target))
    assert Exit.USAGE == said.code
    assert "is there already" in said.err
    assert ["mine"] == names(target)
    nothing = three.at("report", "--share", str(three.folder / "no"), "--ids", "shot9")
    assert Exit.USAGE == nothing.code
    assert not list(three.folder.glob(".share.*"))
