"""A REST system from its manifest: every way of paging reads everything once, and knows when it did."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from canonical.declarations.connectors import read_settings
from canonical.declarations.manifest import read_manifest
from canonical.declarations.shapes import Notes, Section
from canonical.declarations.yaml import read_yaml
from connectors.protocol import Context, Misdeclared, Page, Source, SystemFault, Target, Transient
from connectors.registry import build
from connectors.rest import RestConnector

Handler = Callable[[httpx.Request], httpx.Response]
NOW = "Fri, 02 Jan 2026 12:00:00 GMT"


def record(number: int) -> dict[str, Any]:
    return {"id": number, "name": f"n{number}", "at": f"2026-01-01T{number // 60:02}:{number % 60:02}:00.000Z"}


RECORDS = [record(number) for number in range(1, 251)]


def manifest_text(paging: str, more: str = "") -> str:
    return f"""
auth: {{kind: bearer, from: token}}
concurrency: 4
streams:
  things:
    path: /v1/things
    records: data.items
    key: id
    changed: at
    since: {{param: since}}
    paging: {paging}
    {more}
"""


def connector(text: str, handler: Handler) -> RestConnector:
    notes = Notes()
    node, problems = read_yaml("connectors/erp.yaml", text.encode())
    manifest = read_manifest(notes, node, "erp")
    assert not problems
    assert not notes.problems, notes.problems
    streams = {name: stream.stream for name, stream in manifest.streams.items()}
    context = Context("erp", {"url": "https://erp.example/api", "token": "t", "manifest": manifest}, streams)
    return RestConnector(context, manifest, transport=httpx.MockTransport(handler))


def answer(items: list[Any], **more: Any) -> httpx.Response:
    return httpx.Response(200, json={"data": {"items": items}, **more}, headers={"date": NOW})


def since(query: httpx.QueryParams, records: list[dict[str, Any]] = RECORDS) -> list[dict[str, Any]]:
    return [one for one in records if one["at"] >= query.get("since", "")]


def by_page(request: httpx.Request) -> httpx.Response:
    query = request.url.params
    found, size = since(query), min(int(query["limit"]), 40)  # the system caps its pages
    start = (int(query["page"]) - 1) * size
    return answer(found[start : start + size])


def by_page_with_total(request: httpx.Request) -> httpx.Response:
    query = request.url.params
    found, size, number = since(query), 40, int(query["page"])
    return answer(found[(number - 1) * size : number * size], total=len(found))


def by_page_with_pages(request: httpx.Request) -> httpx.Response:
    query = request.url.params
    found, number = since(query), int(query["page"])
    return answer(found[(number - 1) * 40 : number * 40], pages=-(-len(found) // 40))


def by_offset(request: httpx.Request) -> httpx.Response:
    query = request.url.params
    found, start = since(query), int(query["offset"])
    return answer(found[start : start + 40])


def by_offset_with_total(request: httpx.Request) -> httpx.Response:
    query = request.url.params
    found, start = since(query), int(query["offset"])
    return answer(found[start : start + 40], total=len(found))


def by_cursor(request: httpx.Request) -> httpx.Response:
    query = request.url.params
    found = since(query)
    pages = [found[start : start + 40] for start in range(0, len(found), 40)] or [[]]
    pages.insert(1, [])  # an empty page may have a next one
    number = int(query.get("after", "p0")[1:])
    return answer(pages[number], next=f"p{number + 1}" if number + 1 < len(pages) else None)


def by_link(request: httpx.Request) -> httpx.Response:
    query = request.url.params
    found, start = since(query), int(query.get("start", "0"))
    more = {"since": query["since"]} if "since" in query else {}
    link = str(httpx.URL("https://erp.example/api/v1/things", params={"start": start + 40, **more}))
    return answer(found[start : start + 40], next=f" {link} " if start + 40 < len(found) else None)


def by_link_header(request: httpx.Request) -> httpx.Response:
    found = by_link(request)
    link = json.loads(found.content).get("next")
    if link:
        found.headers["link"] = f'<https://erp.example/first>; rel="first", <{link.strip()}>; rel="next"'
    return found


def by_keyset(request: httpx.Request) -> httpx.Response:
    query = request.url.params
    low = (query.get("changed_from", ""), int(query.get("after_id") or 0))
    return answer([one for one in RECORDS if (one["at"], one["id"]) > low][:40])


def all_at_once(request: httpx.Request) -> httpx.Response:
    return answer(since(request.url.params))


WAYS: dict[str, tuple[str, Handler]] = {
    "none": ("{kind: none}", all_at_once),
    "page": ("{kind: page, param: page, size_param: limit, size: 100}", by_page),
    "page total": ("{kind: page, param: page, total: total, size: 40}", by_page_with_total),
    "page pages": ("{kind: page, param: page, pages: pages, size: 40}", by_page_with_pages),
    "offset": ("{kind: offset, param: offset, size: 40}", by_offset),
    "offset total": ("{kind: offset, param: offset, total: total, size: 100}", by_offset_with_total),
    "cursor": ("{kind: cursor, param: after, next: next}", by_cursor),
    "link": ("{kind: link, next: next}", by_link),
    "link header": ("{kind: link}", by_link_header),
    "keyset": ("{kind: keyset, param: changed_from, after_param: after_id, size: 40}", by_keyset),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[RestConnector]:
    paging, handler = WAYS[request.param]
    made = connector(manifest_text(paging), handler)
    yield made
    made.close()


def ids(pages: list[Page]) -> list[str]:
    return [record_id for page in pages for record_id in page.ids]


def test_a_sweep_reads_everything_once_in_order(way: RestConnector) -> None:
    pages = list(way.read("things", None))
    assert ids(pages) == [str(one["id"]) for one in RECORDS]
    assert [page.is_last for page in pages] == [False] * (len(pages) - 1) + [True]
    assert pages[-1].cursor == {"since": "2026-01-01T04:10:00.000Z"}


def test_the_next_read_asks_for_the_overlap_only(way: RestConnector) -> None:
    pages = list(way.read("things", {"since": "2026-01-01T04:05:00.000Z"}))
    assert ids(pages)[0] in ("244", "245")  # a minute back; keyset asks for what comes after that minute's mark
    assert ids(pages)[-1] == "250"
    assert pages[-1].is_last
    assert pages[-1].cursor == {"since": "2026-01-01T04:10:00.000Z"}


def test_nothing_new_leaves_the_cursor(way: RestConnector) -> None:
    pages = list(way.read("things", {"since": "2026-01-02T11:00:00.000Z"}))
    assert ids(pages) == []
    assert pages[-1].is_last
    assert pages[-1].cursor == {"since": "2026-01-02T11:00:00.000Z"}


def test_only_ordered_walks_move_the_cursor_before_their_end(way: RestConnector, request: Any) -> None:
    pages = list(way.read("things", None))
    early = [page.cursor for page in pages[:-1]]
    assert all(early) == (len(early) == 0 or request.node.callspec.params["way"] == "keyset")


@pytest.mark.parametrize(
    ("paging", "handler"),
    [
        ("{kind: cursor, param: after, next: next}", lambda _: answer([record(1)], next="same")),
        ("{kind: link, next: next}", lambda _: answer([record(1)], next="/api/v1/things?p=2")),
        ("{kind: page, param: page, size: 1}", lambda _: answer([record(1)])),
        ("{kind: offset, param: offset, size: 1}", lambda _: answer([record(1)])),
        ("{kind: keyset, param: changed, after_param: after, size: 1}", lambda _: answer([record(1)])),
    ],
    ids=["cursor", "link", "page", "offset", "keyset"],
)
def test_walks_in_a_circle_end(paging: str, handler: Handler) -> None:
    with pytest.raises(SystemFault):
        list(connector(manifest_text(paging), handler).read("things", None))


@pytest.mark.parametrize("link", ["https://evil.example/x", "http://erp.example/x"])
def test_next_links_stay_on_their_origin(link: str) -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return answer([record(1)], next=link)

    with pytest.raises(SystemFault, match="another host"):
        list(connector(manifest_text("{kind: link, next: next}"), handler).read("things", None))
    assert asked == ["erp.example"]


def test_a_count_that_shrinks_makes_a_sweep_unstable() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        number = int(request.url.params["page"])
        items = RECORDS[(number - 1) * 40 : number * 40]
        return answer(items if number < 7 else items[:5], total=250 if number < 4 else 245)

    pages = list(connector(manifest_text(WAYS["page total"][0]), handler).read("things", None))
    assert not pages[-1].is_last
    assert pages[-1].cursor == {}


def test_a_list_cut_at_a_good_boundary_is_not_complete() -> None:
    pages = list(
        connector(
            manifest_text("{kind: cursor, param: after, next: next, total: total}"),
            lambda _: answer(RECORDS[:40], total=250),
        ).read("things", None)
    )
    assert not pages[-1].is_last


def test_a_token_that_expired_starts_the_walk_again() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(410) if "after" in request.url.params else answer([record(1)], next="x")

    with pytest.raises(Transient, match="expired"):
        list(connector(manifest_text("{kind: cursor, param: after, next: next}"), handler).read("things", None))


@pytest.mark.parametrize("body", ['{"error": "down"}', "<html>", "", "[]"])
def test_an_answer_of_another_shape_is_no_empty_page(body: str) -> None:
    headers = {"content-type": "application/json"}
    made = connector(manifest_text("{kind: none}"), lambda _: httpx.Response(200, text=body, headers=headers))
    with pytest.raises(SystemFault):
        list(made.read("things", None))


def test_change_marks_go_where_the_manifest_says() -> None:
    text = manifest_text("{kind: none}").replace("{param: since}", "{header: If-Modified-Since, format: http_date}")
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["if-modified-since"])
        return answer([])

    list(connector(text, handler).read("things", {"since": "2026-01-01T00:01:00Z"}))
    assert asked == ["Thu, 01 Jan 2026 00:00:00 GMT"]


def test_records_by_id() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        match request.url.raw_path.rpartition(b"/")[2]:
            case b"a%2Fb":
                return httpx.Response(200, json={"data": {"id": "a/b", "at": "x"}})
            case b"gone":
                return httpx.Response(410)
        return httpx.Response(404)

    made = connector(manifest_text("{kind: none}", 'get: {path: "/v1/things/{id}", record: data}'), handler)
    found = made.get("things", ["a/b", "gone", "missing"])
    assert [(one.id, one.payload, one.changed) for one in found] == [("a/b", b'{"id":"a/b","at":"x"}', "x")]


def test_another_record_than_asked_for_is_a_fault() -> None:
    made = connector(
        manifest_text("{kind: none}", 'get: {path: "/v1/things/{id}"}'),
        lambda _: httpx.Response(200, json={"id": 2}),
    )
    with pytest.raises(SystemFault, match="another"):
        made.get("things", ["1"])


def test_find_is_exact_though_the_search_is_not() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.url.params["q"] == "n1"
        return answer([one for one in RECORDS if "n1" in one["name"]])

    text = manifest_text("{kind: none}", "find: {path: /v1/search, params: {name: q}, records: data.items}")
    made = connector(text, handler)
    assert [one.id for one in made.find("things", {"name": "n1"})] == ["1"]
    with pytest.raises(Misdeclared, match="email"):
        made.find("things", {"email": "x"})


def test_the_roles_and_the_registry() -> None:
    made = connector(manifest_text("{kind: none}"), all_at_once)
    assert isinstance(made, Source)
    assert isinstance(made, Target)
    with pytest.raises(Misdeclared, match="no such stream"):
        made.read("nothing", None)
    with pytest.raises(Misdeclared, match="manifest"):
        build("rest", Context("erp", {}, {}))
    with pytest.raises(Misdeclared, match="did you mean hubspot"):
        build("hubpsot", Context("crm", {}, {}))


@pytest.mark.parametrize(
    ("auth", "settings", "name", "value"),
    [
        ("{kind: basic, user: user, from: password}", {"user": "a", "password": "b"}, "authorization", "Basic YTpi"),
        ("{kind: api_key, header: X-Key, from: key, prefix: 'Token '}", {"key": "k"}, "x-key", "Token k"),
        ("{kind: api_key, query: api_key, from: key}", {"key": "k"}, "?api_key", "k"),
        ("{kind: none}", {}, "authorization", None),
    ],
    ids=["basic", "api key", "query", "none"],
)
def test_credentials(auth: str, settings: dict[str, str], name: str, value: str | None) -> None:
    notes = Notes()
    text = manifest_text("{kind: none}").replace("{kind: bearer, from: token}", auth)
    manifest = read_manifest(notes, read_yaml("connectors/erp.yaml", text.encode())[0], "erp")
    asked: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answer([])

    context = Context("erp", {"url": "https://erp.example", **settings}, {})
    RestConnector(context, manifest, transport=httpx.MockTransport(handler)).check()
    request = asked[0]
    found = request.url.params.get(name[1:]) if name.startswith("?") else request.headers.get(name)
    assert found == value


def test_a_system_of_oauth_2_gets_its_token_where_the_manifest_says() -> None:
    text = manifest_text("{kind: none}").replace(
        "auth: {kind: bearer, from: token}",
        'auth: {kind: oauth2, grant: client_credentials, token_url: "https://id.example/token", scopes: [things]}',
    )
    notes = Notes()
    manifest = read_manifest(notes, read_yaml("connectors/erp.yaml", text.encode())[0], "erp")
    who = b'url: "https://erp.example/api"\noauth2: {client_id: app, client_secret: {env: ERP_SECRET}}'
    settings = read_settings(Section(notes, read_yaml("landscape.yaml", who)[0]), manifest.settings, "public")
    assert notes.problems == []
    oauth2 = replace(settings["oauth2"], client_secret="hush")  # as the secret is put in its place
    seen: list[str] = []

    def system(request: httpx.Request) -> httpx.Response:
        seen.append(f"{request.url.host} {request.headers.get('authorization', '')[:6]}")
        if request.url.host == "id.example":
            assert request.content == b"grant_type=client_credentials&scope=things"
            return httpx.Response(200, json={"access_token": "fresh", "expires_in": 60})
        assert request.headers["authorization"] == "Bearer fresh"
        return answer(RECORDS[:3])

    streams = {name: stream.stream for name, stream in manifest.streams.items()}
    context = Context("erp", {**settings, "oauth2": oauth2}, streams)
    one = RestConnector(context, manifest, transport=httpx.MockTransport(system))
    assert sum(len(page.ids) for page in one.read("things", None)) == 3
    assert seen == ["id.example Basic ", "erp.example Bearer"]
