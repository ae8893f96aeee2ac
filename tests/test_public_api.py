"""What do users see of glowplug, and what does importing it cost them?"""

import subprocess
import sys

import glowplug

# A name joins when its feature works, and leaves only with a major version.
PUBLIC = {
    "END",
    "Batch",
    "Context",
    "Endpoint",
    "GlowplugError",
    "Image",
    "Scale",
    "Target",
    "Tensor",
    "Timeouts",
    "Volume",
    "Window",
    "endpoint",
    "on",
}
HEAVY = {
    "apsw",
    "boto3",
    "httpx2",
    "numpy",
    "sqlalchemy",
    "starlette",
    "structlog",
    "torch",
    "uvicorn",
}


def test_the_public_names_are_the_ones_we_promise() -> None:
    assert set(glowplug.__all__) == PUBLIC
    assert len(glowplug.__all__) == len(PUBLIC)
    assert all(hasattr(glowplug, name) for name in PUBLIC)


def test_importing_glowplug_loads_nothing_heavy() -> None:
    assert not loaded_by("import glowplug") & HEAVY


def test_the_check_for_heavy_modules_notices_one() -> None:
    assert loaded_by("import glowplug, starlette") & HEAVY


def test_help_loads_no_server() -> None:
    assert not loaded_by("import glowplug.cli") & HEAVY


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after `statement`."""
    code = f"import sys; sys.path[:0] = {sys.path!r}; {statement}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in run.stdout.split()}
