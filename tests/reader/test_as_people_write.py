"""Manifests as people, models and spreadsheet programs write them: read right, or refused."""

from __future__ import annotations

import json
from datetime import time
from pathlib import Path

import pytest
import xlsxwriter

from seedance_batch.core.manifest import Manifest, Severity
from seedance_batch.reader.read import grouped, read_manifest
from seedance_batch.reader.source import ReadOptions


def read(folder: Path, content: str | bytes, name: str = "shots.csv", **options: str) -> Manifest:
    data = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(data)
    return read_manifest(folder / name, ReadOptions(**options))  # type: ignore[arg-type]


def told(manifest: Manifest, severity: Severity) -> list[str]:
    return grouped(found for found in manifest.findings if found.severity is severity)


def problems(manifest: Manifest) -> list[str]:
    return told(manifest, Severity.PROBLEM)


def warnings(manifest: Manifest) -> list[str]:
    return told(manifest, Severity.WARNING)


def receipts(manifest: Manifest) -> list[str]:
    return told(manifest, Severity.RECEIPT)


def prompts(manifest: Manifest) -> list[str]:
    return [job.input.prompt for job in manifest.jobs]


# ── YAML takes `` #7`` for a comment ────────────────────────────────────────────────────────────

JERSEY = "Close-up of jersey #7 walking in rain"


@pytest.mark.parametrize(
    ("content", "line", "left_out"),
    [
        (f"rows:\n  - prompt: {JERSEY}\n", 2, "#7 walking in rain"),
        (f"rows:\r\n  - prompt: {JERSEY}\r\n", 2, "#7 walking in rain"),
        ("- prompt: 🚀 one\n    two #9\n  note: x\n", 1, "#9"),
        ("- prompt: A cat walks # take two\n", 1, "# take two"),
        ('- prompt: "A cat" #2 walks\n', 1, "#2 walks"),
        ("- prompt: &scene A cat\n", 1, "&scene"),
        (f"defaults:\n  prompt: {JERSEY}\nrows: [{{id: a}}]\n", 2, "#7 walking in rain"),
        (f"- Prompt: {JERSEY}\n", 1, "#7 walking in rain"),
        (f"matrix:\n  prompt:\n    - {JERSEY}\n", 3, "#7 walking in rain"),
        ("prompt_template: A {colour} cat #2\nrows: [{colour: red}]\n", 1, "#2"),
        (
            "prompt_template: A {colour} cat\nrows:\n  - {id: a, colour: red}\n"
            "  - id: b\n    colour: dark #ff00aa\n",
            *(5, "#ff00aa"),
        ),
    ],
)
def test_a_prompt_of_which_yaml_leaves_out_a_part_is_a_problem(
    tmp_path: Path, content: str, line: int, left_out: str
) -> None:
    (said, *_) = problems(read(tmp_path, content, "shots.yaml"))
    assert said.startswith(f"shots.yaml:{line}:")
    assert f"YAML leaves out ‘{left_out}" in said


def test_what_is_no_comment_or_surely_one_is_read_as_it_was(tmp_path: Path) -> None:
    manifest = read(
        tmp_path,
        "# the first scene\n"
        f"- prompt: {JERSEY!r}\n"
        "- prompt: Music in C#minor\n"
        '- prompt: "A cat walks"  # take two\n'
        "  duration: 5  # five\n"
        "- prompt: >-  # folded\n"
        "    Colour #ff00aa\n"
        "    # is no comment here\n",
        "shots.yaml",
    )
    assert not problems(manifest)
    assert not warnings(manifest)
    assert prompts(manifest) == [
        *(JERSEY, "Music in C#minor", "A cat walks", "Colour #ff00aa # is no comment here"),
    ]


def test_another_text_of_which_yaml_leaves_out_a_part_is_warned_of(tmp_path: Path) -> None:
    manifest = read(tmp_path, "- id: shot #3\n  prompt: A cat walks\n", "shots.yaml")
    assert [said.partition(" here")[0] for said in warnings(manifest)] == [
        "shots.yaml:1:id: YAML leaves out ‘#3’"
    ]


# ── what stands for a prompt that is not there ──────────────────────────────────────────────────

