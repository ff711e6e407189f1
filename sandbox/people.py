"""Plausible names, addresses, telephone and VAT numbers from a seeded random source.

Telephone numbers come from ranges that regulators keep for fiction where there are any (Ofcom, Bundesnetzagentur,
ARCEP) and are valid for libphonenumber; VAT numbers carry their countries' check digits; mail domains end in .example.
"""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

_WORDS: dict[str, dict[str, list[str]]] = json.loads(
    resources.files("sandbox").joinpath("words.json").read_text("utf-8")
)
FIRST_NAMES = _WORDS["first_names"]
SURNAMES = _WORDS["surnames"]
TRADES = _WORDS["trades"]
STREETS = _WORDS["streets"]
SUFFIX = {"GB": "Ltd", "DE": "GmbH", "FR": "SARL", "NL": "B.V."}
# city, county or state, postcode area, telephone prefix (national significant number, without the last digits)
PLACES: dict[str, list[tuple[str, str, str, str]]] = {
    "GB": [
        ("Leeds", "West Yorkshire", "LS", "1134960"),
        ("Sheffield", "South Yorkshire", "S", "1144960"),
        ("Nottingham", "Nottinghamshire", "NG", "1159460"),
        ("Leicester", "Leicestershire", "LE", "1164960"),
        ("Bristol", "", "BS", "1174960"),
        ("Reading", "Berkshire", "RG", "1184960"),
        ("Birmingham", "West Midlands", "B", "1214960"),
        ("Edinburgh", "Midlothian", "EH", "1314960"),
        ("Glasgow", "Lanarkshire", "G", "1414960"),
        ("Liverpool", "Merseyside", "L", "1514960"),
        ("Manchester", "Greater Manchester", "M", "1614960"),
        ("Newcastle upon Tyne", "Tyne and Wear", "NE", "1914980"),
        ("London", "Greater London", "SE", "2079460"),
        ("Belfast", "County Antrim", "BT", "2896496"),
        ("Cardiff", "South Glamorgan", "CF", "2920180"),
    ],
    "DE": [
        ("Berlin", "Berlin", "10", "3023125"),
        ("Hamburg", "Hamburg", "20", "4066969"),
        ("Köln", "Nordrhein-Westfalen", "50", "2214710"),
        ("Frankfurt am Main", "Hessen", "60", "6990009"),
        ("München", "Bayern", "80", "8999998"),
    ],
    "FR": [
        ("Paris", "Île-de-France", "75", "19900"),
        ("Nantes", "Pays de la Loire", "44", "26191"),
        ("Lille", "Hauts-de-France", "59", "35301"),
        ("Lyon", "Auvergne-Rhône-Alpes", "69", "46571"),
        ("Bordeaux", "Nouvelle-Aquitaine", "33", "53649"),
    ],
    "NL": [
        ("Amsterdam", "Noord-Holland", "10", "20214"),
        ("Rotterdam", "Zuid-Holland", "30", "10214"),
        ("Utrecht", "Utrecht", "35", "30214"),
        ("Eindhoven", "Noord-Brabant", "56", "40214"),
    ],
}
CALLING_CODE = {"GB": "44", "DE": "49", "FR": "33", "NL": "31"}
COUNTRY_NAME = {"GB": "United Kingdom", "DE": "Germany", "FR": "France", "NL": "Netherlands"}
_MISSING_DIGITS = {"GB": 3, "DE": 3, "FR": 4, "NL": 4}
_MOBILE = {"GB": ("7400", 6), "DE": ("171", 7), "FR": ("612", 6), "NL": ("612", 6)}


@dataclass(frozen=True)
class Address:
    """A postal address in parts."""

    street: str
    extra: str
    city: str
    region: str
    postcode: str
    country: str


