"""The rules that a mapping sheet may name, one module a subject.

`RULES` is the one list of them; `concord mapping rules` prints it and the documentation is made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from canonical.mapping.functions import dates, lists, names, numbers, phones, places, references, text
from canonical.mapping.functions.base import Rule

_MODULES = (text, names, numbers, dates, phones, places, lists, references)
RULES: Final[Mapping[str, Rule]] = MappingProxyType({rule.name: rule for m in _MODULES for rule in m.RULES})
"""Rule name → rule."""
