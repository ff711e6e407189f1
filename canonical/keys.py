"""Identities and fingerprints: canonical ids, idempotency keys, write hashes, row and payload hashes.

Everything here is stable over releases, machines and library versions: only BLAKE2b and XXH3 of bytes that this
module lays out itself (the hashes of polars and pandas change between versions and are never stored).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl
import xxhash

_ID_BYTES = 16
"""128 bits: 26 characters of base32; two equal ids among a billion have odds below 10^-20."""
_KEY_BYTES = 24
"""192 bits, 48 hex characters: well inside the 100 characters that connectors may rely on."""
_UNIT = "\x1f"
"""Between parts. Not enough alone (a value may hold it), so every value also carries its length."""


def _digest(parts: Iterable[str], size: int) -> bytes:
    """BLAKE2b of parts that cannot run into each other: each is preceded by its length in bytes."""
    state = hashlib.blake2b(digest_size=size)
    for part in parts:
        data = part.encode()
        state.update(b"%d:" % len(data))
        state.update(data)
    return state.digest()


def canonical_id(entity: str, system: str, stream: str, source_id: str, salt: int = 0) -> str:
    """The id of the golden record that this source record founds: `cus_` and 26 characters of base32.

    Deterministic, so a run that was killed and repeated gives the same id. `salt` counts up when a record that was
    split off must found a second golden record.
    """
    return _id(entity, _digest((entity, system, stream, source_id, str(salt)), _ID_BYTES))


def canonical_ids(entity: str, frame: pl.DataFrame, salt: int = 0) -> pl.Series:
    """`canonical_id` for each row of frame(system, stream, source_id); a String series named `canonical_id`."""
    parts = [pl.lit(entity), pl.col("system"), pl.col("stream"), pl.col("source_id"), pl.lit(str(salt))]
    digests = _digests(frame, _laid_out(parts), _ID_BYTES)
    if not digests:
        return pl.Series("canonical_id", [], dtype=pl.String)
    bits = np.unpackbits(np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, _ID_BYTES), axis=1)
    # 26 groups of five bits, the last filled up with zeros: what base64.b32encode gives, for all rows at once
    groups = np.pad(bits, ((0, 0), (0, 130 - bits.shape[1]))).reshape(-1, 26, 5)
    letters = _BASE32[np.packbits(groups, axis=2)[:, :, 0] >> 3]
    texts = letters.view("S26").ravel().astype("U26")
    return (f"{entity[:3].lower()}_" + pl.Series("canonical_id", texts, dtype=pl.String)).alias("canonical_id")


_BASE32 = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", dtype=np.uint8)


def _laid_out(parts: Iterable[pl.Expr]) -> pl.Expr:
    """What `_digest` feeds for these parts, as one text a row."""
    return pl.concat_str(*(piece for part in parts for piece in (_length(part), pl.lit(":"), part)))


def _digests(frame: pl.DataFrame, laid_out: pl.Expr, size: int) -> list[bytes]:
    texts = frame.select(laid_out.cast(pl.Binary).alias("text"))["text"].to_list()
    return [hashlib.blake2b(text, digest_size=size).digest() for text in texts]


def _id(entity: str, digest: bytes) -> str:
    return f"{entity[:3].lower()}_{base64.b32encode(digest)[:26].decode().lower()}"


def _length(text: pl.Expr) -> pl.Expr:
    return text.str.len_bytes().cast(pl.String)


def create_key(system: str, stream: str, canonical_id: str) -> str:
    """The idempotency key of a create: without version, so that no second create is ever keyed anew (DESIGN 9.11)."""
    return _digest(("create", system, stream, canonical_id), _KEY_BYTES).hex()


def update_key(system: str, stream: str, canonical_id: str, version: int, payload: str, op: str = "update") -> str:
    """The idempotency key of any later write: the same for every attempt of the same version and payload."""
    return _digest((op, system, stream, canonical_id, str(version), payload), _KEY_BYTES).hex()


def write_hash(entity: str, system: str, stream: str, canonical_id: str, op: str, payload: str) -> str:
    """What an approval or a stored plan names: 64 hex characters of one write's whole meaning (DESIGN 9.13, 9.14).

    payload: the JSON text exactly as it will be sent ("" for an archive or delete).
    """
    return _digest((entity, system, stream, canonical_id, op, payload), 32).hex()


def write_keys(system: str, stream: str, frame: pl.DataFrame) -> pl.Series:
    """`create_key` or `update_key` of each row of frame(id, op, version, payload): a String series named `key`."""
    place = [pl.lit(system), pl.lit(stream), pl.col("id")]
    version = pl.col("version").cast(pl.String)
    laid_out = (
        pl.when(pl.col("op") == "create")
        .then(_laid_out([pl.lit("create"), *place]))
        .otherwise(_laid_out([pl.col("op"), *place, version, pl.col("payload")]))
    )
    return pl.Series("key", [d.hex() for d in _digests(frame, laid_out, _KEY_BYTES)], dtype=pl.String)


def write_hashes(entity: str, system: str, stream: str, frame: pl.DataFrame) -> pl.Series:
    """`write_hash` of each row of frame(id, op, payload): a String series named `write_hash`."""
    parts = [pl.lit(entity), pl.lit(system), pl.lit(stream), pl.col("id"), pl.col("op"), pl.col("payload")]
    hexed = [d.hex() for d in _digests(frame, _laid_out(parts), 32)]
    return pl.Series("write_hash", hexed, dtype=pl.String)


def set_hash(write_hashes: Iterable[str]) -> str:
    """One hash for a set of writes, whatever their order: what a hold as a whole is approved by."""
    return _digest(sorted(write_hashes), 32).hex()


def value_hashes(frame: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """One signed 64-bit XXH3 per row over the named columns; an Int64 series named `value_hash`.

    Columns count by name, in sorted order, and nulls are left out: neither a new order of columns nor a new column
    that is still empty changes a hash, while null and "" stay different.
    """
    parts = [
        pl.concat_str(pl.lit(f"{name}{_UNIT}"), _length(pl.col(name)), pl.lit(":"), pl.col(name)).fill_null("")
        for name in sorted(columns)
    ]
    if not parts:
        return pl.Series("value_hash", [_signed(b"")] * frame.height, dtype=pl.Int64)
    texts = frame.select(pl.concat_str(parts).cast(pl.Binary).alias("text"))["text"].to_list()
    digest = xxhash.xxh3_64_intdigest
    unsigned = pl.Series("value_hash", [digest(text) for text in texts], dtype=pl.UInt64)
    return unsigned.reinterpret(signed=True)


def raw_hashes(payloads: Sequence[bytes]) -> list[int]:
    """The signed 64-bit XXH3 of each payload's bytes, in order: fits a PostgreSQL bigint."""
    digest = xxhash.xxh3_64_intdigest
    return pl.Series([digest(p) for p in payloads], dtype=pl.UInt64).reinterpret(signed=True).to_list()


def _signed(data: bytes) -> int:
    value = xxhash.xxh3_64_intdigest(data)
    return value - 2**64 if value >= 2**63 else value
