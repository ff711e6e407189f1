"""What an .xlsx may be: a small, whole, plain zip of XML parts, without macros, links to other files or entities."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import PurePosixPath

from connectors.protocol import SystemFault

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


def check_package(data: bytes, where: str) -> None:
    """Raises SystemFault naming what makes the workbook unreadable or unsafe; nothing is unpacked to disk."""
    if data.startswith(_OLE):
        raise SystemFault("the workbook is protected by a password or an old .xls: save it as plain .xlsx", where=where)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            _check_directory(package, len(data), where)
            for part in package.infolist():
                _check_part(package, part, where)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError):
        raise SystemFault("the workbook is damaged or cut short", where=where) from None


def _check_directory(package: zipfile.ZipFile, size: int, where: str) -> None:
    parts = package.infolist()
    if len(parts) > MAX_PARTS:
        raise SystemFault(f"the workbook has more than {MAX_PARTS} parts", where=where)
    total = sum(part.file_size for part in parts)
    if total > MAX_TOTAL_BYTES or (total > RATIO_FROM_BYTES and total > MAX_RATIO * size):
        raise SystemFault("the workbook unpacks to far more than its size (zip bomb)", where=where)
    if len({part.filename for part in parts}) != len(parts):
        raise SystemFault("the workbook holds one part twice", where=where)
    for part in parts:
        name = part.filename.lower().replace("\\", "/")
        if part.flag_bits & 0x1:
            raise SystemFault("the workbook is encrypted", where=where)
        if name.startswith("/") or ".." in PurePosixPath(name).parts or (part.external_attr >> 28) == 0xA:
            raise SystemFault("the workbook holds a part with a path out of it", where=where)
        if name.endswith(_NESTED):
            raise SystemFault("the workbook holds another archive", where=where)
        for sign, what in _FORBIDDEN:
            if sign in name:
                raise SystemFault(
                    f"the workbook has {what}, which are never read: save a copy without them", where=where
                )


def _check_part(package: zipfile.ZipFile, part: zipfile.ZipInfo, where: str) -> None:
    """Unpack the part once within what its entry declares, which checks its CRC, and look at the head of XML."""
    seen = 0
    with package.open(part) as stream:
        head = stream.read(_CHUNK)
        seen = len(head)
        while chunk := stream.read(_CHUNK):
            seen += len(chunk)
            if seen > part.file_size:
                raise SystemFault("the workbook unpacks to more than it declares (zip bomb)", where=where)
    is_xml = part.filename.lower().endswith((".xml", ".rels"))
    is_odd = head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"<!DOCTYPE" in head or b"<!ENTITY" in head
    if is_xml and is_odd:
        raise SystemFault("the workbook holds XML with its own entities or an odd encoding", where=where)
    if part.filename.lower() == "[content_types].xml" and b"macroEnabled" in head:
        raise SystemFault("the workbook has macros, which are never read: save it as .xlsx", where=where)
