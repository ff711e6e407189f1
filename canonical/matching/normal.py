"""Normal forms for comparing: names, identifiers, mailboxes. Whole columns; what is stored is never changed by them."""

from __future__ import annotations

import polars as pl

from canonical.model import MatchRules

# Spelled-out letters that Unicode decomposition leaves alone (they have no combining mark to strip).
_LETTERS = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ħ": "h"}

# Legal forms that are never a name's own word: dropped wherever they stand, but as the first word.
_ANYWHERE = (
    r"\s(?:ltd|limited|plc|llp|llc|lllp|inc|incorporated|gmbh|mbh|ohg|gbr|aktiengesellschaft|kommanditgesellschaft"
    r"|gesellschaft|sarl|sarlu|eurl|srl|srls|bv|bvba|vof|besloten|naamloze|vennootschap|oyj|aps|asa|sro|kft|zrt|pty|pte"
    r"|bhd|sdn|ltda|eirl|slu|lda|doo|dooel|ood|eood|pjsc|ooo)\b"
)
# Forms that are also ordinary words or initials: dropped only from the end.
_AT_END = (
    r"(?:\s+(?:co|company|corp|corporation|ag|kg|kgaa|ug|se|sa|sas|spa|nv|oy|ab|as|ao|sl|sc|cv|pt|sp|z|o|eg|ev|and"
    r"|cie))+$"
)
_AT_START = r"^(?:(?:mr|mrs|ms|miss|dr|prof|sir|madam|herr|frau|mme|mlle|the)\s+)+"

# Local parts that a department answers, not a person. RFC 2142 and what shops and ledgers commonly show.
_ROLE_MAILBOX = (
    r"^(?:abuse|accounting|accounts|admin|administration|ap|ar|billing|bookings|buchhaltung|careers|contact|contacto"
    r"|customerservice|einkauf|enquiries|facturacion|finance|hello|help|helpdesk|hostmaster|hr|info|information"
    r"|inquiries|invoices?|it|jobs|kontakt|mail|mailbox|marketing|no-?reply|office|orders|post|postmaster|press|privacy"
    r"|procurement|purchasing|reception|rechnung|sales|security|service|shop|store|support|team|verkauf|vertrieb"
    r"|webmaster|welcome)(?:[+._-].*|\d*)@"
)

# Letters of other scripts, and digits, that pass for Latin ones in a domain name (after Unicode TR 39).
_LOOKALIKES = {
    "а": "a", "е": "e", "о": "o", "р": "p", "с": "c", "у": "y", "х": "x", "і": "i", "ј": "j", "ѕ": "s", "ԁ": "d",
    "һ": "h", "ӏ": "l", "к": "k", "м": "m", "т": "t", "в": "b", "н": "h", "г": "r", "ո": "n", "ս": "u",
    "α": "a", "ο": "o", "ρ": "p", "ν": "v", "τ": "t", "υ": "u", "ι": "i", "κ": "k", "ε": "e", "ɡ": "g", "ɑ": "a",
    "0": "o", "1": "l", "rn": "m", "vv": "w", "cl": "d",
}  # fmt: skip

_FORMATTED = ("tax", "vat", "registration", "company_number", "iban", "siret", "siren", "eori")
_EMPTY_WORDS = ("NA", "N/A", "NONE", "NULL", "UNKNOWN", "TBC", "TBA", "PENDING", "NOTAVAILABLE", "-", "?")


def name_columns(rules: MatchRules) -> tuple[str, ...]:
    """The columns that together are a record's name: `name`, else all that end in name, else title, else none."""
    if "name" in rules.columns:
        return ("name",)
    parts = tuple(c for c in rules.columns if c.endswith("name"))
    return parts or tuple(c for c in rules.columns if c in ("title", "description"))[:1]


def other_columns(rules: MatchRules) -> list[str]:
    """The columns that matching looks at besides the name."""
    return [c for c in rules.columns if c not in name_columns(rules)]


