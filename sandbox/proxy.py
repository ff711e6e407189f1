"""A TCP proxy that hurts what goes through it, before PostgreSQL or any system: `Proxy("127.0.0.1", 5432)`.

    latency      each piece waits `seconds` (and up to `jitter_seconds` more)
    bandwidth    so many `bytes_per_second` go through
    slicing      pieces of `size_bytes`, with `seconds` between
    slow_close   the end of a connection is told `seconds` late
    timeout      a black hole: nothing goes through, nobody is told; after `seconds` (0: never) the connection closes
    reset        the connection is reset: after `seconds`, or once `match` has gone through
    limit        the connection closes after `size_bytes` of a connection have gone through

Each has a direction: `answers` (from the system, the usual one) or `requests` (to it). `down()` refuses connections and
cuts the ones there are; `up()` takes new ones again. It runs on a thread of its own, so that any process may steer it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, get_args

ToxicKind = Literal["latency", "bandwidth", "slicing", "slow_close", "timeout", "reset", "limit"]
Direction = Literal["answers", "requests"]
PIECE_BYTES = 65_536
_LINGER = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # on, zero seconds: close sends RST instead of FIN
_LOOK_SECONDS = 0.05
_GRACE_SECONDS = 0.5
"""How long the system's side stays open after a reset that followed a match: it must still read what was sent."""


@dataclass(frozen=True)
class Toxic:
    """One way in which connections are hurt. Only what the kind speaks of counts."""

    kind: ToxicKind
    direction: Direction = "answers"
    seconds: float = 0.0
    jitter_seconds: float = 0.0
    bytes_per_second: float = 0.0
    size_bytes: int = 0
    match: bytes = b""

    def __post_init__(self) -> None:
        """Raises ValueError for a kind that is not known, or one that lacks its figure."""
        if self.kind not in get_args(ToxicKind):
            raise ValueError(f"kind: expected one of {', '.join(get_args(ToxicKind))}; found {self.kind!r}")
        if self.kind == "bandwidth" and self.bytes_per_second <= 0:
            raise ValueError(f"bytes_per_second: expected more than 0; found {self.bytes_per_second:g}")
        if self.kind in ("slicing", "limit") and self.size_bytes < (1 if self.kind == "slicing" else 0):
            raise ValueError(f"size_bytes: expected more than 0; found {self.size_bytes}")


class Cut(Exception):
    """The connection ends here; `is_hard`: with a reset."""

    def __init__(self, *, is_hard: bool, grace_seconds: float = 0.0) -> None:
        super().__init__("cut")
        self.is_hard, self.grace_seconds = is_hard, grace_seconds


@dataclass(eq=False)
class _Connection:
    """One client and its way to the system."""

    client: asyncio.StreamWriter
    system: asyncio.StreamWriter

    def close(self, *, is_hard: bool) -> None:
        for writer in (self.client, self.system):
            _close(writer, is_hard=is_hard)


def _close(writer: asyncio.StreamWriter, *, is_hard: bool) -> None:
    if is_hard:
        with contextlib.suppress(OSError):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        writer.transport.abort()
    else:
        writer.close()


