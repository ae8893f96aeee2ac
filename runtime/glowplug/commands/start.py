"""How does one begin? `init` makes a folder with an endpoint that works as it is."""

import shlex
from pathlib import Path

import click

from glowplug.commands.output import Output, verb
from glowplug.errors import ConfigError
from glowplug.names import app_name_of_file

_APP = '''"""A first endpoint. `glowplug dev app.py` serves it; edit this file and it reloads."""

from glowplug import endpoint


@endpoint(examples=[{"name": "world"}])
def greet(name: str, times: int = 1) -> str:
    """Greet someone."""
    return " ".join([f"Hello, {name}!"] * times)
'''

_TEST = '''"""A plain call is local, so endpoints are tested as the functions they are."""

from app import greet


def test_it_greets_by_name() -> None:
    assert greet("Ada") == "Hello, Ada!"


def test_it_greets_as_often_as_asked() -> None:
    assert greet("Ada", times=2) == "Hello, Ada! Hello, Ada!"
'''

_README = """# {name}

```
glowplug dev app.py       serve it here; reloads when you save
pytest                    test it as plain Python
glowplug up --detach      start a router on this machine
glowplug deploy app.py    put it into service; prints a curl line that works as pasted
glowplug call {name}/greet -i name=Ada
```
"""

_AGENTS = """# For coding agents

- `app.py` holds the endpoints: typed functions or classes under `@endpoint`. The signature is the schema.
- A plain call (`greet("Ada")`) runs locally; `greet.remote("Ada")` calls the deployed endpoint.
- Load models in a class method under `@on.load`; `examples=[...]` are used for warm-up, for docs and to try a deploy.
- Check with `pytest` and `glowplug run app.py::greet -i name=Ada`; every verb has `--json`.
"""

_IGNORE = """__pycache__/
.venv/
.pytest_cache/
"""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@verb
def init(out: Output, folder: Path) -> None:
    """Make FOLDER with a first endpoint, its test and a README."""
    name = app_name_of_file(folder / "app.py")  # refuses what no app can be called
    if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
        raise ConfigError(
            f"{folder} is there already and not empty",
            hint="choose another name: `glowplug init hello2`",
        )
    files = {
        "app.py": _APP,
        "test_app.py": _TEST,
        "README.md": _README.format(name=name),
        "AGENTS.md": _AGENTS,
        ".gitignore": _IGNORE,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (folder / file).write_text(text)
    except OSError as error:
        raise ConfigError(
            f"cannot write {folder}: {error.strerror}", hint="choose a folder you may write to"
        ) from error
    out.say(f"made {folder}/ with {', '.join(files)}")
    out.say(f"next: cd {shlex.quote(str(folder))} && glowplug dev app.py")
    out.result({"folder": str(folder), "files": list(files), "app": name})
