"""Threads share one arena where the C library has several."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SAYS = """
import ctypes, threading
from tasks import arenas
print(arenas.share_one())
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
gate = threading.Barrier(5)
def allocate():
    gate.wait()
    libc.malloc(5000)
    gate.wait()
threads = [threading.Thread(target=allocate) for _ in range(4)]
[t.start() for t in threads]
gate.wait(); gate.wait()
libc.fflush(None)
libc.malloc_stats()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own")
@pytest.mark.parametrize(("environment", "said", "arenas"), [({}, "True", 1), ({"MALLOC_ARENA_MAX": "3"}, "False", 3)])
def test_threads_share_an_arena_unless_the_environment_says_otherwise(
    environment: dict[str, str], said: str, arenas: int
) -> None:
    done = subprocess.run([sys.executable, "-c", SAYS], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == said
    assert done.stderr.count("Arena ") == arenas