class Maker:
    """Makes values that it never makes twice, from one seeded random source."""

    def __init__(self, source: random.Random) -> None:
        self.random = source
        self._used: set[str] = set()

    def once(self, make: Callable[[], str]) -> str:
        """A value that was not made before."""
        for _ in range(10_000):
            value = make()
            if value not in self._used:
                self._used.add(value)
                return value
        raise RuntimeError("ran out of different values: the lists are too short for this scale")

    def country(self) -> str:
        """Mostly British customers."""
        return self.random.choices(("GB", "DE", "FR", "NL"), (76, 10, 8, 6))[0]

    def address(self, country: str) -> tuple[Address, str]:
        """An address, and the start of its place's telephone numbers."""
        choose = self.random
        city, region, area, prefix = choose.choice(PLACES[country])
        number = choose.randint(1, 240)
        street = choose.choice(STREETS[country])
        line = {"GB": f"{number} {street}", "FR": f"{number} {street}"}.get(country, f"{street} {number}")
        extra = f"Unit {choose.randint(1, 40)}" if country == "GB" and choose.random() < 0.2 else ""
        return Address(line, extra, city, region, self.postcode(country, area), country), prefix

    def postcode(self, country: str, area: str) -> str:
        """A postcode of the form that the country uses."""
        choose = self.random
        match country:
            case "GB":
                inward = "".join(choose.choices("ABDEFGHJLNPQRSTUWXYZ", k=2))
                return f"{area}{choose.randint(1, 19)} {choose.randint(1, 9)}{inward}"
            case "NL":
                return f"{area}{choose.randint(10, 99)} {''.join(choose.choices('ABCDEGHJKLNPRSTVWXZ', k=2))}"
        return f"{area}{choose.randint(0, 999):03d}"

    def phone(self, country: str, prefix: str) -> str:
        """A landline in E.164."""
        digits = _MISSING_DIGITS[country]
        start = f"+{CALLING_CODE[country]}{prefix}"
        return self.once(lambda: f"{start}{self.random.randrange(10**digits):0{digits}d}")

    def mobile(self, country: str) -> str:
        """A mobile number in E.164."""
        prefix, digits = _MOBILE[country]
        start = f"+{CALLING_CODE[country]}{prefix}"
        return self.once(lambda: f"{start}{self.random.randrange(10**digits):0{digits}d}")

    def company_name(self, country: str) -> str:
        """A name without its legal form, different from all others."""
        choose = self.random

        def make() -> str:
            first = choose.choice(SURNAMES[country])
            second = f" & {choose.choice(SURNAMES[country])}" if choose.random() < 0.25 else ""
            return f"{first}{second} {choose.choice(TRADES[country])}"

        return self.once(make)

    def person(self, country: str) -> tuple[str, str]:
        """First name and surname; the pair is different from all others."""
        choose = self.random
        lasts = SURNAMES[country]

        def make() -> str:
            first, last = choose.choice(FIRST_NAMES[country]), choose.choice(lasts)
            is_double = choose.random() < (0.05 if country == "GB" else 0.6)  # the other lists are short
            return f"{first}|{last}-{choose.choice(lasts)}" if is_double else f"{first}|{last}"

        first, _, last = self.once(make).partition("|")
        return first, last

    def vat_number(self, country: str) -> str:
        """A VAT number with its country's prefix and check digits, without spaces."""
        return self.once(lambda: country + _VAT[country](self.random))


def words(name: str) -> list[str]:
    """A list of words that has no country, such as `materials`."""
    return _WORDS[name]["GB"]


def plain(text: str) -> str:
    """Small letters, digits and hyphens: for mail addresses and domains."""
    folded = unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode().lower()
    words = "".join(sign if sign.isalnum() else " " for sign in folded.replace("'", "")).split()
    return "-".join(words)


def _vat_gb(choose: random.Random) -> str:
    digits = [choose.randint(1, 9), *(choose.randint(0, 9) for _ in range(6))]
    weighted = sum(weight * digit for weight, digit in zip(range(8, 1, -1), digits, strict=True))
    return "".join(map(str, digits)) + f"{(-weighted) % 97 or 97:02d}"


def _vat_de(choose: random.Random) -> str:
    digits = [choose.randint(1, 9), *(choose.randint(0, 9) for _ in range(7))]
    product = 10
    for digit in digits:
        total = (digit + product) % 10 or 10
        product = 2 * total % 11
    return "".join(map(str, digits)) + str((11 - product) % 10)


def _vat_fr(choose: random.Random) -> str:
    body = f"{choose.randint(30_000_000, 89_999_999)}"
    total = sum(sum(divmod(int(digit) * (2 if place % 2 else 1), 10)) for place, digit in enumerate(body))
    siren = int(f"{body}{(-total) % 10}")
    return f"{(12 + 3 * (siren % 97)) % 97:02d}{siren}"


def _vat_nl(choose: random.Random) -> str:
    while True:
        digits = [choose.randint(1, 9), *(choose.randint(0, 9) for _ in range(7))]
        check = sum(weight * digit for weight, digit in zip(range(9, 1, -1), digits, strict=True)) % 11
        if check < 10:
            return "".join(map(str, digits)) + f"{check}B{choose.randint(1, 9):02d}"


_VAT: dict[str, Callable[[random.Random], str]] = {"GB": _vat_gb, "DE": _vat_de, "FR": _vat_fr, "NL": _vat_nl}
