"""Each reason of a refusal leads from the row that was refused to the clip that was wanted."""

from __future__ import annotations

from typing import Any

import pytest

from seedance_batch.errors import Exit
from tests.cli.shop import Shop, say, shot
from tests.service import read_rows

WORDS = {
    "tune": "sound", "actor": "face", "flag": "picture", "trailer": "reference",
    "gore": "prompt", "mouse": "copyright", "fight": "video", "omen": "other",
}  # fmt: skip
URL = "https://media.example/{}.jpg"
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "sound": ({"prompt": "a tune at dawn"}, {}, "rerun --class refused --reason sound"),
    "face": ({"first_frame_url": URL.format("actor")}, {"first_frame_url": URL.format("cat")},
             "replace first_frame_url: no real person may be in it, then run"),
    "picture": ({"reference_image_urls": URL.format("flag")},
                {"reference_image_urls": URL.format("sea")},
                "replace reference_image_urls, then run"),
    "reference": ({"reference_video_urls": "https://media.example/trailer.mp4"},
                  {"reference_video_urls": ""}, "replace reference_video_urls, then run"),
    "prompt": ({"prompt": "gore in the street"}, {"prompt": "rain in the street"},
               "change the prompt, then run"),
    "copyright": ({"prompt": "a famous mouse"}, {"prompt": "a small rodent"},
                  "take other people's works"),
    "video": ({"prompt": "a fight at sea"}, {"prompt": "a race at sea"},
              "change the prompt, then run"),
    "other": ({"prompt": "an omen"}, {"prompt": "a sign"}, "edit the row, then run"),
}  # fmt: skip


def mended(shop: Shop, reason: str, mend: dict[str, Any]) -> int:
    """Do what the sheet says: give its command, or edit the row and run."""
    (row,) = read_rows(shop.run_folder / "failed.csv")
    if row["next_step"].startswith("rerun "):
        command, *flags = row["next_step"].split()
        return int(shop.run(*flags, command=command).code)
    shop.write(shot(1, **REFUSED[reason][0] | mend))
    return int(shop.run().code)


@pytest.mark.cases(2)
@pytest.mark.parametrize("reason", REFUSED)
def test_from_the_refusal_to_the_clip_by_what_the_sheet_says(shop: Shop, reason: str) -> None:
    fields, mend, step = REFUSED[reason]
    shop.write(shot(1, **fields))
    with shop.service.having(faults={"moderation": WORDS}):
        said = shop.run("--json")
        assert said.code == Exit.SOME_FAILED
        (told,) = (line for line in said.lines if line.get("status") == "failed")
        assert told["reason"] == reason
        (failed,) = read_rows(shop.run_folder / "failed.csv")
        assert (failed["error_class"], failed["reason"]) == ("refused", reason)
        assert failed["next_step"].startswith(step)
        assert mended(shop, reason, mend) == Exit.OK
    (done,) = shop.results()
    assert (done["status"], done["reason"]) == ("done", "")
    assert len(shop.tasks()) == 2
    assert shop.run().code == Exit.OK  # and nothing is bought anew
    assert len(shop.tasks()) == 2


def test_a_rerun_by_reason_takes_those_rows_alone_and_its_plan_says_what_changes(
    shop: Shop,
) -> None:
    shop.write(shot(1, prompt="a tune"), shot(2, prompt="a tune at sea"), shot(3, prompt="gore"))
    with shop.service.having(faults={"moderation": WORDS}):
        said = shop.run()
        assert said.hint[-6:] == [
            "--class", "refused", "--reason", "sound", "--set", "generate_audio=false"
        ]  # fmt: skip
        command, manifest, *flags = said.hint
        shown = say(command, manifest, *flags, "--dry-run")
        assert "2 rows: generate_audio true → false." in shown.out
        again = say(*said.hint, "--yes", "-q")
        assert again.code == Exit.SOME_FAILED
    assert [row["status"] for row in shop.results()] == ["done", "done", "failed"]
    assert "    prompt               1\n" in shop.at("status").out
    (status,) = shop.at("status", "--json").lines
    assert status["reasons"] == {"prompt": 1}
    assert "refused (prompt): TASK_FAILED" in shop.plan("-v").out
    assert [row["reason"] for row in shop.results()] == ["", "", "prompt"]
    assert len(shop.tasks()) == 5


def test_a_silent_row_is_not_told_to_leave_its_sound_out(shop: Shop) -> None:
    shop.write(shot(1, generate_audio="no", prompt="forbidden"))
    assert shop.run().code == Exit.SOME_FAILED
    (row,) = shop.results()
    assert (row["reason"], row["next_step"]) == ("other", "edit the row, then run")
    assert "refused by moderation" in row["message"]


def test_a_seed_that_the_service_does_not_take_is_named(shop: Shop) -> None:
    shop.write(shot(1, seed=7))
    with shop.service.having(refuse_seed=True):
        assert shop.run().code == Exit.SOME_FAILED
        (row,) = shop.results()
        assert (row["error_class"], row["reason"]) == ("invalid", "")
        assert row["next_step"].startswith("leave its seed empty")
        shop.write(shot(1, seed=""))
        assert shop.run().code == Exit.OK


def test_rows_are_chosen_by_reason_and_an_unknown_one_is_told(shop: Shop) -> None:
    shop.write(shot(1, prompt="forbidden"), shot(2))
    shop.run()
    (plan,) = shop.plan("--where", "reason = 'other'", "--json").lines
    assert [step["id"] for step in plan["steps"]] == ["shot1"]
    said = shop.run("--reason", "noise", command="rerun")
    assert said.code == Exit.USAGE
    assert "the reasons are sound, face, picture, reference, prompt" in said.err