PLACEHOLDERS = (
    *("#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#N/A", "#NULL!", "#NUM!", "#SPILL!", "#CALC!"),
    *("#GETTING_DATA", "#FIELD!", "#BLOCKED!", "#CONNECT!", "#UNKNOWN!", "#BUSY!", "#ERROR!"),
    *("#BEZUG!", "#WERT!", "#NV", "#ÜBERLAUF!", "#¡REF!", "#¿NOMBRE?", "#VALEUR!", "#N/D"),
    *("Err:508", "Err:502", "Loading...", "Loading…", "nan", "NaN", "None", "null", "NULL"),
    *(
        "undefined",
        "<NA>",
        "n/a",
        "TBD",
        "####",
        " #REF! ",
        "-----",
        "...",
        "???",
        "=====",
        " * * * ",
    ),
)


@pytest.mark.parametrize("text", PLACEHOLDERS)
def test_what_a_broken_or_unfinished_sheet_leaves_is_no_prompt(tmp_path: Path, text: str) -> None:
    manifest = read(tmp_path, f"id,prompt\na,{text}\nb,A cat walks\n")
    (said,) = problems(manifest)
    assert (
        said.startswith(f"shots.csv:2:prompt: is {text.strip()}")
        or "placeholder for missing text" in said
        or "has no word in it" in said
    )


@pytest.mark.parametrize(
    "text", ["#nofilter street at night", "None of them moves", "Loading... a truck", "Error 508"]
)
def test_a_prompt_that_only_begins_so_is_one(tmp_path: Path, text: str) -> None:
    manifest = read(tmp_path, f"id,prompt\na,{text}\n")
    assert (problems(manifest), prompts(manifest)) == ([], [text])


# ── lines of a table that are no rows ───────────────────────────────────────────────────────────

LEFT_OUT = "has a scene name, a total or a note but no prompt; it is left out"


@pytest.mark.parametrize(
    ("content", "lines", "kept"),
    [
        (
            "Shot,prompt,Price\nSCENE 1 - LAKE,,\n1,A calm lake,12.5\nSCENE 2 - SEA,,\n"
            "2,A calm sea,13\nTOTAL,,25.5\n",
            *([2, 4, 6], ["A calm lake", "A calm sea"]),
        ),
        ("Scene,Shot,Prompt\nINT. KITCHEN,,\n,1,A kettle\n", [2], ["A kettle"]),
        ("id,prompt,length\nSCENE 1,,\n1,A lake,5\nGrand total:,,5\n", [2, 4], ["A lake"]),
        ("Shot,prompt\n第一场,\n1,A lake\n合计,\n", [2, 4], ["A lake"]),
        ("Shot,prompt\n1,A lake\nPlease ask Jana about this\n2,A sea\n", [3], ["A lake", "A sea"]),
        ("Shot,prompt,note\n1,A lake,\n,,check with Jana\n", [3], ["A lake"]),
    ],
)
def test_scenes_totals_and_notes_without_a_prompt_are_left_out_and_counted(
    tmp_path: Path, content: str, lines: list[int], kept: list[str]
) -> None:
    manifest = read(tmp_path, content)
    assert (problems(manifest), prompts(manifest)) == ([], kept)
    assert [f.place.line for f in manifest.findings if f.message == LEFT_OUT] == lines
    assert manifest.source["left out"].startswith(f"{len(lines)} row")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("prompt,length\nA lake,5\nSCENE 2 – KITCHEN,\nA kettle,5\n", "stands alone"),
        ("shot,prompt\n1,A lake\n,Szene 2: Küche\n2,A sea\n", "stands alone"),
        ("shot,prompt\n1,A lake\n,THE KITCHEN\n2,A sea\n", "stands alone"),
        ("shot,prompt,length\n1,A lake,5\n,TOTAL,45\n", "is a total, not a prompt"),
        ("shot,prompt\n1,A lake\n,第2幕 厨房\n2,A sea\n", "stands alone"),
    ],
)
def test_a_scene_or_a_total_where_the_prompts_are_is_left_out_and_said(
    tmp_path: Path, content: str, said: str
) -> None:
    manifest = read(tmp_path, content)
    assert any(said in finding.message for finding in manifest.findings)
    assert [prompt[:2] for prompt in prompts(manifest)] in (["A "], ["A ", "A "])
    assert manifest.source["left out"] == "1 row named like a scene or a total"


