"""What an .xlsx may be: a small, whole, plain zip of XML parts, without macros, links to other files or entities.

Looked at before any spreadsheet library sees the bytes; nothing is unpacked to disk (RELIABILITY 65, 102).
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath

MAX_PARTS = 2_000
MAX_TOTAL_BYTES = 1024 * 1024 * 1024
MAX_RATIO = 100
RATIO_FROM_BYTES = 4 * 1024 * 1024
"""Small repetitive parts compress beyond any ratio without harm."""
_CHUNK = 1024 * 1024
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""Compound file header: an old .xls, or an .xlsx that is protected by a password."""
_FORBIDDEN = (
    ("vbaproject", "macros"),
    ("externallinks/", "links to other workbooks"),
    ("connections.xml", "data connections"),
    ("activex/", "active controls"),
    ("embeddings/", "embedded files"),
    ("oleobject", "embedded files"),
    ("macrosheets/", "macros"),
)
_NESTED = (".zip", ".xlsx", ".xlsm", ".docx", ".jar", ".7z", ".gz")


def package_trouble(data: bytes, *, max_total_bytes: int = MAX_TOTAL_BYTES) -> str | None:
    """What makes a workbook unreadable or unsafe, as a sentence about it; None: nothing does.

    `max_total_bytes`: how much it may unpack to."""
    if data.startswith(_OLE):
        return "the workbook is protected by a password or an old .xls: save it as plain .xlsx"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            return next(_troubles(package, len(data), max_total_bytes), None)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError):
        return "the workbook is damaged or cut short"


def _troubles(package: zipfile.ZipFile, size: int, max_total_bytes: int) -> Iterator[str]:
    parts = package.infolist()
    if len(parts) > MAX_PARTS:
        yield f"the workbook has more than {MAX_PARTS} parts"
    total = sum(part.file_size for part in parts)
    if total > max_total_bytes or (total > RATIO_FROM_BYTES and total > MAX_RATIO * size):
        yield "the workbook unpacks to far more than its size (zip bomb)"
    if len({part.filename for part in parts}) != len(parts):
        yield "the workbook holds one part twice"
    for part in parts:
        yield from _of_name(part)
    for part in parts:
        yield from _of_content(package, part)


def _of_name(part: zipfile.ZipInfo) -> Iterator[str]:
    name = part.filename.lower().replace("\\", "/")
    if part.flag_bits & 0x1:
        yield "the workbook is encrypted"
    if name.startswith("/") or ".." in PurePosixPath(name).parts or (part.external_attr >> 28) == 0xA:
        yield "the workbook holds a part with a path out of it"
    if name.endswith(_NESTED):
        yield "the workbook holds another archive"
    for sign, what in _FORBIDDEN:
        if sign in name:
            yield f"the workbook has {what}, which are never read: save a copy without them"


def _of_content(package: zipfile.ZipFile, part: zipfile.ZipInfo) -> Iterator[str]:
    """Unpack the part once within what its entry declares, which checks its CRC, and look at the head of XML."""
    with package.open(part) as stream:
        head = stream.read(_CHUNK)
        seen = len(head)
        while chunk := stream.read(_CHUNK):
            seen += len(chunk)
            if seen > part.file_size:
                yield "the workbook unpacks to more than it declares (zip bomb)"
                return
    is_xml = part.filename.lower().endswith((".xml", ".rels"))
    is_odd = head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"<!DOCTYPE" in head or b"<!ENTITY" in head
    if is_xml and is_odd:
        yield "the workbook holds XML with its own entities or an odd encoding"
    if part.filename.lower() == "[content_types].xml" and b"macroEnabled" in head:
        yield "the workbook has macros, which are never read: save it as .xlsx"
