"""What reading says about ordinary slips: with their cells, and with what to do next."""

from __future__ import annotations

from pathlib import Path

import pytest
import xlsxwriter

from seedance_batch.core.manifest import Manifest, Severity
from seedance_batch.reader.headings import field_of
from seedance_batch.reader.read import grouped, read_manifest
from seedance_batch.reader.source import ReadOptions

HEADINGS = ("id", "prompt", "shot")


def told(manifest: Manifest, severity: Severity) -> list[str]:
    return grouped(found for found in manifest.findings if found.severity is severity)


def written(folder: Path, text: str, name: str = "shots.csv", encoding: str = "utf-8") -> Path:
    (folder / name).write_text(text, encoding=encoding)
    return folder / name


def workbook(
    folder: Path, rows: list[tuple[str, ...]], merge: tuple[int, int] | None = None
) -> Path:
    """A sheet with those rows; ``merge``: first and last row, from 0, of one merged prompt."""
    path = folder / "shots.xlsx"
    with xlsxwriter.Workbook(str(path), {"in_memory": True}) as book:
        sheet = book.add_worksheet("Shots")
        for line, cells in enumerate([HEADINGS, *rows]):
            for column, text in enumerate(cells):
                if text:
                    sheet.write_string(line, column, text)
        if merge:
            sheet.merge_range(merge[0], 1, merge[1], 1, "A lamp wakes")
    return path


# ── encodings ───────────────────────────────────────────────────────────────────────────────────

TEXTS = [
    ("cp1252", "Ein Mädchen läuft durch den Regen"),
    ("cp1252", "Une fille à l'été – le garçon naïf"),
    ("cp1252", "El niño y la montaña ¿qué?"),
    ("cp1252", "ÜBER DEN DÄCHERN – “close-up”"),
    ("cp1250", "Dziewczyna biegnie przez łąkę"),
    ("cp1251", "Дождливая ночь и лампа"),
    ("gb18030", "雨夜的书房，一盏台灯亮起"),
    ("gb18030", "女孩 in the rain 跑步"),
    ("big5", "雨夜的書房，一盞檯燈亮起"),
    ("shift_jis", "夜の港、静かな波とランプの光"),
    ("euc_kr", "고양이가 피아노 위를 걷는다"),
]


@pytest.mark.parametrize(("encoding", "text"), TEXTS)
def test_of_the_readings_of_a_text_the_likely_one_is_named_first(
    tmp_path: Path, encoding: str, text: str
) -> None:
    (said,) = told(
        read_manifest(written(tmp_path, f"prompt\n{text}\n", encoding=encoding)), Severity.PROBLEM
    )

    assert f"would read ‘{text}’ in {encoding}" in said


def test_no_ready_made_flag_is_given_where_several_readings_are_left(tmp_path: Path) -> None:
    path = written(tmp_path, "prompt;Dauer\nEin Mädchen läuft;5\n", encoding="cp1252")
    (said,) = told(read_manifest(path), Severity.PROBLEM)

    assert said.endswith("--encoding …; or save it as “CSV UTF-8”, or give the .xlsx")


# ── where else ──────────────────────────────────────────────────────────────────────────────────


def test_rows_are_named_by_their_cells_and_never_counted(tmp_path: Path) -> None:
    rows = [
        ("a", "A lamp wakes"),
        ("", ""),
        ("b", "A cat walks"),
        ("a", "A dog"),
        ("c", "A cat walks"),
    ]
    manifest = read_manifest(workbook(tmp_path, rows))

    assert told(manifest, Severity.PROBLEM) == ["shots.xlsx!Shots!A5: ‘a’ is already the id in A2"]
    assert told(manifest, Severity.WARNING) == [
        "shots.xlsx!Shots!6: duplicates line 4: you pay twice"
    ]


def test_a_finding_names_up_to_twelve_cells_and_counts_the_rest(tmp_path: Path) -> None:
    few = read_manifest(workbook(tmp_path, [("", "", "12")] * 3 + [("", "A lamp wakes")]))
    many = read_manifest(workbook(tmp_path, [("", "", "12")] * 15 + [("", "A lamp wakes")]))

    assert told(few, Severity.PROBLEM) == [
        "shots.xlsx!Shots!B2, B3, B4: is empty: fill it, or delete the row"
    ]
    (said,) = told(many, Severity.PROBLEM)
    assert ", B12, B13 and 3 more: " in said