def test_where_prompts_stand_alone_too_a_scenes_name_is_sent_and_warned_of(tmp_path: Path) -> None:
    manifest = read(tmp_path, "prompt\nScene 1\nA LOUD CITY\nA lake\n")
    assert len(manifest.jobs) == 3
    assert warnings(manifest) == [
        "shots.csv:2: ‘Scene 1’ looks like a scene name, but is sent as a prompt"
    ]


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("prompt\nA cat walks\nprompt\nA fox\n", ["A cat walks", "A fox"]),
        ("Prompt;Length\nA lake;4\n PROMPT ;Length\nA sea;5\n", ["A lake", "A sea"]),
        ("shot,prompt,\n1,A cat walks,\nshot,prompt,\n1,A fox,\n", ["A cat walks", "A fox"]),
        ("Shot no.,Prompt\n1,A lake\nshot no.,prompt\n2,A sea\n", ["A lake", "A sea"]),
        ("id,提示词\n1,A lake\nid,提示词\n2,A sea\n", ["A lake", "A sea"]),
    ],
)
def test_headings_that_come_again_are_left_out_with_a_receipt(
    tmp_path: Path, content: str, kept: list[str]
) -> None:
    manifest = read(tmp_path, content)
    assert (problems(manifest), prompts(manifest)) == ([], kept)
    assert [said.partition(": ")[2] for said in receipts(manifest)] == [
        "repeats the headings; it is left out"
    ]


def test_other_headings_further_down_are_a_problem(tmp_path: Path) -> None:
    manifest = read(tmp_path, "prompt,length\nA lake,4\nlength,prompt\n5,A sea\n")
    assert problems(manifest)[0] == (
        "shots.csv:3: contains other headings: a second table begins here; put it in its own file"
    )


@pytest.mark.parametrize(
    "content",
    [
        "field,shot 1,shot 2\nprompt,A cat walks,A dog runs\nduration,5,6\n",
        "prompt,A cat walks,A dog runs\nduration,5,6\nclient,Acme,Acme\n",
        "shot\t1\t2\nPrompt\tA cat walks\tA dog runs\nAspect Ratio\t16:9\t9:16\n",
    ],
)
def test_a_table_that_lies_on_its_side_is_a_problem(tmp_path: Path, content: str) -> None:
    assert any("transpose the table" in said for said in problems(read(tmp_path, content)))


def test_a_prompt_that_is_a_fields_name_among_others_is_one(tmp_path: Path) -> None:
    content = "id,prompt\na,Sound\nb,A lake at dawn\nc,A sea at dusk\n"
    assert problems(read(tmp_path, content)) == []


@pytest.mark.parametrize(
    ("field", "text", "advice"),
    [
        ("reference_image_urls", "https://a.eu/1.png,https://a.eu/2.png", "put | or a line break"),
        ("reference_image_urls", "https://a.eu/1.png; https://a.eu/2.png", "put | or a line break"),
        ("reference_image_urls", "['asset://a', 'asset://b']", "put | or a line break"),
        ("reference_video_urls", "https://a.eu/1.mp4 https://a.eu/2.mp4", "put | or a line break"),
        ("first_frame_url", "https://a.eu/1.png,https://a.eu/2.png", "one is taken here"),
    ],
)
def test_several_addresses_are_never_sent_as_one(
    tmp_path: Path, field: str, text: str, advice: str
) -> None:
    (said,) = problems(read(tmp_path, f'prompt,{field}\nA cat walks,"{text}"\n'))
    assert f"holds several addresses; {advice}" in said


@pytest.mark.parametrize("text", ["https://a.eu/a,b.png", "https://a.eu/web/https://b.eu/c.png"])
def test_an_address_with_a_comma_or_another_one_inside_is_one(tmp_path: Path, text: str) -> None:
    content = f'prompt,reference_image_urls\nA cat walks,"{text}"\n'
    assert problems(read(tmp_path, content)) == []


