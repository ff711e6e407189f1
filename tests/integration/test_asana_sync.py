"""Projects planned in a sheet come to stand in Asana: created once, kept up, archived; judged from Asana's own side."""

from __future__ import annotations

import csv
import json
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandbox import runner
from staging.engine import engine, transaction

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from sandbox.runner import Running
    from tasks.sync import Mode, Summary
    from tasks.world import World
    from tests.fixtures.database import TestDatabase

LANDSCAPE = """
timezone: Europe/London
people:
  boss: {name: Ellen Moss, email: ellen@wholesale.example}
systems:
  plan:
    connector: files
    path: "FOLDER/plan"
    owner: boss
    originates: [project, employee]
    streams:
      projects: {key: Number, makes: [{entity: project}], options: {path: projects.csv}}
      staff: {key: Staff no, makes: [{entity: employee}], options: {path: staff.csv}}
  work:
    connector: asana
    url: "URL"
    network: loopback
    token: {env: WORK_TOKEN}
    team: "1207000000000002"
    requests_per_minute: 15000
    owner: boss
integrations:
  projects:
    problem: Nobody sees in Asana what was planned.
    beneficiary: everybody
    decision: What to do next
    owner: boss
    level: 1
    entity: project
    to:
      - {system: work, stream: projects, create: true, mode: write, on_leave: archive, when: "!(status == 'cancelled')",
         find_by: {"custom_fields[name=Concord ID].text_value": id}}
    timing: {schedule: "0 * * * *", because: plans change by the hour}
    sla: {timeliness: 24h, completeness: 24h, accuracy: "99%", detect: 1h, resolve: 8h}
"""
SHEET = """source_system,source_field,target_system,target_field,rule,notes
plan,projects.Number,canonical,project.number,trim,
plan,projects.Name,canonical,project.name,trim,
plan,projects.Lead,canonical,project.lead,lookup =employee.email,
plan,projects.Starts,canonical,project.starts_on,,
plan,projects.Due,canonical,project.due_on,,
plan,projects.Status,canonical,project.status,,
plan,projects.Kind,canonical,project.kind,,
plan,staff.Staff no,canonical,employee.number,trim,
plan,staff.First,canonical,employee.first_name,trim,
plan,staff.Last,canonical,employee.last_name,trim,
plan,staff.Email,canonical,employee.email,trim | lower,
work,projects.custom_fields[name=Number].text_value,canonical,project.number,trim,
canonical,project.id,work,projects.custom_fields[name=Concord ID].text_value,,the marker
canonical,project.number,work,projects.custom_fields[name=Number].text_value,,
canonical,project.kind,work,projects.custom_fields[name=Kind].enum_value.name,map order=Order internal=Internal *=empty,
"""
MODELS = {
    "project": "extends: standard/project\nrecord: plan\norigin: plan\nowner: boss\nwithout: [customer, order]\n",
    "employee": "extends: standard/employee\nrecord: plan\norigin: plan\nowner: boss\n",
}
STAFF = [("E-1", "Ellen", "Moss", "ellen@wholesale.example"), ("E-2", "Jonas", "Beck", "jonas@wholesale.example")]
HEAD = ("Number", "Name", "Lead", "Starts", "Due", "Status", "Kind")
Plan = dict[str, dict[str, str]]


def planned() -> Plan:
    """Twelve projects, one of them cancelled, and one that Asana knows already."""
    rows = {}
    for n in range(1, 13):
        lead = STAFF[n % 2][3] if n % 3 else ""
        days = ("2026-02-02", "2026-03-31") if n % 2 else ("", "")
        row = (f"Q-{n:03d}", f"Project {n}", lead, *days, ("active", "on_hold", "planned")[n % 3], "order")
        rows[row[0]] = dict(zip(HEAD, row, strict=True))
    rows["Q-012"]["Status"] = "cancelled"
    rows["P-0001"] = dict(zip(HEAD, ("P-0001", "Autumn catalogue", "", "", "", "active", "internal"), strict=True))
    return rows