# ── headings ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("heading", "field"),
    [
        ("Dauer", "duration"),
        ("LÄNGE (s)", "duration"),
        ("Duration (sec)", "duration"),
        ("Durée", "duration"),
        ("duracion", "duration"),
        ("時長", "duration"),
        ("Auflösung", "resolution"),
        ("Résolution", "resolution"),
        ("解像度", "resolution"),
        ("Seitenverhältnis", "aspect_ratio"),
        ("Rapport d’aspect", "aspect_ratio"),
        ("Startbild", "first_frame_url"),
        ("Imagen final", "last_frame_url"),
        ("プロンプト", "prompt"),
        ("Nom de fichier", "id"),
        ("Kunde", None),
        ("length_section", None),
    ],
)
def test_a_heading_may_be_in_the_persons_own_language(heading: str, field: str | None) -> None:
    assert field_of(heading) == field


def test_a_column_that_may_have_been_meant_is_not_left_out_in_silence(tmp_path: Path) -> None:
    path = written(tmp_path, "prompt,Clip-Dauer,Kunde\nA lamp wakes,9,Acme\n")
    plain = read_manifest(path)

    assert told(plain, Severity.WARNING) == [
        "shots.csv:1:Clip-Dauer: is not sent, but may be the duration: every row gets 5 s "
        "(rename it, or use --map duration=Clip-Dauer)"
    ]
    assert plain.source["no column for"] == "duration (5 s), resolution (720p)"
    assert not told(read_manifest(path, ReadOptions(overrides={"duration": "9"})), Severity.WARNING)
    assert (
        read_manifest(path, ReadOptions(column_map={"duration": "Clip-Dauer"}))
        .jobs[0]
        .input.duration
        == 9
    )


def test_a_mapped_heading_that_is_not_there_is_answered_with_those_that_are(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, "prompt,Clip\nA lamp wakes,9\n")

    assert told(
        read_manifest(path, ReadOptions(column_map={"duration": "Länge"})), Severity.PROBLEM
    ) == ["--map:duration: no column is called ‘Länge’; the headings are ‘prompt’, ‘Clip’"]


# ── rows ────────────────────────────────────────────────────────────────────────────────────────


def test_a_prompt_that_is_merged_over_rows_is_said_to_be_paid_for_in_each(tmp_path: Path) -> None:
    rows = [("a", ""), ("b", ""), ("c", ""), ("d", "A cat walks")]
    manifest = read_manifest(workbook(tmp_path, rows, merge=(1, 3)))

    assert len(manifest.jobs) == 4
    assert told(manifest, Severity.WARNING)[0] == (
        "shots.xlsx!Shots!B2, B3, B4: "
        "B2:B4 is merged; its text is used for 3 rows, and each is paid for"
    )


@pytest.mark.parametrize("heading", ["shot", "id"])
@pytest.mark.parametrize("note", ["Total:", "Please deliver by Friday"])
def test_a_note_alone_below_the_table_is_left_out_and_said(
    tmp_path: Path, note: str, heading: str
) -> None:
    manifest = read_manifest(written(tmp_path, f"{heading},prompt\n1,A lamp wakes\n\n{note},\n"))

    assert (len(manifest.jobs), told(manifest, Severity.PROBLEM)) == (1, [])
    assert told(manifest, Severity.RECEIPT) == [
        "shots.csv:4: has a scene name, a total or a note but no prompt; it is left out"
    ]


@pytest.mark.parametrize("rows", ["12,\n", "Shot 12,\n"], ids=["a number", "a label"])
def test_a_row_that_may_lack_its_prompt_is_never_left_out(tmp_path: Path, rows: str) -> None:
    manifest = read_manifest(written(tmp_path, f"shot,prompt\n1,A lamp wakes\n{rows}"))

    assert told(manifest, Severity.PROBLEM) == [
        "shots.csv:3:prompt: is empty: fill it, or delete the row"
    ]


def test_a_row_with_an_id_and_no_prompt_is_told_what_to_do(tmp_path: Path) -> None:
    path = written(tmp_path, "id,prompt\nhero,A lamp wakes\nhero two,\n")

    assert told(read_manifest(path), Severity.PROBLEM) == [
        "shots.csv:3:prompt: is empty, but the row has an id: fill it, or delete the row"
    ]


