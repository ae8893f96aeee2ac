"""How can packages be resolved without an index? With a folder of wheels that hold nothing but their metadata."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

from glowplug_packager.lock import Resolver, resolver_here


def make_wheel(folder: Path, name: str, version: str, requires: Sequence[str] = ()) -> None:
    """Write an installable wheel of a package with one empty module."""
    folder.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    files = {
        f"{module}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in files) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in (files | {f"{info}/RECORD": record}).items():
            wheel.writestr(zipfile.ZipInfo(path), text)


def offline_resolver(folder: Path) -> Resolver:
    """Return a resolver that knows what a rank needs and three packages more, and asks no index."""
    wheels = folder / "wheels"
    for name, version in (
        ("anyio", "4.16.0"),
        ("msgspec", "0.20.0"),
        ("pydantic", "2.14.0"),
        ("uvloop", "0.22.0"),
    ):
        make_wheel(wheels, name, version)
    make_wheel(wheels, "greedy", "1.0", requires=["enormous>=2"])
    make_wheel(wheels, "modest", "1.0")
    make_wheel(wheels, "modest", "2.0")
    here = resolver_here(folder / "locks")
    return Resolver(
        folder=folder / "locks",
        uv=here.uv,
        arguments=("--no-index", f"--find-links={wheels}"),
        variables={"UV_CACHE_DIR": str(folder / "uv-cache")},
        platform=here.platform,
    )