@pytest.mark.parametrize(
    ("content", "way"),
    [
        ("shot|prompt\n1|A cat walks\n", "--delimiter bar"),
        ('"id,prompt"\n"a,A cat walks"\n', "or take away the quotes around whole lines"),
    ],
)
def test_headings_that_stand_together_are_never_offered_as_the_prompt(
    tmp_path: Path, content: str, way: str
) -> None:
    (said,) = problems(read(tmp_path, content))
    assert said.endswith(way)
    assert "--map" not in said


@pytest.mark.parametrize("field", ["id", "model"])
@pytest.mark.parametrize("text", ["#REF!", "#N/A", "Err:508"])
def test_an_error_of_a_formula_names_neither_a_row_nor_a_model(
    tmp_path: Path, field: str, text: str
) -> None:
    (said,) = problems(read(tmp_path, f"prompt,{field}\nA cat walks,{text}\n"))
    assert said.startswith(f"shots.csv:2:{field}: ")


def test_a_row_that_seems_to_be_commented_out_is_warned_of(tmp_path: Path) -> None:
    manifest = read(tmp_path, "id,prompt\na,A cat walks\n#b,A dog runs\n")
    assert warnings(manifest) == [
        "shots.csv:3:id: ‘#b’ begins with #, and is sent; a column skip leaves it out"
    ]
    assert warnings(read(tmp_path, "id,prompt\n#1,A cat walks\n#2,A dog runs\n")) == []


def test_a_table_without_any_row_is_a_problem(tmp_path: Path) -> None:
    assert problems(read(tmp_path, "shot,prompt\nSCENE 1,\nSCENE 2,\n")) == [
        "shots.csv:1: has no row with a prompt"
    ]


# ── CSV with blanks around its quotes ───────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ('id, prompt, duration\nrain, "A cat walks", 4\n', ["A cat walks"]),
        ('id, prompt, duration\na, "A cat, slow ""and"" wet", 4\n', ['A cat, slow "and" wet']),
        ('id,prompt,duration\na,"Two\nlines" ,5\n', ["Two\nlines"]),
        ('id;prompt;duration\na; "A cat; slow";4\n', ["A cat; slow"]),
        ('id\tprompt\tduration\na\t "A cat"\t4\n', ["A cat"]),
        ('  "id" , "prompt"\r\n  "a" , "A cat, b"\r\n', ["A cat, b"]),
        ('id,prompt\n"b" ,"x, "" , y"\n', ['x, " , y']),
    ],
)
def test_blanks_around_quotes_are_left_out_with_a_receipt(
    tmp_path: Path, content: str, kept: list[str]
) -> None:
    manifest = read(tmp_path, content)
    assert (problems(manifest), prompts(manifest)) == ([], kept)
    assert receipts(manifest)[0] == (
        "shots.csv: spaces between a quote and the next delimiter are left out"
    )


@pytest.mark.parametrize("text", ['5" pipe in rain', 'He says "go" twice', 'A "cat"'])
def test_quotes_inside_a_text_stay(tmp_path: Path, text: str) -> None:
    assert prompts(read(tmp_path, f"id,prompt\na,{text}\n")) == [text]


# ── encodings ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp932", "①夜明けの港、髙橋さんが歩く"),
        ("cp949", "똠방각하 고양이가 걷는다"),
        ("cp950", "雨夜的書房，一盞檯燈亮起碁"),
        ("cp850", "Une fille à l'été"),
        ("mac_roman", "Ein Mädchen läuft durch Straßen"),
    ],
)
def test_what_an_old_file_may_be_written_in_is_offered_beside_others(
    tmp_path: Path, encoding: str, text: str
) -> None:
    (said,) = problems(read(tmp_path, f"id,prompt\na,{text}\n".encode(encoding)))
    assert f"‘{text}’ in {encoding}" in said
    assert said.count(" in ") >= 2
    assert "--encoding …;" in said
    named = read(tmp_path, f"id,prompt\na,{text}\n".encode(encoding), encoding=encoding)
    assert (prompts(named), warnings(named)) == ([text], [])