def test_takes_of_an_included_file_are_meant_and_other_equals_are_not(tmp_path: Path) -> None:
    written(tmp_path, "variants: 2\nrows:\n- prompt: A lamp wakes\n", "inner.yaml")
    outer = written(tmp_path, "include: inner.yaml\nrows:\n- prompt: A cat walks\n", "outer.yaml")
    assert (len(read_manifest(outer).jobs), told(read_manifest(outer), Severity.WARNING)) == (3, [])

    written(tmp_path, "include: inner.yaml\nrows:\n- prompt: A lamp wakes\n", "outer.yaml")
    assert told(read_manifest(outer), Severity.WARNING) == [
        "outer.yaml:3: duplicates inner.yaml:3: you pay twice"
    ]


# ── cells ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "ratio"),
    [("16 by 9", "16:9"), ("16/9", "16:9"), ("Landscape", "16:9"), ("portrait", "9:16")],
)
def test_a_ratio_in_words_is_read_with_a_receipt(tmp_path: Path, text: str, ratio: str) -> None:
    manifest = read_manifest(written(tmp_path, f"prompt,aspect_ratio\nA lamp wakes,{text}\n"))

    assert manifest.jobs[0].input.aspect_ratio == ratio
    assert told(manifest, Severity.RECEIPT) == [
        f"shots.csv:2:aspect_ratio: ‘{text}’ is read as {ratio}"
    ]


@pytest.mark.parametrize(
    ("text", "what"), [("0.16", "number"), ("16%", "number"), ("2026-03-04", "date")]
)
def test_a_ratio_that_a_spreadsheet_took_for_something_else_says_how_to_keep_it(
    tmp_path: Path, text: str, what: str
) -> None:
    path = written(tmp_path, f"prompt,aspect_ratio\nA lamp wakes,{text}\n")
    (said,) = told(read_manifest(path), Severity.PROBLEM)

    assert f"‘{text}’ is a {what}, not one of " in said
    assert said.endswith("; format the column as text and type it again")


def test_a_file_that_is_missing_is_said_to_be_missing_where(tmp_path: Path) -> None:
    path = written(tmp_path, "prompt,first_frame_url\nA lamp wakes,none.png\n")

    assert told(read_manifest(path), Severity.PROBLEM) == [
        f"shots.csv:2:first_frame_url: ‘none.png’: there is no such file in {tmp_path}"
    ]


# ── numbers ─────────────────────────────────────────────────────────────────────────────────────


def numbered(path: Path) -> list[str]:
    found = (f for f in read_manifest(path).findings if f.severity is not Severity.RECEIPT)
    return [line.split(": ")[0] for line in grouped(found, numbered=True)]


def test_findings_name_the_sheets_row_and_the_row_as_it_is_chosen_by(tmp_path: Path) -> None:
    text = "Our list\n\nprompt,duration\na lake,99\na sea,99\na fox,5\na dog,99\n"
    assert numbered(written(tmp_path, text)) == ["shots.csv:4:duration and lines 5, 7 (rows 1-2,4)"]


def test_a_cell_of_a_row_over_many_lines_has_the_number_of_its_row(tmp_path: Path) -> None:
    text = (
        "defaults: {seed: x}\nrows:\n- id: a\n  prompt: a lake\n"
        "- id: b\n  prompt: a sea\n  duration: 99\n"
    )
    assert numbered(written(tmp_path, text, "shots.yaml")) == [
        "shots.yaml:1:seed",
        "shots.yaml:7:duration (row 2)",
    ]


def test_takes_of_one_line_are_numbered_together(tmp_path: Path) -> None:
    text = "prompt,variants,duration\na lake,3,99\na sea,,5\n"
    assert numbered(written(tmp_path, text)) == ["shots.csv:2:duration (rows 1-3)"]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("defaults: {id: a}\nrows:\n- prompt: a lake\n- prompt: a sea\n", ["a"]),
        ("matrix:\n  id: [a, b]\nrows:\n- prompt: a lake\n- prompt: a sea\n", ["a", "b"]),
        ("matrix:\n  id: [a]\n  duration: [5, 6]\nrows:\n- prompt: a lake\n", ["a"]),
        ("defaults: {id: a}\nvariants: 2\nrows: [{prompt: a lake}, {prompt: a sea}]", ["a", "a-2"]),
    ],
)
def test_an_id_that_stands_once_and_names_several_rows_is_a_problem(
    tmp_path: Path, text: str, ids: list[str]
) -> None:
    manifest = read_manifest(written(tmp_path, text, "shots.yaml"))

    assert [said.partition(": ")[2] for said in told(manifest, Severity.PROBLEM)] == [
        f"‘{one}’ would be the id of several rows; each needs its own" for one in ids
    ]
