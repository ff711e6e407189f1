"""Great Expectations' context, data source and pages: everything that GX wants set up, and nothing that decides.

Importing GX takes seconds and hundreds of MiB, so it happens in the first call here. The context is ephemeral: suites,
validations and connection strings are never written; with documents the results are, beside the pages they are for.

    <docs_dir>/index.html            the latest validations, newest first
    <docs_dir>/validations/…         one page each
    <docs_dir>/.results/…            the results that the index is built from
"""

from __future__ import annotations

import gc
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa

from canonical.shown import shown_page
from expectations.errors import GateCutOff

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
    from great_expectations.datasource.fluent.postgres_datasource import PostgresDatasource

SITE = "concord"
SOURCE = "candidates"
ONE_CONNECTION = {"pool_size": 1, "max_overflow": 0}
"""The temporary table lives in one session; GX must work in that one."""


MAX_INDEXED = 50
"""Results that the index shows; it reads each of them, 3 ms, whenever a page is added."""
MAX_KEPT = 1000
"""Results that are kept; with an older one GX takes away its page. A page is about 150 KB."""


@contextmanager
def opened(url: str, docs_dir: Path | None) -> Iterator[tuple[EphemeralDataContext, PostgresDatasource]]:
    """This process's context with a data source on one connection, which is closed at the end.

    Raises GateCutOff when no connection comes about, or when something fails and the connection is another by then.
    """
    gx = context(docs_dir)
    try:
        source = gx.data_sources.add_or_update_postgres(_source(url))
        # GX probes assets over one engine and validates over another; a temporary table is seen by one session only.
        source.get_engine().dispose()
        source._engine = source.get_execution_engine().engine
        session = _session(source._engine)
    except Exception as error:  # GX wraps what the driver says in several classes of its own
        raise GateCutOff(f"the database cannot be reached for validation: {type(error).__name__}") from error
    try:
        yield gx, source
    except Exception as error:  # what a lost session makes of a check depends on where in GX it was lost
        if not _is_still(session, source._engine):
            raise GateCutOff(f"the database went away in the middle of a validation: {type(error).__name__}") from error
        raise
    finally:
        source.get_execution_engine().close()
        gx.data_sources.delete(SOURCE)


def _session(engine: sa.Engine) -> object:
    """What tells one session from another."""
    with engine.connect() as connection:
        return tuple(connection.execute(sa.text("SELECT pg_backend_pid(), pg_postmaster_start_time()")).one())


def _is_still(session: object, engine: sa.Engine) -> bool:
    try:
        return _session(engine) == session
    except sa.exc.DBAPIError:
        return False


def build_page(gx: EphemeralDataContext, result: ExpectationSuiteValidationResult, about: Mapping[str, object]) -> Path:
    """Write the page of one result and the index, and say where the page is.

    `about` is shown at the page's head (GX escapes it).
    """
    from great_expectations.data_context.types.resource_identifiers import ValidationResultIdentifier

    store = gx.validation_results_store
    stored = [k for k in store.list_keys() if isinstance(k, ValidationResultIdentifier)]
    stored.sort(key=lambda k: str(k.run_id.run_time))
    for old in stored[:-MAX_KEPT]:
        store.remove_key(old)  # type: ignore[no-untyped-call]
    (key,) = (k for k in stored if k.run_id.run_time == result.meta["run_id"].run_time)
    spec: Any = {
        **{k: str(v) for k, v in about.items()},
        "data_asset_name": result.meta["batch_spec"]["data_asset_name"],
    }
    result.meta["batch_spec"] = spec
    store.set(key, result)
    gx.build_data_docs(site_names=[SITE], resource_identifiers=[key])
    (site,) = gx.get_docs_sites_urls(resource_identifier=key, site_name=SITE)
    page = Path(unquote(urlsplit(str(site["site_url"])).path))
    # GX escapes markup; what turns the direction of text around, or cannot be seen, goes through a browser as it is
    page.write_text(shown_page(page.read_text(encoding="utf-8")), encoding="utf-8")
    return page


def path_safe(name: str) -> str:
    """A name that may be part of a file's path: letters, digits, spaces and a few signs; at most 80 characters."""
    return re.sub(r"[^\w ,#()-]+", "-", name).strip(" -")[:80] or "unnamed"


def _source(url: str) -> PostgresDatasource:
    from great_expectations.datasource.fluent.postgres_datasource import PostgresDatasource

    return PostgresDatasource(name=SOURCE, connection_string=_for_gx(url), kwargs=dict(ONE_CONNECTION))


def context(docs_dir: Path | None) -> EphemeralDataContext:
    """This process's context for a folder of documents, made the current one: GX stores results in the current one."""
    made = _made(docs_dir)
    from great_expectations.data_context.data_context.context_factory import set_context

    set_context(made)
    return made


@cache
def preload() -> None:
    """Imports Great Expectations now, which takes seconds, rather than at the first batch; what is alive then is left
    out of every later collection of cycles: 350,000 objects, of which a full one took 0.2 to 0.5 s."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations  # noqa: F401

    gc.collect()
    gc.freeze()


@cache
def _made(docs_dir: Path | None) -> EphemeralDataContext:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        preload()
        import great_expectations
        from great_expectations.data_context.types.base import (
            DataContextConfig,
            InMemoryStoreBackendDefaults,
            ProgressBarsConfig,
        )
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
        analytics_enabled=False,
    )
    config.data_docs_sites = {}
    if docs_dir:
        config.data_docs_sites = {SITE: _site(docs_dir)}
        results: dict[str, Any] = config.stores[config.validation_results_store_name]
        results["store_backend"] = _files(docs_dir / ".results")
    return great_expectations.get_context(project_config=config, mode="ephemeral")


def _site(docs_dir: Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": _files(docs_dir),
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder", "validation_results_limit": MAX_INDEXED},
    }


def _files(folder: Path) -> dict[str, Any]:
    return {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder.absolute())}


def _for_gx(url: str) -> str:
    """The URL as GX takes it: with a host even where a socket's folder is given, and `$` not read as a variable."""
    parts = sa.make_url(url)
    if not parts.host:
        parts = parts.set(host="localhost")  # the `host` parameter, a socket's folder, comes before it
    return parts.render_as_string(hide_password=False).replace("$", r"\$")
