"""Streams that land at the same time: each record keeps a number of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import text

from canonical import keys
from staging import landing
from staging.engine import transaction


def test_streams_landed_at_once_draw_numbers_of_their_own(database: object) -> None:
    """The sequence is shared: numbers drawn by one stream are interleaved with another's."""

    def land(stream: int) -> int:
        landed = 0
        for page in range(15):
            ids = [f"{page}-{n}" for n in range(400)]
            payloads = [f'{{"id":"{i}","stream":{stream}}}'.encode() for i in ids]
            with transaction() as conn:
                run = landing.begin(conn, sync_id=None, system="s", stream=str(stream), mode="incremental", cursor=None)
                done = landing.land_page(
                    conn,
                    run,
                    system="s",
                    stream=str(stream),
                    ids=ids,
                    payloads=payloads,
                    hashes=keys.raw_hashes(payloads),
                    changed=[None] * len(ids),
                    deleted=[False] * len(ids),
                    parents=None,
                    refused=0,
                )
                landed += done.counts.new
        return landed

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(land, range(4))) == [6000] * 4
    with transaction() as conn:
        wrong = conn.execute(
            text(
                "select count(*) from landing.record r left join landing.raw_record v on v.id = r.raw_id"
                " and v.stream = r.stream and v.source_id = r.source_id where v.id is null"
            )
        ).scalar_one()
    assert wrong == 0
