"""Writes one table in every format that the reader takes, holding back nothing that it can hold."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import yaml

from seedance_batch.reader.cells import placeholder
from seedance_batch.reader.headings import field_of

Rows = Sequence[dict[str, str]]
"""Headings to texts; every row has the same headings."""


def write_csv(path: Path, rows: Rows, delimiter: str = ",", encoding: str = "utf-8") -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(text.getvalue().encode(encoding))


def write_xlsx(path: Path, rows: Rows) -> None:
    import xlsxwriter

    with xlsxwriter.Workbook(str(path), {"in_memory": True}) as book:
        sheet = book.add_worksheet("Shots")
        for line, cells in enumerate([list(rows[0]), *(list(row.values()) for row in rows)]):
            for column, text in enumerate(cells):
                if text:
                    sheet.write_string(line, column, text)


def write_ods(path: Path, rows: Rows) -> None:
    names = "office table text"
    spaces = " ".join(
        f'xmlns:{n}="urn:oasis:names:tc:opendocument:xmlns:{n}:1.0"' for n in names.split()
    )
    lines = "".join(
        f"<table:table-row>{''.join(map(_ods_cell, cells))}</table:table-row>"
        for cells in [list(rows[0]), *(list(row.values()) for row in rows)]
    )
    content = (
        f'<?xml version="1.0"?><office:document-content {spaces} office:version="1.3"><office:body>'
        f'<office:spreadsheet><table:table table:name="Shots">{lines}</table:table>'
        "</office:spreadsheet></office:body></office:document-content>"
    )
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    manifest = (
        '<?xml version="1.0"?><manifest:manifest'
        ' xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"><manifest:file-entry'
        f' manifest:full-path="/" manifest:media-type="{kind}"/></manifest:manifest>'
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", kind)
        archive.writestr("content.xml", content)
        archive.writestr("META-INF/manifest.xml", manifest)


def _ods_cell(text: str) -> str:
    if not text:
        return "<table:table-cell/>"
    paragraphs = "".join(f"<text:p>{_ods_text(line)}</text:p>" for line in text.split("\n"))
    return f'<table:table-cell office:value-type="string">{paragraphs}</table:table-cell>'


def _ods_text(line: str) -> str:
    spaced = re.sub(" +", lambda run: f'<text:s text:c="{len(run[0])}"/>', escape(line))
    return spaced.replace("\t", "<text:tab/>")


def write_jsonl(path: Path, rows: Rows) -> None:
    lines = (json.dumps({k: v for k, v in row.items() if v}, ensure_ascii=False) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")


def write_parquet(path: Path, rows: Rows) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    columns = {key: [row[key] or None for row in rows] for key in rows[0]}
    parquet.write_table(
        arrow.table({k: arrow.array(v, arrow.string()) for k, v in columns.items()}), path
    )


def write_yaml(path: Path, rows: Rows) -> None:
    document = {"rows": [{k: v for k, v in row.items() if v} for row in rows]}
    text = yaml.safe_dump(document, allow_unicode=True, sort_keys=False, default_style='"')
    path.write_text(text, encoding="utf-8", newline="")


WRITERS: dict[str, Callable[[Path, Rows], None]] = {
    "a.csv": write_csv,
    "b.csv": lambda path, rows: write_csv(path, rows, ";", "utf-8-sig"),
    "c.tsv": lambda path, rows: write_csv(path, rows, "\t", "utf-16"),
    "d.xlsx": write_xlsx,
    "e.ods": write_ods,
    "f.jsonl": write_jsonl,
    "g.parquet": write_parquet,
    "h.yaml": write_yaml,
}


def is_prompt(text: str) -> bool:
    """Whether nobody would take it for a heading, a total or what a broken sheet has left."""
    is_word = " " not in text.strip() and (placeholder(text) or field_of(text))
    return not (text.isspace() or text.isupper() or is_word or "total" in text.casefold())
