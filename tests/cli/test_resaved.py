"""A manifest that another program saved buys nothing again: line ends and blanks are no edit."""

from __future__ import annotations

import pytest

from seedance_batch.errors import Exit
from tests.cli.shop import Shop

LINES = (
    "id,prompt,duration,resolution\n"
    'shot1,"Wide shot of the harbour.\nThe camera pushes in slowly.",4,480p\n'
    'shot2,"A cat walks through rain ",4,480p\n'
)
RESAVED = {
    "windows": LINES.replace("\n", "\r\n"),
    "blanks at the ends of texts": LINES.replace('",4', '  ",4').replace('rain  "', 'rain"'),
    "a line end at the end": LINES.replace('",4', '\n",4'),
    "a former Mac": LINES.replace("\n", "\r"),
    "quotes that became part of the text": LINES.replace("A cat walks", '""A cat walks').replace(
        'rain "', 'rain"""'
    ),
}


def bought(shop: Shop, text: str) -> None:
    """Both rows of it are bought."""
    shop.folder.mkdir(exist_ok=True)
    shop.manifest.write_bytes(text.encode())
    assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == 2


def nothing_new(shop: Shop, text: str) -> None:
    """Saved so, the manifest's plan has no new money, and its run buys nothing."""
    shop.manifest.write_bytes(text.encode())
    (document,) = shop.plan("--json").lines
    assert document["new_rows"] == 0, document
    assert shop.run().code == Exit.OK
    assert set(shop.statuses()) == {"done"}
    assert len(shop.tasks()) == 2


@pytest.mark.cases(1)
@pytest.mark.parametrize("name", RESAVED)
def test_rows_with_ids_stay_bought(shop: Shop, name: str) -> None:
    bought(shop, LINES)
    for text in (RESAVED[name], LINES):
        nothing_new(shop, text)


@pytest.mark.cases(1)
@pytest.mark.parametrize("name", RESAVED)
def test_rows_without_ids_stay_bought(shop: Shop, name: str) -> None:
    def without_ids(text: str) -> str:
        return text.replace("id,", "", 1).replace("shot1,", "").replace("shot2,", "")

    bought(shop, without_ids(LINES))
    for text in (RESAVED[name], LINES):
        nothing_new(shop, without_ids(text))


@pytest.mark.more
def test_with_flags_they_stay_bought(shop: Shop) -> None:
    bought(shop, LINES)
    shop.manifest.write_bytes(RESAVED["windows"].encode())
    assert shop.run("--set", "duration=5").code != Exit.OK  # made with other flags: kept
    assert len(shop.tasks()) == 2


@pytest.mark.more
def test_in_another_format_they_stay_bought(shop: Shop) -> None:
    bought(shop, LINES)
    other = shop.folder / "shots.yaml"
    other.write_text(
        "defaults: {duration: 4, resolution: 480p}\n"
        "rows:\n"
        "  - id: shot1\n"
        "    prompt: |\n"
        "      Wide shot of the harbour.\n"
        "      The camera pushes in slowly.\n"
        "  - {id: shot2, prompt: A cat walks through rain}\n"
    )
    shop.manifest.unlink()
    said = shop.run("--out", str(shop.run_folder), of=other)
    assert said.code == Exit.OK, said.err
    assert len(shop.tasks()) == 2


def test_a_copy_that_was_resaved_is_told_where_its_rows_were_bought(shop: Shop) -> None:
    bought(shop, LINES)
    copy = shop.folder / "copy.csv"
    copy.write_bytes(RESAVED["windows"].encode())
    assert "runs/shots" in shop.plan(of=copy).out


def test_the_plan_shows_what_was_edited(shop: Shop) -> None:
    bought(shop, LINES)
    shop.manifest.write_bytes(LINES.replace("cat walks", "cat runs").encode())
    assert "shot2: prompt changed (‘A cat walks through rain’ → ‘A cat runs through rain’)." in (
        shop.plan().out
    )