def test_bytes_that_are_wrong_in_utf_8_are_named_with_their_lines(tmp_path: Path) -> None:
    content = "id,prompt\na,café – naïve façade\nb,The cat".encode() + b"\x92s tail\nc,A \xe9t\n"
    assert problems(read(tmp_path, content)) == [
        "shots.csv:3: contains the byte 0x92, but the rest is UTF-8: ‘The cat�s tail’; "
        "type that character again and save as UTF-8",
        "shots.csv:4: contains the byte 0xE9, but the rest is UTF-8: ‘A �t’; "
        "type that character again and save as UTF-8",
    ]


MISREAD = (
    *("A café at dawn", "Ein Mädchen läuft", "“A kettle” — it’s", "雨夜的书房", "Привет мир"),
)


@pytest.mark.parametrize("text", MISREAD)
@pytest.mark.parametrize("wrong", ["cp1252", "latin-1"])
def test_text_that_was_read_in_a_wrong_encoding_once_is_warned_of(
    tmp_path: Path, text: str, wrong: str
) -> None:
    try:
        seen = text.encode().decode(wrong)
    except UnicodeDecodeError:
        pytest.skip(f"{wrong} refuses these bytes")
    (said,) = warnings(read(tmp_path, f'id,prompt\na,"{seen}"\n'))
    assert "which looks like text that was once read in the wrong encoding" in said


@pytest.mark.parametrize(
    "seen", ["A caf√© at dawn", "‚ÄúA kettle", "A caf├® at dawn", "РџСЂРёРІРµС‚", "锟斤拷", "caf�"]
)
def test_so_it_is_by_the_signs_of_other_programs(tmp_path: Path, seen: str) -> None:
    assert len(warnings(read(tmp_path, f"id,prompt\na,{seen}\n"))) == 1


@pytest.mark.parametrize(
    "text",
    [
        *("CAFÉ” — GROß… weiß’s", "À la carte «été»", "SÃO PAULO, MAÇÃ", "180 °C ±5 §2 ½ £5 ©"),
        *(
            "naïve ‘é’ – “ü”",
            "√2 and √5",
            "СССР РУССКИЙ",
            "雨夜的书房",
            "日本の夜 🪔",
            "Señor Ñandú",
        ),
    ],
)
def test_text_with_marks_and_signs_is_no_such_text(tmp_path: Path, text: str) -> None:
    manifest = read(tmp_path, f"id,prompt\na,{text!r}\n".replace("'", '"'))
    assert (warnings(manifest), len(manifest.jobs)) == ([], 1)


# ── words for values ────────────────────────────────────────────────────────────────────────────

READ_AS = {
    "duration": {
        **dict.fromkeys(["5 sec", "5s", "5s.", "5-sec", "5 Sek.", "5秒", "5,0 s", '5"', "5″"], "5"),
        **dict.fromkeys(["0:05", "00:05", "00:00:05", "00:05:00", "00:00:05:00"], "5"),
    },
    "resolution": {
        **dict.fromkeys(["HD", "hd-ready", "HD (720p)", "1280x720", "720 p"], "720p"),
        **dict.fromkeys(["Full HD", "FHD", "1080p Full HD", "1920×1080", "1080 x 1920"], "1080p"),
        "SD": "480p",
    },
    "aspect_ratio": {
        **dict.fromkeys(["9:16 (Reels)", "vertical 9:16", "1080x1920", "9-16"], "9:16"),
        **dict.fromkeys(["16:9 - landscape", "1920x1080", "16/9", "widescreen"], "16:9"),
    },
    "model": dict.fromkeys(
        ["Seedance 2.0", "SEEDANCE 2", "Seedance_2_0", "bytedance/seedance-2.0", "Seedance v2"],
        "seedance-2-0",
    ),
}
WORDS = [(f, text, meant) for f, texts in READ_AS.items() for text, meant in texts.items()]


@pytest.mark.parametrize(("field", "text", "meant"), WORDS)
def test_a_value_is_read_as_people_write_it_with_a_receipt(
    tmp_path: Path, field: str, text: str, meant: str
) -> None:
    rows = json.dumps([{"prompt": "A cat walks", field: text}])
    manifest = read(tmp_path, rows, "shots.json")
    assert (problems(manifest), warnings(manifest)) == ([], [])
    (job,) = manifest.jobs
    assert str(job.model if field == "model" else getattr(job.input, field)) == meant
    assert receipts(manifest)[0].endswith(f" is read as {meant}")


