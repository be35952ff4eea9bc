"""`rag serve`: the service, over collections and folders of documents."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import click

from rag.cli.progress import working

if TYPE_CHECKING:
    from rag.service.service import Service


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]…")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings, in TOML; docs/settings.md lists them. The environment and options come first.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The service's own folder. Default: one for these PATHs in ~/.local/share/ragmeter.",
)
@click.option("--host", help="Address to listen at; any but loopback needs a key. [127.0.0.1]")
@click.option("--port", type=int, help="Port to listen at; 0 takes one that is free. [8000]")
@click.option("--llm", "llm_name", metavar="NAME", help="The language model.")
@click.option("--no-llm", is_flag=True, help="Answer with sentences of the documents; no LLM.")
@click.option("--embedder", "embedder_name", metavar="NAME", help="Embeds new collections.")
@click.option("--read-only", is_flag=True, help="Change no collection; others may meanwhile.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
def serve(
    paths: tuple[Path, ...],
    config: Path | None,
    data: Path | None,
    host: str | None,
    port: int | None,
    llm_name: str | None,
    no_llm: bool,
    embedder_name: str | None,
    read_only: bool,
    open_page: bool,
) -> None:
    """Answer questions over HTTP, with a page to ask them on.

    Each PATH is a collection, or a folder of documents, which is indexed and kept up to date from
    start to start. Without any, the service has the collections that are made through it.

    Ctrl-C stops it: it finishes what it has begun. A second Ctrl-C ends it at once.
    """
    from rag.core.extras import require

    require("fastapi", extra="service", needed_for="rag serve")

    from rag.models.registry import load_embedder, load_llm
    from rag.service.app import create_app
    from rag.service.logs import configure_logs, log
    from rag.service.serving import ServiceServer, bound, check_keys, data_for, held, keep_loaded
    from rag.service.settings import load_settings

    if no_llm and llm_name:
        raise click.UsageError("--llm and --no-llm contradict each other")
    given: dict[str, Any] = {
        "data": data,
        "read_only": read_only or None,
        "server": {"host": host, "port": port},
        "models": {"llm": "" if no_llm else llm_name, "embedder": embedder_name},
    }
    settings = load_settings(config, **_stated(given))
    if "data" not in settings.model_fields_set:
        settings = settings.model_copy(update={"data": data_for(paths)})
    configure_logs(settings.logs)
    with held(settings.data), bound(settings.server) as listener:
        check_keys(settings)
        models = settings.models
        with working(f"loading {' and '.join(filter(None, (models.embedder, models.llm)))}"):
            embedder = load_embedder(models.embedder)
            llm = load_llm(models.llm) if models.llm else None
        app = create_app(settings, embedder, llm, sources=paths)
        url = _url(*listener.getsockname()[:2])

        def started() -> None:
            log.info("started", url=url, collections=len(list(app.state.service.library)))
            _print_start(url, app.state.service)
            if open_page:
                Thread(target=webbrowser.open, args=(url,), daemon=True).start()

        keep_loaded()
        ServiceServer(app, settings, started).run_on(listener)


def _stated(settings: dict[str, Any]) -> dict[str, Any]:
    """Return those settings that were given."""
    return {
        key: _stated(value) if isinstance(value, dict) else value
        for key, value in settings.items()
        if value is not None
    }


def _url(host: str, port: int) -> str:
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def _print_start(url: str, service: Service) -> None:
    """Print where everything is, and what to do next."""
    click.echo(f"Serving at {url}\n")
    llm = service.llm.name if service.llm else "none: answers are sentences of the documents"
    data = service.settings.data
    for name, value in (("data", data), ("embedder", service.embedder.name), ("model", llm)):
        click.echo(f"  {name:12}{value}")
    for shelf in service.library:
        source = f", follows {shelf.folder}" if shelf.folder else ""
        documents = shelf.collection.info().documents
        click.echo(f"  {'collection':12}{shelf.name}: {documents} documents{source}")
    click.echo(
        f"\nOpen {url} to ask and to add documents; programs find the API at {url}/openapi.json.\n"
        f"Who may use it: rag keys create NAME --data {data}\n"
        "Ctrl-C stops it."
    )