@dataclass
class Office:
    """The plan, Asana's twin, and Concord between them."""

    sandbox: Running
    folder: Path
    world: World

    def write(self, rows: Plan) -> None:
        """Save the plan as a person does."""
        with (self.folder / "plan" / "projects.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, HEAD)
            writer.writeheader()
            writer.writerows(rows.values())

    def sync(self, mode: Mode = "incremental") -> Summary:
        from tasks import sync as syncs

        sync_id = syncs.begin(self.world, "all", mode, started_by="a test")
        return syncs.sync(self.world, "all", syncs.PlainSteps(self.world, sync_id), sync_id=sync_id, mode=mode)

    def door(self, name: str, body: Any = None, method: str = "POST") -> Any:
        """A door of the twin under /_sandbox/."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.sandbox.asana_url}/_sandbox/{name}", data, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def writes(self) -> int:
        """Requests that Asana received to change something."""
        return int(self.door("state", method="GET")["requests"]["writes"])

    def projects(self) -> dict[str, dict[str, Any]]:
        """Asana's projects by their number, as its own API shows them."""
        asked = "name,archived,owner,start_on,due_on,current_status.color,custom_fields.name"
        query = f"workspace=1207000000000001&opt_fields={asked},custom_fields.display_value"
        url = f"{self.sandbox.asana_url}/api/1.0/projects?{query}"
        request = urllib.request.Request(url, headers={"authorization": f"Bearer {self.sandbox.tokens['asana']}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.loads(answer.read())["data"]
        shown: dict[str, dict[str, Any]] = {}
        for one in found:
            customs = {field["name"]: field["display_value"] for field in one["custom_fields"]}
            assert customs["Number"] not in shown, "a project stands twice"
            seen = {"owner": (one["owner"] or {}).get("gid"), "colour": (one["current_status"] or {}).get("color")}
            shown[customs["Number"]] = {**one, **customs, **seen}
        return shown


@contextmanager
def opened(folder: Path, database: TestDatabase) -> Iterator[Office]:
    from staging.model_changes import apply, plan_changes
    from tasks.world import World

    with runner.start(folder / "state", scale=0.03) as sandbox, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORK_TOKEN", sandbox.tokens["asana"])
        for name in ("plan", "landscape/model", "landscape/mappings"):
            (folder / name).mkdir(parents=True)
        text = LANDSCAPE.replace("URL", sandbox.asana_url).replace("FOLDER", str(folder))
        (folder / "landscape" / "landscape.yaml").write_text(text)
        (folder / "landscape" / "mappings" / "all.csv").write_text(SHEET)
        for name, model in MODELS.items():
            (folder / "landscape" / "model" / f"{name}.yaml").write_text(model)
        staff = ["Staff no,First,Last,Email", *(",".join(one) for one in STAFF)]
        (folder / "plan" / "staff.csv").write_text("\n".join(staff) + "\n")
        with closing(World.of(folder / "landscape")) as world:
            with transaction(engine("owner")) as conn:
                apply(conn, plan_changes(conn, world.landscape.model), database.app_url.username)
            office = Office(sandbox, folder, world)
            office.write(planned())
            yield office


@pytest.fixture
def office(database: TestDatabase, tmp_path: Path) -> Iterator[Office]:
    """Nothing was synced yet."""
    with opened(tmp_path, database) as made:
        yield made


def test_a_plan_comes_to_stand_in_asana_and_is_kept_up(office: Office) -> None:
    before = office.projects()
    summary = office.sync()
    assert summary.trouble == []
    now = office.projects()
    rows = planned()
    made = {number: now[number] for number in now if number not in before}
    assert set(made) == {number for number in rows if number.startswith("Q-")} - {"Q-012"}
    for number, one in made.items():
        row = rows[number]
        assert (one["name"], one["Kind"], one["archived"]) == (row["Name"], "Order", False)
        assert (one["start_on"] or "", one["due_on"] or "") == (row["Starts"], row["Due"])
        assert one["colour"] == {"active": "green", "on_hold": "blue", "planned": None}[row["Status"]]
        assert one["Concord ID"]
    owners = {row["Lead"]: made[number]["owner"] for number, row in rows.items() if number in made and row["Lead"]}
    assert owners == {"ellen@wholesale.example": "1207000000001004", "jonas@wholesale.example": "1207000000001005"}
    assert {number: now[number] for number in before} == before | {"P-0001": now["P-0001"]}
    assert (now["P-0001"]["gid"], now["P-0001"]["archived"]) == (before["P-0001"]["gid"], False)

    writes = office.writes()
    for mode in ("incremental", "full"):
        again = office.sync(mode)
        assert (again.target_writes, again.trouble) == (0, [])
    assert office.writes() == writes

    rows["Q-003"] |= {"Name": "Project three", "Due": "2026-04-30", "Status": "done"}
    rows["Q-004"]["Status"] = "cancelled"
    office.door("edit", {"stream": "projects", "id": now["Q-005"]["gid"], "fields": {"name": "Renamed here"}})
    office.write(rows)
    office.sync()
    now = office.projects()
    third = now["Q-003"]
    assert (third["name"], third["due_on"], third["colour"]) == ("Project three", "2026-04-30", "complete")
    assert now["Q-004"]["archived"] is True
    assert now["Q-005"]["name"] == "Project 5"
    writes = office.writes()
    assert office.sync().target_writes == 0
    assert office.writes() == writes


@pytest.mark.parametrize("kind", ["reset_after", "status_after"])
def test_creates_whose_answer_was_lost_are_found_by_their_marker(office: Office, kind: str) -> None:
    office.door("fault", {"kind": kind, "status": 500, "match": {"path": "/batch"}})
    office.sync()
    office.door("faults", method="DELETE")
    office.sync()
    office.sync()
    made = {number for number in office.projects() if number.startswith("Q-")}
    assert made == {number for number in planned() if number.startswith("Q-")} - {"Q-012"}
