"""Writes the awkward manifests beside this file; what must come of each is in ``expected.yaml``.

Run it after a change here, and look at every difference before it is kept::

    python tests/data/manifests/make.py
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import xlsxwriter

HERE = Path(__file__).parent

LAMP = "A lamp wakes up on a quiet desk"
CAT = "A cat walks over the piano"
CREATED = datetime(2026, 1, 2, 3, 4, 5)


def text(name: str, content: str, encoding: str = "utf-8") -> None:
    (HERE / name).parent.mkdir(exist_ok=True)
    (HERE / name).write_bytes(content.encode(encoding))


def raw(name: str, content: bytes) -> None:
    (HERE / name).write_bytes(content)


# ── encodings ───────────────────────────────────────────────────────────────────────────────────

WORLD = (
    'shot,prompt\r\n1,"雨夜的书房，一盏台灯亮起 🪔"\r\n'
    "2,Öl fließt über Kieselsteine – naïve Ästhetik\r\n"
)


def encodings() -> None:
    text("utf8.csv", WORLD)
    text("utf8-bom.csv", WORLD, "utf-8-sig")
    text("utf16-le.csv", "\ufeff" + WORLD, "utf-16-le")
    text("utf16-be.csv", "\ufeff" + WORLD, "utf-16-be")
    text("utf16-no-bom.csv", f"shot\tprompt\r\n1\t{LAMP}\r\n", "utf-16-le")
    text("utf32.csv", "\ufeff" + WORLD, "utf-32-le")
    text("gbk.csv", "shot,prompt\n1,雨夜的书房，一盏台灯亮起\n", "gbk")
    text("shift-jis.csv", "shot,prompt\n1,夜の港、静かな波とランプの光\n", "shift_jis")
    text("cp1252.csv", "shot;prompt\n1;Öl fließt über Kieselsteine – naïve Ästhetik\n", "cp1252")
    raw("utf8-broken.csv", f"shot,prompt\n1,{LAMP}\n2,{CAT} ".encode() + b"\xc3\x28 at night\n")
    raw("utf16-cut.csv", ("\ufeff" + WORLD).encode("utf-16-le")[:-1])


# ── dialects ────────────────────────────────────────────────────────────────────────────────────


def dialects() -> None:
    text(
        "semicolon.csv", f'shot;prompt;duration\n1;"{LAMP}; then, slowly, off";5\n2;{CAT}, fast;4\n'
    )
    text("tab.tsv", f"shot\tprompt\tduration\n1\t{LAMP}, slowly; twice\t5\n")
    text("tab-named.csv", f"shot\tprompt\tduration\n1\t{LAMP}, slowly; twice\t5\n")
    text("bar.csv", f"shot|prompt|duration\n1|{LAMP}|5\n")
    text("sep-line.csv", f"sep=;\nshot;prompt\n1;{LAMP}\n")
    text("cr-only.csv", f"shot,prompt\r1,{LAMP}\r2,{CAT}\r")
    text(
        "crlf-in-cell.csv", 'shot,prompt\r\n1,"First line\r\nsecond line\r\n\r\nfourth"\r\n2,' + CAT
    )
    text("all-quoted.csv", f'"shot","prompt","duration"\n"1","{LAMP}","5"\n')
    text("unquoted-comma.csv", f"shot,prompt,duration\n1,{LAMP}, slowly,5\n2,{CAT},4\n")
    text("open-quote.csv", f'shot,prompt\n1,{LAMP}\n2,"{CAT}\n3,And so it goes on\n')
    text("text-after-quote.csv", f'shot,prompt\n1,"{LAMP}" at night\n')
    text("blank-lines.csv", f"\n\nshot,prompt\n\n1,{LAMP}\n,\n  , \n2,{CAT}\n\n")
    text("trailing-commas.csv", f"shot,prompt,,\n1,{LAMP},,\n2,{CAT},,\n")
    text("short-rows.csv", f"prompt,duration,note\n{LAMP}\n{CAT},4\n")
    text("twin-headings.csv", f"prompt,note,note\n{LAMP},a,b\n")
    text("nameless-column.csv", f"prompt,,note\n{LAMP},mine,b\n")
    text("title-above.csv", f"Teaser spring,,\nas of May,,\nshot,prompt,duration\n1,{LAMP},5\n")
    text("one-column.csv", f"prompt\n{LAMP}\n{CAT}\n")
    text("empty.csv", "")
    text("blank.csv", " \n\t\n")
    text("header-only.csv", "shot,prompt,duration\n")
    text("no-prompt.csv", f"shot,what to show\n1,{LAMP}\n")
    text("no-header.csv", f"1,{LAMP},16:9\n2,{CAT},16:9\n")
    text("single-quotes.csv", f"shot,prompt\n1,'{LAMP}'\n")
    raw("nul.csv", f"shot,prompt,note\n1,{LAMP}\0,x\n2,{CAT},a\0b\n".encode())


# ── what spreadsheets do to values ──────────────────────────────────────────────────────────────


def damage() -> None:
    times = ["16:09", "16:09:00", "16:08:59.994", "0.672916667", '"0,672916667"', "4:09 PM"]
    times += ["9:16:00 AM", "04:03", "1:01", "21:09:00", "0.6770833", "16:15:00", "16:09:30"]
    rows = "".join(f"{i} {LAMP},{t}\n" for i, t in enumerate(times, 1))
    text("times.csv", "prompt,aspect_ratio\n" + rows)
    text(
        "ratio-signs.csv",
        "prompt,aspect_ratio\n"
        + "".join(f"{i} {LAMP},{r}\n" for i, r in enumerate(("16x9", "9/16", "4：3", "1.7778"))),
    )
    numbers = ["5", "5.0", '"5,0"', "5s", "5 sec", " 6 ", "4.5", "five", "5.0.0", "-5", "1e1", "٥"]
    rows = "".join(f"{i} {LAMP},{n}\n" for i, n in enumerate(numbers, 1))
    text("numbers.csv", "prompt,duration\n" + rows)
    truths = ["TRUE", "true", "False", "yes", "NO", "1", "0", "WAHR", "faux", "是", "maybe", "2"]
    rows = "".join(f"{i} {LAMP},{t}\n" for i, t in enumerate(truths, 1))
    text("truths.csv", "prompt,generate_audio\n" + rows)
    text(
        "enums.csv",
        "prompt,aspect_ratio,resolution\n"
        f"1 {LAMP},16:9 ,480p \n2 {LAMP},Adaptive,720P\n3 {LAMP},\u00a09:16,1080\n"
        f"4 {LAMP},16:10,720i\n",
    )
    url = "https://example.com/frames/a.png"
    urls = [f"“{url}”", f"\u00a0{url}\u200b", f'"""{url}"""', f"‘{url}’", f"<{url}>"]
    urls += [
        "https://example.com/my frame.png",
        "https://example.com/a\u00a0b.png",
        "HTTPS://x.y/a",
    ]
    urls += ["http://", "ftp://example.com/a.png", "https://example.com:99999/a.png"]
    rows = "".join(f"{i} {LAMP},{u}\n" for i, u in enumerate(urls, 1))
    text("urls.csv", "prompt,first_frame_url\n" + rows)
    text("seeds.csv", f"prompt,seed\n1 {LAMP},42.0\n2 {LAMP},-1\n3 {LAMP},2147483648\n4 {LAMP},0\n")
    text(
        "ids.csv",
        f"id,prompt\nhero,{LAMP}\n hero ,{CAT}\n,A third one without\n007,Keeps its noughts\n"
        f"5-Mar,{LAMP} then\n2026-03-05 00:00:00,{LAMP} still\n1.23457E+17,{LAMP} more\n"
        f'"two\nlines",{CAT} again\n{"x" * 201},{CAT} once more\n',
    )
    text("spreadsheet-errors.csv", f"prompt,duration\n#REF!,5\n{LAMP},#N/A\n#NAME?,4\n")


# ── prompts ─────────────────────────────────────────────────────────────────────────────────────

AWKWARD = (
    '=cmd|" /C calc"!A0',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "'=kept with its apostrophe",
    '{"scene": "a lamp", "camera": ["pan", "tilt"]}',
    '{"scene": "never closed"',
    "[wide] a harbour at dawn",
    '"wholly quoted prompt"',
    "---\nfirst shot\n---\nsecond shot",
    "- a dash begins this\n* and this\n1. and this",
    "família 👨‍👩‍👧‍👦 walks under 🏳️‍🌈, ok 👍🏽",
    "cafe\u0301 in NFD stays NFD",
    "café in NFC stays NFC",
    "“curly” quotes\u00a0and no-break spaces stay",
    "full-width：１６：９，全角标点。→ 箭头 — 破折号",
    "مصباح على المكتب \u202eright to left\u202c",
    "  outer blanks stay  ",
    "tab\tinside and \\n as two letters",
    "line one\nline two\n\nline four\n",
    "{name} is no template here",
    "#hashtag at the beginning",
    "null and void",
    "a\u2028line separator and a\u2029paragraph separator",
)


def prompts() -> None:
    text("length-3.csv", "prompt\nabc\n日本語\n")
    text("length-2.csv", "prompt\nab\n日本\n")
    text("length-20000.csv", "prompt\n" + "a" * 20_000 + "\n" + "灯" * 20_000 + "\n")
    text("length-20001.csv", "prompt\n" + "a" * 20_001 + "\n")
    text("white-space-prompt.csv", 'shot,prompt\n1,   \n2,"\n\n"\n3,\u00a0\u3000\n4,\n')
    cells = "".join('"' + prompt.replace('"', '""') + '"\n' for prompt in AWKWARD)
    text("awkward-prompts.csv", "prompt\n" + cells)
    text(
        "awkward-prompts.jsonl",
        "".join(
            json.dumps({"prompt": prompt}, ensure_ascii=i % 2 == 0) + "\n"
            for i, prompt in enumerate(AWKWARD)
        ),
    )
    text(
        "many-words.csv",
        "prompt\n" + "word " * 1_001 + "\n" + "灯" * 1_001 + "\n" + "w " * 999 + "\n",
    )


# ── headings ────────────────────────────────────────────────────────────────────────────────────


def headings() -> None:
    text(
        "aliases.csv",
        f"Filename,Video Prompt,Ratio,Seconds,Quality,Sound,Seeds\nhero,{LAMP},9:16,6,480p,no,7\n",
    )
    text("chinese-headings.csv", f"镜号,提示词,画面比例,时长\n1,{LAMP},9:16,6\n")
    text(
        "loud-headings.csv", f"PROMPT *,Aspect Ratio:,DURATION,Generate-Audio\n{LAMP},1:1,4,false\n"
    )
    text("slips.csv", f"prompt,duraton,resolutoin,aspect_ration\n{LAMP},4,480p,1:1\n")
    text("slip-prompt.csv", f"promt,duration\n{LAMP},4\n")
    text(
        "secrets.csv",
        f"prompt,API Key,callback_url,base_url\n{LAMP},sk-abc,https://x.y,https://z.y\n",
    )
    text("two-aliases.csv", f"prompt,ratio,aspect\n{LAMP},1:1,16:9\n")
    text("exact-and-alias.csv", f"prompt,aspect_ratio,ratio\n{LAMP},1:1,16:9\n")
    text("map.csv", f'Shot text,"How long, please"\n{LAMP},6\n')


# ── the contract ────────────────────────────────────────────────────────────────────────────────


def contract() -> None:
    text(
        "three-faults.csv",
        f"shot,prompt,duration,aspect_ratio\n1,{LAMP},3,16:9\n2,{CAT},4,4:5\n3,,4,16:9\n4,{CAT},4,1:1\n",
    )
    url = "https://example.com/a.png"
    text(
        "modes.csv",
        "prompt,duration,first_frame_url,last_frame_url,reference_image_urls,reference_audio_urls\n"
        f"last without first {LAMP},5,,{url},,\n"
        f"both kinds {LAMP},5,{url},,{url},\n"
        f"ten images {LAMP},5,,,{'|'.join([url] * 10)},\n"
        f"four sounds {LAMP},5,,,{url},{'|'.join(['https://example.com/a.mp3'] * 4)}\n"
        f"only a sound {LAMP},5,,,,https://example.com/a.mp3\n"
        f"two faults {LAMP},3,,{url},,\n"
        f"a bare asset {LAMP},5,asset-20260101,,,\n"
        f"an asset {LAMP},5,asset://20260101,,,\n",
    )
    text("4k.csv", f"prompt,resolution\n{LAMP},4k\n")
    text(
        "image-names.csv",
        "prompt,reference_image_urls\n"
        f"The cat of Image 1 meets the dog of Image 3 {LAMP},{url}|{url}\n"
        f"@image1 and <<<Image4>>> and 图片 5 {LAMP},{url}\n"
        f"Image 3 is only a word here {LAMP},\n@image1 is not {LAMP},\n",
    )
    text("twins.csv", f"prompt,duration\n{LAMP},5\n{CAT},5\n{LAMP},5.0\n{LAMP},\n")
    text("models.csv", f"prompt,model\n1 {LAMP}, seedance-2.0 \n2 {LAMP},\n3 {LAMP},other-model\n")


# ── local media ─────────────────────────────────────────────────────────────────────────────────

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


def media() -> None:
    (HERE / "media").mkdir(exist_ok=True)
    raw("media/pixel.png", PIXEL)
    raw("media/pixel named.jpg", PIXEL)
    raw("media/cut.png", PIXEL[:40])
    raw("media/text.png", b"this is no image")
    raw("media/page.png", b"<!doctype html><title>404</title>")
    raw("media/empty.png", b"")
    names = [
        *(
            "media/pixel.png",
            "./media/pixel named.jpg",
            r"media\pixel.png",
            "media/../media/pixel.png",
        ),
        *("media/cut.png", "media/text.png", "media/page.png", "media/empty.png", "media/none.png"),
        *("media", "../../../../../../../../etc/passwd", "/etc/passwd", "file:///etc/passwd"),
        *(r"\\server\share\a.png", "//server/share/a.png", r"C:\frames\a.png", "~/a.png"),
        *("www.example.com/a.png", f"sha256:{'0' * 64}", "a" * 5_000),
    ]
    rows = "".join(f"{i} {LAMP},{name}\n" for i, name in enumerate(names, 1))
    text("local-media.csv", "prompt,first_frame_url\n" + rows)


# ── workbooks ───────────────────────────────────────────────────────────────────────────────────


def workbook(name: str, **sheets: Sequence[Sequence[Any]]) -> xlsxwriter.Workbook:
    book = xlsxwriter.Workbook(str(HERE / name), {"strings_to_formulas": False})
    book.set_properties({"created": CREATED})
    clock, day = (book.add_format({"num_format": f}) for f in ("hh:mm", "yyyy-mm-dd"))
    for title, rows in sheets.items():
        sheet = book.add_worksheet(title)
        for line, row in enumerate(rows):
            for column, value in enumerate(row):
                if value is None:
                    continue
                if isinstance(value, date | time):
                    sheet.write_datetime(
                        line, column, value, clock if isinstance(value, time) else day
                    )
                else:
                    sheet.write(line, column, value)
    return book


def workbooks() -> None:
    head = ["shot", "prompt", "aspect_ratio", "duration", "generate_audio", "note"]
    workbook(
        "plain.xlsx",
        Shots=[head, [1, LAMP, "16:9", 5, True, "n"], [2.5, CAT, "9:16", 4.0, "no", None]],
    ).close()
    workbook(
        "times.xlsx",
        Shots=[
            head,
            [1, LAMP, time(16, 9), 5],
            [2, CAT, 969 / 1440, 4],
            [3, CAT, time(16, 15), 4.5],
        ],
    ).close()
    workbook(
        "dates.xlsx", Shots=[["id", "prompt", "due"], [date(2026, 3, 5), LAMP, date(2026, 4, 1)]]
    ).close()
    workbook(
        "prompt-kinds.xlsx",
        Shots=[
            ["prompt"],
            [2026],
            [12345.678],
            [True],
            [date(2026, 3, 5)],
            ["=cmd|' /C calc'!A0"],
            ["a\nb"],
            ["_x000D_ stays"],
            ["a\rb"],
        ],
    ).close()
    book = workbook("merged.xlsx", Shots=[head, [1, LAMP], [2, CAT], [3, "A dog sleeps"]])
    book.worksheets()[0].merge_range(1, 2, 3, 2, "9:16")
    book.worksheets()[0].merge_range(5, 0, 5, 3, "made by the studio")
    book.close()
    book = workbook("hidden.xlsx", Shots=[head, *([n, f"{n} {LAMP}"] for n in range(5))])
    for line in (2, 3):
        book.worksheets()[0].set_row(line, None, None, {"hidden": True})
    book.close()
    book = workbook("formulas.xlsx", Shots=[head, [1], [2], [3]])
    sheet = book.worksheets()[0]
    sheet.write_formula(1, 1, '="A lamp "&"wakes"', None, "A lamp wakes")
    sheet.write_formula(2, 1, "=B99", None, "#REF!")
    sheet.write_formula(3, 1, "=B2", None, "")
    sheet.write_formula(1, 5, "=A1", None, "")
    sheet.write_formula(1, 3, "=2+3", None, 5)
    book.close()
    workbook(
        "wide.xlsx", Shots=[["prompt", *(f"c{n}" for n in range(2, 16_385))], [LAMP, 1]]
    ).close()
    workbook(
        "title-rows.xlsx",
        Shots=[["Spring teaser"], [], [None, None], [None, *head[1:3]], [None, LAMP, "1:1"]],
    ).close()
    book = workbook("far-cell.xlsx", Shots=[["prompt"], [LAMP]])
    book.worksheets()[0].write(1_048_575, 16_383, "x")
    book.close()
    book = workbook(
        "two-sheets.xlsx", Notes=[["read me"]], Shots=[head, [1, LAMP]], Old=[head, [1, CAT]]
    )
    book.close()
    book = workbook("hidden-sheet.xlsx", Shots=[head, [1, LAMP]], Old=[head, [1, CAT]])
    book.worksheets()[1].activate()
    book.worksheets()[0].hide()
    book.close()
    workbook("empty.xlsx", Shots=[]).close()
    (HERE / "xlsx-named.csv").write_bytes((HERE / "plain.xlsx").read_bytes())
    (HERE / "cut.xlsx").write_bytes((HERE / "plain.xlsx").read_bytes()[:3_000])
    bombs()


def repacked(name: str, source: str, parts: dict[str, bytes]) -> None:
    """A copy of a workbook with some parts replaced."""
    with zipfile.ZipFile(HERE / source) as old:
        kept = {info.filename: old.read(info) for info in old.infolist()}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new:
        for part, content in (kept | parts).items():
            new.writestr(zipfile.ZipInfo(part, CREATED.timetuple()[:6]), content, 8)
    raw(name, packed.getvalue())


WORKSHEET = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'


def bombs() -> None:
    sheet = "xl/worksheets/sheet1.xml"
    row = b'<row><c t="inlineStr"><is><t>' + b"a" * 1_000_000 + b"</t></is></c></row>"
    repacked(
        "bomb.xlsx",
        "plain.xlsx",
        {sheet: WORKSHEET + b"<sheetData>" + row * 120 + b"</sheetData></worksheet>"},
    )
    lol = b'<!DOCTYPE x [<!ENTITY a "aaaa">]><worksheet><sheetData/></worksheet>'
    repacked("doctype.xlsx", "plain.xlsx", {sheet: lol})
    no_value = (
        WORKSHEET + b"<sheetData>"
        b'<row r="1"><c r="A1" t="inlineStr"><is><t>prompt</t></is></c>'
        b'<c r="B1" t="inlineStr"><is><t>note</t></is></c></row>'
        b'<row r="2"><c r="A2"><f>B1&amp;"x"</f></c><c r="B2"><f>1+1</f></c></row>'
        b'<row r="3"><c r="A3" t="inlineStr"><is><t>A lamp wakes</t></is></c>'
        b'<c r="B3"><f>1+1</f></c></row><row r="5"><c r="A5"><f>A2</f></c></row>'
        b"</sheetData></worksheet>"
    )
    repacked("formula-no-value.xlsx", "plain.xlsx", {sheet: no_value})


ODS_HEAD = (
    '<?xml version="1.0"?><office:document-content'
    ' xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"'
    ' xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"'
    ' xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"'
    ' xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"'
    ' office:version="1.3"><office:body><office:spreadsheet><table:table table:name="Tabelle1">'
)
ODS_TAIL = "</table:table></office:spreadsheet></office:body></office:document-content>"
ODS_TYPE = "application/vnd.oasis.opendocument.spreadsheet"


def ods(name: str, rows: Iterable[str]) -> None:
    """An ODS with these rows of XML and nothing that a reader does not need."""
    manifest = (
        '<?xml version="1.0"?><manifest:manifest'
        ' xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
        f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{ODS_TYPE}"/>'
        '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/>'
        "</manifest:manifest>"
    )
    with zipfile.ZipFile(HERE / name, "w") as archive:
        stamp = CREATED.timetuple()[:6]
        archive.writestr(zipfile.ZipInfo("mimetype", stamp), ODS_TYPE)
        content = ODS_HEAD + "".join(rows) + ODS_TAIL
        archive.writestr(zipfile.ZipInfo("content.xml", stamp), content, 8)
        archive.writestr(zipfile.ZipInfo("META-INF/manifest.xml", stamp), manifest, 8)


def cell(value: str | float, kind: str = "string", attributes: str = "") -> str:
    if kind == "string":
        lines = "".join(f"<text:p>{line}</text:p>" for line in str(value).split("\n"))
        return (
            f'<table:table-cell office:value-type="string"{attributes}>{lines}</table:table-cell>'
        )
    name = {"float": "value", "time": "time-value", "date": "date-value"}[kind]
    return (
        f'<table:table-cell office:value-type="{kind}" office:{name}="{value}"{attributes}>'
        f"<text:p>{value}</text:p></table:table-cell>"
    )


def row(*cells: str, attributes: str = "") -> str:
    return f"<table:table-row{attributes}>{''.join(cells)}</table:table-row>"


def ods_files() -> None:
    head = row(cell("prompt"), cell("aspect_ratio"), cell("duration"))
    ods(
        "plain.ods",
        [
            head,
            row(cell(f"{LAMP}\nsecond line"), cell("16:9"), cell(5, "float")),
            row(cell(CAT), cell("PT09H16M00S", "time"), cell(4, "float")),
            '<table:table-row table:number-rows-repeated="1048000"><table:table-cell'
            ' table:number-columns-repeated="16000"/></table:table-row>',
        ],
    )
    ods(
        "hidden.ods",
        [head, row(cell(LAMP)), row(cell(CAT), attributes=' table:visibility="filter"')],
    )
    repeated = ' table:number-columns-repeated="16000"'
    ods(
        "repeated.ods",
        [
            head,
            row(cell("x", attributes=repeated), attributes=' table:number-rows-repeated="1000000"'),
        ],
    )
    error = (
        '<table:table-cell table:formula="of:=[.Z1]/0" office:value-type="string"'
        ' calcext:value-type="error"><text:p>#DIV/0!</text:p></table:table-cell>'
    )
    ods(
        "error.ods",
        [head, row(error), row('<table:table-cell table:formula="of:=[.A1]"/>', cell("1:1"))],
    )


def old_workbook() -> None:
    """Needs xlwt, which nothing else here does: the file is written once and kept."""
    try:
        import xlwt
    except ImportError:
        return
    book = xlwt.Workbook()
    sheet = book.add_sheet("Shots")
    for line, values in enumerate(
        (("prompt", "aspect_ratio", "duration"), (LAMP, "16:9", 5), ("雨夜的书房", "9:16", 4.0))
    ):
        for column, value in enumerate(values):
            sheet.write(line, column, value)
    book.save(str(HERE / "old.xls"))


# ── YAML ────────────────────────────────────────────────────────────────────────────────────────


def yaml_files() -> None:
    text(
        "scalars.yaml",
        "defaults: {client: 007, duration: 5.0}\nrows:\n"
        "  - {shot: 012, prompt: A lamp wakes, aspect_ratio: 16:9, generate_audio: yes}\n"
        "  - {shot: 1e3, prompt: 2026-03-05, aspect_ratio: 9:16, generate_audio: off, seed: ~}\n"
        "  - {shot: null, prompt: 'no', aspect_ratio: 1:1}\n",
    )
    text(
        "block-prompts.yaml",
        "rows:\n- prompt: |\n    line one\n      indented\n\n    line four\n"
        "- prompt: >-\n    folded\n    into one\n"
        "- prompt: \"escapes: \\u96e8 \\U0001F52E \\\" \\\\ \\n end\"\n- prompt: 'it''s {kept}'\n",
    )
    text("list-root.yaml", f"- prompt: {LAMP}\n- prompt: {CAT}\n  duration: 4\n")
    text("colon.yaml", f"rows:\n  - prompt: Camera: slow push-in, {LAMP}\n")
    text("tabs.yaml", f"rows:\n\t- prompt: {LAMP}\n")
    text("twin-keys.yaml", f"rows:\n  - prompt: {LAMP}\n    prompt: {CAT}\nrows: []\n")
    text("tag.yaml", 'rows:\n  - prompt: !!python/object/apply:os.system ["echo pwned"]\n')
    text("tag-str.yaml", f"rows:\n  - prompt: !!str 2026\n  - prompt: {LAMP}\n    shot: !mine 1\n")
    text("alias.yaml", f"rows:\n  - &a {{prompt: {LAMP}}}\n  - *a\n")
    text("merge-key.yaml", f"base: &b {{duration: 5}}\nrows:\n  - prompt: {LAMP}\n    <<: *b\n")
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
    )
    text("bomb.yaml", bomb)
    text("deep.yaml", "rows: " + "[" * 2_000 + "]" * 2_000 + "\n")
    text("deep-open.yaml", "{a: " * 50_000)
    text("two-documents.yaml", f"rows:\n  - prompt: {LAMP}\n---\nrows:\n  - prompt: {CAT}\n")
    text(
        "unknown-keys.yaml",
        f"row:\n  - prompt: {LAMP}\nprompt: {CAT}\napi_key: sk-1\n"
        f"callback_url: https://x.y\nrows:\n  - prompt: {LAMP}\n    rows: 1\n",
    )
    text("scalar.yaml", "just a sentence\n")
    text("no-rows.yaml", "defaults:\n  duration: 5\n")
    text(
        "odd-rows.yaml",
        f"rows:\n  - just text\n  - prompt: {{a: b}}\n  - prompt: [a, [b]]\n"
        f"  - prompt: {LAMP}\n    reference_image_urls: {{a: b}}\n",
    )
    text("not-a-list.yaml", f"rows:\n  prompt: {LAMP}\n")
    text("odd-key.yaml", f"rows:\n  - [a]: {LAMP}\n")
    raw("nul.yaml", f"rows:\n  - prompt: {LAMP}\0\n".encode())
    text("escaped-nul.yaml", 'rows:\n  - prompt: "a\\0b c"\n')
    text(
        "matrix.yaml",
        "defaults: {duration: 4, resolution: 480p}\nmatrix:\n"
        "  prompt: [A lamp wakes, A cat walks]\n  aspect_ratio: [16:9, 9:16]\n"
        "  exclude:\n    - {prompt: A cat walks, aspect_ratio: 9:16}\n    - {aspect_ratio: 4:3}\n",
    )
    text(
        "matrix-rows.yaml",
        "matrix:\n  ratio: [16:9, 9:16]\nrows:\n  - {id: hero, prompt: A lamp wakes}\n"
        "  - {prompt: A cat walks}\n",
    )
    text(
        "matrix-twice.yaml",
        "matrix:\n  aspect_ratio: [16:9, 9:16]\n  exclude: [{shot: 1}]\nrows:\n"
        "  - {prompt: A lamp wakes, ratio: 1:1}\n",
    )
    axis = ", ".join(str(n) for n in range(100))
    text("matrix-bomb.yaml", "matrix:\n" + "".join(f"  c{n}: [{axis}]\n" for n in range(12)))
    text("matrix-odd.yaml", "matrix: [a, b]\nrows:\n  - {prompt: A lamp wakes}\n")
    text(
        "variants.yaml",
        "variants: 3\nrows:\n  - {id: hero, prompt: A lamp wakes, seed: 7}\n"
        "  - {prompt: A cat walks}\n",
    )
    text("variants-odd.yaml", "variants: many\nrows:\n  - {prompt: A lamp wakes}\n")
    text(
        "variants-bomb.yaml",
        f"variants: 999\nmatrix:\n  prompt: [abc]\n  a: [{axis}]\n  b: [{axis}]\n",
    )
    text(
        "template.yaml",
        'prompt_template: "A {product} on {surface}, {mood}; {not a column!}"\n'
        "defaults: {mood: calm}\nrows:\n  - {product: lamp, surface: oak}\n"
        "  - {product: lamp, surface: oak, prompt: 'My own {product} words'}\n",
    )
    text(
        "template-wraps.yaml",
        "prompt_template: \"{prompt}, 35 mm, warm\"\nrows:\n  - {prompt: 'A {lamp} wakes'}\n",
    )
    text(
        "template-odd.yaml",
        'prompt_template: "A {produkt} on {surface}"\nrows:\n  - {product: lamp, surface: oak}\n',
    )
    text(
        "template-blank.yaml",
        'prompt_template: "A {product} on {surface}"\nrows:\n'
        "  - {product: lamp, surface: oak}\n  - {product: lamp}\n",
    )
    includes()


def includes() -> None:
    text(
        "more/shots.csv", f"shot,prompt,ratio,first_frame_url\n1,{LAMP},9:16,\n2,{CAT},,pixel.png\n"
    )
    raw("more/pixel.png", PIXEL)
    text(
        "include.yaml",
        f"include: more/shots.csv\ndefaults: {{aspect_ratio: 1:1, duration: 4}}\n"
        f"rows:\n  - prompt: {LAMP}, at last\n    shot: 3\n",
    )
    text("include-list.yaml", "include: [more/shots.csv, plain.xlsx]\n")
    text("include-flawed.yaml", "include: formula-no-value.xlsx\nvariants: 2\n")
    text("include-bad-rows.yaml", "include: three-faults.csv\n")
    text("include-self.yaml", "include: include-self.yaml\n")
    text("include-ring.yaml", "include: more/ring.yaml\n")
    text("more/ring.yaml", "include: ../include-ring.yaml\n")
    text(
        "include-outside.yaml",
        "include: [../../../README.md, /etc/passwd, more/none.csv, more,"
        + ' "a\\0b.csv", '
        + "x" * 400
        + "]\n",
    )
    for depth in range(1, 6):
        text(f"more/deep{depth}.yaml", f"include: deep{depth + 1}.yaml\n")
    text("include-deep.yaml", "include: more/deep1.yaml\n")


# ── JSON and Parquet ────────────────────────────────────────────────────────────────────────────


def json_files() -> None:
    text(
        "plain.jsonl",
        f'{{"shot": 1, "prompt": "{LAMP}", "duration": 5, "generate_audio": false}}\n\n'
        f'{{"prompt": "{CAT}", "note": null, "tags": ["a", "b"], "duration": "4",'
        ' "due": 1.50}\r\n',
    )
    text(
        "array.json", f'[\n  {{"prompt": "{LAMP}"}},\n\n  {{"prompt": "{CAT}", "duration": 4}}\n]\n'
    )
    text(
        "types.jsonl",
        f'{{"prompt": "{LAMP}", "duration": true, "generate_audio": 1}}\n'
        f'{{"prompt": "{CAT}", "duration": 4.0, "generate_audio": "no"}}\n'
        '{"prompt": 2026, "duration": 4.5}\n{"prompt": ["a", "b"]}\n'
        f'{{"prompt": "{CAT}", "reference_image_urls": [1]}}\n',
    )
    text("twin-keys.jsonl", f'{{"prompt": "{LAMP}", "prompt": "{CAT}"}}\n')
    text(
        "broken.jsonl",
        f'{{"prompt": "{LAMP}"}}\n{{"prompt": "{CAT}"\nnot json\n[1]\n"text"\n'
        '{"prompt": NaN}\n{"prompt": {"a": 1}}\n',
    )
    text("deep.jsonl", '{"a":' * 5_000 + "1" + "}" * 5_000 + "\n" + "[" * 5_000 + "\n")
    text("long-number.jsonl", '{"prompt": ' + "1" * 5_000 + "}\n")
    text(
        "surrogate.jsonl",
        f'{{"prompt": "half \\ud83d of it"}}\n{{"prompt": "{CAT}", "n": "\\udc00"}}\n'
        '{"prompt": "whole \\ud83d\\ude00 face"}\n',
    )
    text("escaped-nul.jsonl", '{"prompt": "a\\u0000b c"}\n')
    text("broken.json", f'[{{"prompt": "{LAMP}"}},\n{{"prompt": \n')


def parquet_files() -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    table = arrow.table(
        {
            "prompt": [LAMP, CAT],
            "duration": arrow.array([5, None], arrow.int64()),
            "generate_audio": [True, False],
            "reference_image_urls": [["https://example.com/a.png"], None],
            "due": [date(2026, 3, 5), None],
            "score": [1.0, float("nan")],
        }
    )
    parquet.write_table(table, HERE / "plain.parquet")
    raw("cut.parquet", (HERE / "plain.parquet").read_bytes()[:200])


# ── what is no manifest ─────────────────────────────────────────────────────────────────────────


def others() -> None:
    raw("page.csv", b"<!doctype html>\n<html><body><h1>Sign in</h1></body></html>\n")
    raw("document.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n")
    raw("image.csv", PIXEL)
    raw("archive.xlsx", zip_of({"readme.txt": b"no workbook"}))
    raw("ole.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 1_000)
    text("text-named.xls", f"shot\tprompt\n1\t{LAMP}\n")
    text("rows-without-ending", f"rows:\n  - prompt: {LAMP}\n")
    text("lines-without-ending", f'{{"prompt": "{LAMP}"}}\n')
    text("table-without-ending", f"shot;prompt\n1;{LAMP}\n")


def zip_of(parts: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name, CREATED.timetuple()[:6]), content)
    return packed.getvalue()


if __name__ == "__main__":
    for make in (
        encodings,
        dialects,
        damage,
        prompts,
        headings,
        contract,
        media,
        workbooks,
        ods_files,
        old_workbook,
        yaml_files,
        json_files,
        parquet_files,
        others,
    ):
        make()