@pytest.mark.parametrize("field", ["duration", "resolution", "aspect_ratio", "seed", "model"])
@pytest.mark.parametrize("dash", ["-", "–", "—", "n/a", "none"])
def test_a_dash_stands_for_nothing(tmp_path: Path, field: str, dash: str) -> None:
    manifest = read(tmp_path, f"prompt,{field}\nA cat walks,{dash}\n")
    assert (problems(manifest), warnings(manifest)) == ([], [])
    assert receipts(manifest) == [f"shots.csv:2:{field}: ‘{dash}’ is read as nothing"]


@pytest.mark.parametrize(
    ("field", "text", "wanted"),
    [
        *(
            ("duration", text, "is a range; choose one whole number, 4 to 15")
            for text in ("4 - 5 s", "4-5", "4–5s", "4 to 5", "5 or 6")
        ),
        *(
            ("duration", text, "is not a whole number of seconds, 4 to 15")
            for text in ("five", "5 min", "0:05:30", "4.5", "~5")
        ),
        ("seed", "1,000", "may be 1 or 1000; write only its digits"),
        ("seed", "12.000", "may be 12 or 12000; write only its digits"),
        ("generate_audio", "x", "is neither true nor false; write yes or no"),
        ("generate_audio", "none", "is neither true nor false; write yes or no"),
        *(
            ("resolution", text, "is not one of 480p, 720p, 1080p")
            for text in ("2K", "high", "1080i")
        ),
        *(
            ("aspect_ratio", text, "is not one of 1:1, 4:3")
            for text in ("16:9 or 9:16", "2.39:1", "portrait 4:5", "mp4")
        ),
    ],
)
def test_what_cannot_be_read_is_refused_saying_what_is_wanted(
    tmp_path: Path, field: str, text: str, wanted: str
) -> None:
    (said,) = problems(read(tmp_path, f'prompt,{field}\nA cat walks,"{text}"\n'))
    assert f"‘{text}’ {wanted}" in said


def test_a_time_that_a_workbook_made_of_a_length_is_read_as_seconds(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(str(tmp_path / "shots.xlsx")) as book:
        sheet, clock = book.add_worksheet(), book.add_format({"num_format": "mm:ss"})
        sheet.write_row(0, 0, ["prompt", "Length"])
        for line, length in enumerate([time(0, 5), time(0, 0, 6)], 1):
            sheet.write_string(line, 0, f"A cat walks, take {line}")
            sheet.write_datetime(line, 1, length, clock)
    manifest = read_manifest(tmp_path / "shots.xlsx")
    assert [job.input.duration for job in manifest.jobs] == [5, 6]


@pytest.mark.parametrize("heading", ["Format", "formato", "FORMAT"])
def test_a_column_called_format_is_the_ratio_where_it_holds_ratios(
    tmp_path: Path, heading: str
) -> None:
    manifest = read(tmp_path, f"prompt,{heading}\nA cat walks,9:16\nA fox,1:1\nA hen,-\n")
    assert [job.input.aspect_ratio for job in manifest.jobs] == ["9:16", "1:1", "16:9"]
    assert receipts(manifest)[0] == (
        f"shots.csv:1:{heading}: is read as the aspect_ratio by its values"
    )


@pytest.mark.parametrize("content", ["prompt,Format\nA cat,mp4\n", "prompt,Format\nA cat,\n"])
def test_it_is_the_persons_own_where_it_holds_something_else(tmp_path: Path, content: str) -> None:
    manifest = read(tmp_path, content)
    assert (problems(manifest), manifest.given_inputs) == ([], ("prompt",))


def test_a_ratio_column_goes_before_a_column_called_format(tmp_path: Path) -> None:
    manifest = read(tmp_path, "prompt,ratio,Format\nA cat,1:1,9:16\n")
    assert [job.input.aspect_ratio for job in manifest.jobs] == ["1:1"]
