"""One way to speak HTTP: a deadline for the whole request, byte caps, an allowlist, and errors that say what to do.

client.py    HttpClient: one request, one outcome (no retries here: a retry has one owner, the task)
wire.py      sockets: resolve, check, connect to the checked address, every wait inside the deadline
allow.py     which URLs and addresses a system may have
body.py      reading a body under caps, and the gzip bomb that is not inflated
outcome.py   statuses and failures as the error classes of connectors.protocol
rate.py      declared rate windows, kept in process
"""

from connectors.http.client import Answer, HttpClient
from connectors.http.outcome import Effect
from connectors.http.rate import Gate, RateGate, gate_of

__all__ = ["Answer", "Effect", "Gate", "HttpClient", "RateGate", "gate_of"]
