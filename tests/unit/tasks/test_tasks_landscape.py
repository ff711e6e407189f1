"""A landscape's folder and its secrets: found where they are said to be, never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from canonical.declarations.oauth import OAuth2
from canonical.landscape import SecretRef
from canonical.problems import Refused
from connectors.protocol import Misdeclared, Secret
from tasks import landscape
from tasks.landscape import folder_of, load, read_secret, resolved

WHERE = "systems.crm.token"


def test_the_folder_is_the_one_named_else_the_environments_else_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONCORD_LANDSCAPE", raising=False)
    assert folder_of() == Path("deployments/demo")
    monkeypatch.setenv("CONCORD_LANDSCAPE", "/ours")
    assert folder_of() == Path("/ours")
    assert folder_of("mine") == Path("mine")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="expected a folder, found nothing there"):
        load(tmp_path / "nowhere")


def test_a_folder_of_too_many_files_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landscape, "MAX_FILES", 3)
    with pytest.raises(Refused, match="expected at most 3 files, found 7"):
        load(folder)


def test_hidden_files_are_none_of_it(folder: Path) -> None:
    before = load(folder).digest
    (folder / "model" / ".order.yaml").write_text("a: [", encoding="utf-8")
    (folder / ".git").mkdir()
    (folder / ".git" / "x.yaml").write_text("a: [", encoding="utf-8")
    assert load(folder).digest == before


def test_a_secret_of_the_environment_is_read_anew_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_TOKEN", "first")
    (found,) = resolved({"token": SecretRef("env", "CRM_TOKEN")}, "systems.crm").values()
    assert isinstance(found, Secret)
    assert found.get() == "first"
    monkeypatch.setenv("CRM_TOKEN", "second")
    assert found.get() == "second"


def test_a_secret_of_a_file_is_its_text_without_the_line_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("  s3cret\n", encoding="utf-8")
    assert read_secret(SecretRef("file", str(tmp_path / "token")), WHERE) == "s3cret"


def test_secrets_inside_settings_are_found_and_the_rest_stays() -> None:
    nested = {"url": "http://x", "auth": {"keys": [SecretRef("env", "A"), 1], "on": True}}
    found = resolved(nested, "systems.crm")
    assert found["url"] == "http://x"
    assert found["auth"]["on"] is True
    assert isinstance(found["auth"]["keys"][0], Secret)
    assert found["auth"]["keys"][1] == 1


@pytest.mark.parametrize("value", [None, ""], ids=["unset", "empty"])
def test_a_secret_missing_from_the_environment_names_its_place(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("CRM_TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("CRM_TOKEN", value)
    with pytest.raises(Misdeclared) as told:
        read_secret(SecretRef("env", "CRM_TOKEN"), WHERE)
    expected = f"{WHERE}: expected a secret in the environment variable CRM_TOKEN, found nothing"
    assert str(told.value) == expected


def test_a_secret_file_that_cannot_be_read_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(Misdeclared, match=r"expected a secret in the file .*nowhere: No such file"):
        read_secret(SecretRef("file", str(tmp_path / "nowhere")), WHERE)


@pytest.fixture(autouse=True)
def _no_block_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landscape, "_blocks", {})


def test_a_block_that_cannot_be_had_names_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.blocks.system import Secret as SecretBlock

    def lost(name: str) -> None:
        raise ValueError(f"{name} holds hunter2")

    monkeypatch.setattr(SecretBlock, "load", lost)
    with pytest.raises(Misdeclared) as told:
        read_secret(SecretRef("block", "crm-token"), WHERE)
    assert str(told.value) == f"{WHERE}: expected a Prefect Secret block named crm-token: ValueError"


def test_a_block_gives_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.blocks.system import Secret as SecretBlock
    from pydantic import SecretStr

    monkeypatch.setattr(SecretBlock, "load", lambda _: SecretBlock(value=SecretStr("s3cret")))
    assert read_secret(SecretRef("block", "crm-token"), WHERE) == "s3cret"


def test_a_rotated_block_is_used_after_a_while_or_at_once_after_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.blocks.system import Secret as SecretBlock
    from pydantic import SecretStr

    kept, loads, now = ["old"], [], [0.0]

    def load(name: str) -> SecretBlock:
        loads.append(name)
        if kept[0] == "":
            raise OSError("Prefect does not answer")
        return SecretBlock(value=SecretStr(kept[0]))

    monkeypatch.setattr(SecretBlock, "load", load)
    monkeypatch.setattr(landscape.time, "monotonic", lambda: now[0])
    (secret,) = resolved({"token": SecretRef("block", "crm-token")}, "systems.crm").values()
    assert [secret.get(), secret.get(), loads] == ["old", "old", ["crm-token"]]
    kept[0] = "new"
    assert (secret.get(), secret.get_anew(), secret.get()) == ("old", "new", "new")
    kept[0] = "newer"
    now[0] = landscape.BLOCK_SECONDS + 1
    assert secret.get() == "newer"
    kept[0], now[0] = "", 10 * landscape.BLOCK_SECONDS
    assert secret.get() == "newer", "Prefect may be away for a while"
    with pytest.raises(Misdeclared):
        secret.get_anew()


def test_the_client_of_oauth_2_is_kept_where_secrets_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_ID", "app")
    file = tmp_path / "secret"
    file.write_text("first\n", encoding="utf-8")
    declared = OAuth2("client_credentials", "https://x/t", SecretRef("env", "CRM_ID"), SecretRef("file", str(file)))
    found = resolved({"oauth2": declared}, "systems.crm")["oauth2"]
    assert (found.client_id.get(), found.client_secret.get()) == ("app", "first")
    file.write_text("second\n", encoding="utf-8")
    assert found.client_secret.get() == "second"


def test_a_secret_prints_nothing_of_itself() -> None:
    secret = Secret(lambda: "hunter2")
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r}", str([secret]), str({"token": secret})]
    assert not any("hunter2" in text for text in shown)
    assert secret.get() == "hunter2"
