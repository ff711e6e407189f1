"""Matching: are two records one thing? Link, ask or create, always with a reason (DESIGN 3, 9.7).

    identifiers(frame, rules)              values by which known records are looked up
    block_keys(frame, rules)               keys under which look-alikes are looked up
    match(new, known, rules, rank, …)      the decisions for a batch of new records

A record *key* is any text that names a record uniquely within the call. Nothing doubtful links: it is asked.
"""

from canonical.matching.decide import Matched, match
from canonical.matching.lookup import block_keys, identifiers

__all__ = ["Matched", "block_keys", "identifiers", "match"]