class Proxy:
    """One listening port before one system. Use it as a context manager, or `start` and `stop`."""

    def __init__(self, host: str, port: int, listen_port: int = 0) -> None:
        self.host, self.port, self.listen_port = host, port, listen_port
        self.connections_seen = 0
        self._toxics: list[Toxic] = []
        self._open: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy:{port}", daemon=True)
        self._draw = random.Random(port)

    # ------------------------------------------------------------------------------------------- steering it

    def start(self) -> Proxy:
        """Listens from now on; `listen_port` says where."""
        self._thread.start()
        self.up()
        return self

    def stop(self) -> None:
        """Cuts everything and ends."""
        self.down()
        self._do(self._end_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def __enter__(self) -> Proxy:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def add(self, kind: ToxicKind, **figures: Any) -> Toxic:
        """Hurts connections from now on, also those that are open. Raises ValueError."""
        toxic = Toxic(kind, **figures)
        self._toxics = [*self._toxics, toxic]
        return toxic

    def remove(self, toxic: Toxic | None = None) -> None:
        """Stops one hurt, or all."""
        self._toxics = [one for one in self._toxics if toxic is not None and one is not toxic]

    @contextlib.contextmanager
    def hurt(self, kind: ToxicKind, **figures: Any) -> Iterator[Toxic]:
        """Hurts connections within the block."""
        toxic = self.add(kind, **figures)
        try:
            yield toxic
        finally:
            self.remove(toxic)

    def down(self) -> None:
        """Refuses connections, and resets those that are open."""
        self._do(self._down())

    def up(self) -> None:
        """Takes connections again."""
        self._do(self._up())

    @property
    def is_up(self) -> bool:
        """Whether connections are taken."""
        return self._server is not None

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    # ------------------------------------------------------------------------------------------- on its own thread

    async def _up(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.listen_port)
            self.listen_port = self._server.sockets[0].getsockname()[1]

    async def _down(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._open):
            connection.close(is_hard=True)

    async def _end_all(self) -> None:
        """Ends what is still carrying."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.connections_seen += 1
        try:
            back, system = await asyncio.open_connection(self.host, self.port)
        except OSError:
            _close(client, is_hard=True)
            return
        connection = _Connection(client, system)
        self._open.add(connection)
        ways = [
            asyncio.create_task(self._pump(reader, system, "requests")),
            asyncio.create_task(self._pump(back, client, "answers")),
        ]
        try:
            await asyncio.gather(*ways)
            connection.close(is_hard=False)
        except Cut as cut:
            _close(client, is_hard=cut.is_hard)
            await asyncio.sleep(cut.grace_seconds)
            _close(system, is_hard=cut.is_hard)
        except OSError:
            connection.close(is_hard=True)
        finally:
            for way in ways:
                way.cancel()
            self._open.discard(connection)

    def _active(self, direction: Direction, *kinds: ToxicKind) -> list[Toxic]:
        return [one for one in self._toxics if one.direction == direction and one.kind in kinds]

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction) -> None:
        """Carries one direction until its end. Raises Cut where a toxic ends the connection."""
        passed = 0
        while piece := await self._read(reader, direction):
            await self._held_back(direction)
            for toxic in self._active(direction, "latency"):
                await asyncio.sleep(toxic.seconds + self._draw.random() * toxic.jitter_seconds)
            is_over = False
            for toxic in self._active(direction, "limit"):
                is_over = is_over or passed + len(piece) >= toxic.size_bytes
                piece = piece[: max(0, toxic.size_bytes - passed)]
            await self._write(writer, piece, direction)
            passed += len(piece)
            if is_over:
                raise Cut(is_hard=False)
            if any(one.match and one.match in piece for one in self._active(direction, "reset")):
                raise Cut(is_hard=True, grace_seconds=_GRACE_SECONDS)
        for toxic in self._active(direction, "slow_close"):
            await asyncio.sleep(toxic.seconds)
        if writer.can_write_eof():
            writer.write_eof()

    async def _read(self, reader: asyncio.StreamReader, direction: Direction) -> bytes:
        """The next piece; a reset that is due does not wait for one."""
        reading = asyncio.ensure_future(reader.read(PIECE_BYTES))
        try:
            while not (await asyncio.wait({reading}, timeout=_LOOK_SECONDS))[0]:
                await self._reset_if_due(direction)
            await self._reset_if_due(direction)
            return reading.result()
        finally:
            reading.cancel()

    async def _reset_if_due(self, direction: Direction) -> None:
        for toxic in self._active(direction, "reset"):
            if not toxic.match:
                await asyncio.sleep(toxic.seconds)
                raise Cut(is_hard=True)

    async def _held_back(self, direction: Direction) -> None:
        """Waits while there is a black hole. Raises Cut when its time is over."""
        waited = 0.0
        while holes := self._active(direction, "timeout"):
            await asyncio.sleep(_LOOK_SECONDS)
            waited += _LOOK_SECONDS
            if any(hole.seconds and waited >= hole.seconds for hole in holes):
                raise Cut(is_hard=False)

    async def _write(self, writer: asyncio.StreamWriter, piece: bytes, direction: Direction) -> None:
        slices = self._active(direction, "slicing")
        size = min((one.size_bytes for one in slices), default=len(piece) or 1)
        for start in range(0, len(piece), size):
            part = piece[start : start + size]
            for toxic in self._active(direction, "bandwidth"):
                await asyncio.sleep(len(part) / toxic.bytes_per_second)
            writer.write(part)
            await writer.drain()
            if slices:
                await asyncio.sleep(max(one.seconds for one in slices))
