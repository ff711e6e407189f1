"""Secrets do not stand in declarations: values that look like one are refused and `{env: NAME}` is asked for."""

from __future__ import annotations

import math
import re
from collections import Counter

from canonical.declarations.shapes import Notes
from canonical.declarations.yaml import Node

_SECRET_KEY = re.compile(
    r"(?:^|[_-])(?:tokens?|passwords?|passwd|pwd|passphrase|secrets?|api[_-]?keys?|apikey|access[_-]?key|private[_-]?key"
    r"|credentials?|authorization|bearer|signing[_-]?key)$",
    re.IGNORECASE,
)
_KNOWN_FORMS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b(?:sk|rk|pk)_(?:live|test)_[0-9A-Za-z]{8,}"  # Stripe
    r"|\bxox[abposr]-[0-9A-Za-z-]{8,}|hooks\.slack\.com/services/"  # Slack
    r"|\bgh[pousr]_[0-9A-Za-z]{20,}|\bglpat-[0-9A-Za-z_-]{16,}"  # GitHub, GitLab
    r"|\bpat-[a-z]{2}[0-9]-[0-9a-f-]{20,}"  # HubSpot
    r"|\bAKIA[0-9A-Z]{12,}|\bAIza[0-9A-Za-z_-]{30,}"  # AWS, Google
    r"|\beyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}\."  # JSON Web Token
    r"|[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@",  # a password in a URL
    re.IGNORECASE,
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.IGNORECASE)
_HEX = re.compile(r"[0-9a-f]{32,}\Z", re.IGNORECASE)
_RANDOM = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])[A-Za-z0-9+/_=-]{20,}\Z")
_ENTROPY_BITS = 3.7
"""Bits a character: random base-62 text of 20 characters and more lies above it, names in CamelCase mostly below."""

ASK_FOR_REFERENCE = "a reference such as {env: NAME}, {file: PATH} or {block: NAME}"


def looks_secret(text: str) -> bool:
    """Whether a value has the form of a secret, whatever its key says."""
    if _KNOWN_FORMS.search(text):
        return True
    if _UUID.match(text):
        return False
    return any(
        (_HEX.match(word) or _RANDOM.match(word)) and _entropy(word) >= (3.0 if _HEX.match(word) else _ENTROPY_BITS)
        for word in text.split()
    )


def is_secret_key(key: str) -> bool:
    """Whether a key names a secret (`token`, `client_secret`), rather than a place of one (`token_url`)."""
    return bool(_SECRET_KEY.search(key))


def note_secrets(notes: Notes, root: Node) -> None:
    """Report every literal secret below a node. The value itself is never repeated."""
    for where, key, node in root.walk():
        if node.kind not in ("text", "integer", "number") or not node.text:
            continue
        if is_secret_key(key):
            notes.report(node, where, ASK_FOR_REFERENCE, "a secret written out")
        elif looks_secret(node.text):
            notes.report(node, where, ASK_FOR_REFERENCE, "what looks like a secret")


def _entropy(text: str) -> float:
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())