def name(text: pl.Expr, *, has_form: bool = True) -> pl.Expr:
    """A name as its sorted words without case, accents, punctuation, titles and legal forms; null when nothing is left.

    `Café Müller GmbH & Co. KG` and `MULLER, CAFE` both become `cafe muller`. has_form: a company's name, of which a
    legal form may be part (to a person `Co` or `Sa` is a surname).
    """
    plain = (
        text.str.normalize("NFKD")
        .str.to_lowercase()
        .str.replace_all(r"[\p{M}\p{Cf}'’`´]", "")
        .str.normalize("NFC")  # puts Hangul syllables together again: one letter is one letter
        .str.replace_many(list(_LETTERS), list(_LETTERS.values()))
        .str.replace_all(r"[&+]", " and ")
    )
    for letters in (4, 3, 2):
        dotted = r"\.\s?".join([r"(\p{L})"] * letters)
        plain = plain.str.replace_all(rf"\b{dotted}\b\.?", "".join(f"${{{n}}}" for n in range(1, letters + 1)))
    spaced = plain.str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars()
    short = spaced.str.replace(_AT_START, "")
    if has_form:
        short = short.str.replace_all(_ANYWHERE, " ").str.strip_chars().str.replace(_AT_END, "")
    kept = pl.when(short.str.strip_chars() == "").then(spaced).otherwise(short)
    words = kept.str.replace_all(r"\band\b", " ").str.strip_chars().str.replace_all(r"\s+", " ")
    words = pl.when(words == "").then(spaced).otherwise(words)
    joined = words.str.split(" ").list.sort().list.join(" ")
    return pl.when(joined != "").then(joined)


def full_name(rules: MatchRules) -> pl.Expr:
    """The record's name in normal form, made of `name_columns`; null without any."""
    columns = name_columns(rules)
    if not columns:
        return pl.lit(None, dtype=pl.String)
    whole = pl.concat_str([pl.col(c) for c in columns], separator=" ", ignore_nulls=True)
    return name(whole, has_form=len(columns) == 1)


def identifier(column: str) -> pl.Expr:
    """An identifier's value as it is looked up: case and spaces do not count; in tax and registration numbers
    punctuation neither. Values that say "none" are null. E-mail addresses keep every other character: a look-alike
    letter is another letter."""
    value = pl.col(column).str.replace_all(r"[\s\p{Cf}]", "")
    lower = value.str.to_lowercase()
    upper = value.str.normalize("NFKC").str.to_uppercase()
    if any(word in column for word in _FORMATTED):
        upper = upper.str.replace_all(r"[^\p{L}\p{N}]", "")
    is_empty = upper.is_in(_EMPTY_WORDS) | upper.str.contains(r"^[0.\-/]*$")
    return pl.when(~is_empty).then(pl.when(value.str.contains("@", literal=True)).then(lower).otherwise(upper))


def is_role(mailbox: pl.Expr) -> pl.Expr:
    """Is this the address of a department rather than of one customer?"""
    return mailbox.str.contains(_ROLE_MAILBOX).fill_null(False)


def mailbox_shape(mailbox: pl.Expr) -> pl.Expr:
    """What an e-mail address looks like: its domain with every look-alike letter as the Latin one it passes for.

    Two addresses of one shape that are not equal are a homoglyph pair (`acme.com`, `аcme.com`, `acrne.com`).
    """
    local = mailbox.str.extract(r"^(.*)@", 1)
    domain = mailbox.str.extract(r"@([^@]*)$", 1).str.normalize("NFKC").str.to_lowercase()
    shape = domain.str.replace_many(list(_LOOKALIKES), list(_LOOKALIKES.values()))
    return pl.concat_str(local, pl.lit("@"), shape)


def decode_punycode(mailboxes: pl.Series) -> pl.Series:
    """`xn--` domains as the letters they stand for, so that their shape can be seen; others as they are."""
    coded = mailboxes.filter(mailboxes.str.contains("@(?:.*\\.)?xn--").fill_null(False)).unique()
    if coded.is_empty():
        return mailboxes
    return mailboxes.replace({text: _from_punycode(text) for text in coded})


def _from_punycode(mailbox: str) -> str:
    local, _, domain = mailbox.rpartition("@")
    try:
        return f"{local}@{domain.encode('ascii').decode('idna')}"
    except UnicodeError:
        return mailbox
