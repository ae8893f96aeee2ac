"""What must be installed around an endpoint's code?"""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from glowplug.errors import DefinitionError
from glowplug.hooks import UnknownNameError
from glowplug.spec import ImageSpec
from glowplug.suggest import near

_BUILDERS = ("python", "pip", "env")
_LATER = frozenset(
    "apt build conda copy cuda from_dockerfile from_ecr from_registry imports run uv uv_sync weights workdir".split()
)
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[|[<>=!~;@ ]|$)", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class _Builders(type):
    """Answers `Image.conda(…)` on the class as clearly as on an instance."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):  # dataclass, copy and inspect ask for these; they want a plain no
            raise AttributeError(name)
        raise _unknown(name)


@dataclass(frozen=True, slots=True)
class Image(metaclass=_Builders):
    """An environment, built step by step; every step returns a new image: `Image.python("3.11").pip("numpy>=2")`."""

    spec: ImageSpec = field(default_factory=ImageSpec)

    @staticmethod
    def python(version: str = "") -> "Image":
        """Start from this interpreter's Python; another version is refused, because it could not be tried here."""
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        if version and version != here:
            raise DefinitionError(
                f"the image asks for Python {version!r}, this is Python {here}",
                hint=f'write Image.python("{here}"), or deploy from an environment with Python {version}',
            )
        return Image(ImageSpec(python=version))

    def pip(
        self,
        *requirements: str,
        overrides: Sequence[str] = (),
        metadata: Mapping[str, Sequence[str]] | None = None,
    ) -> "Image":
        """Add packages.

        Args:
            requirements: lines as in requirements.txt: "torch==2.13.0".
            overrides: lines that win over what the packages themselves ask for.
            metadata: for a package that declares more than it needs, the needs to use instead: {"package": ["numpy"]}.
        """
        named = {name: tuple(_requirements(needs)) for name, needs in (metadata or {}).items()}
        spec = replace(
            self.spec,
            requirements=(*self.spec.requirements, *_requirements(requirements)),
            overrides=(*self.spec.overrides, *_requirements(overrides)),
            metadata=tuple(sorted({**dict(self.spec.metadata), **named}.items())),
        )
        return Image(spec)

    def env(self, **variables: str) -> "Image":
        """Set environment variables for everything that runs in the image."""
        merged = {**dict(self.spec.env), **dict(environment_pairs(variables, "Image.env"))}
        return Image(replace(self.spec, env=tuple(sorted(merged.items()))))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # dataclass, copy and inspect ask for these; they want a plain no
            raise AttributeError(name)
        raise _unknown(name)


def environment_pairs(variables: Mapping[str, str], what: str) -> tuple[tuple[str, str], ...]:
    """Return variables in a fixed order, or refuse what no environment can hold."""
    for name, value in variables.items():
        if (
            not isinstance(name, str)
            or not _VARIABLE.fullmatch(name)
            or name.startswith("GLOWPLUG_")
        ):
            raise DefinitionError(
                f"{what}: {name!r} cannot name a variable here",
                hint="use letters, digits and _; GLOWPLUG_… is ours",
            )
        if not isinstance(value, str) or "\0" in value:
            raise DefinitionError(
                f"{what}: the value of {name} is {value!r}, not text",
                hint=f'write {name}="{value}"',
            )
    return tuple(sorted(variables.items()))


def _requirements(lines: Sequence[str]) -> Sequence[str]:
    if isinstance(lines, str):
        raise DefinitionError(
            f"{lines!r} is one string where a list belongs", hint=f'write ["{lines}"]'
        )
    for line in lines:
        if not isinstance(line, str) or not _REQUIREMENT.match(line.strip()) or "\n" in line:
            raise DefinitionError(
                f"{line!r} is not a requirement",
                hint='one string a package: .pip("numpy>=2", "torch==2.13.0"); no options such as -r',
            )
    return lines


def _unknown(name: str) -> UnknownNameError:
    exists = "there is `Image.python(version)`, `.pip(*requirements)` and `.env(NAME=value)`"
    if name in _LATER:
        return UnknownNameError(f"`Image.{name}` is not there yet", hint=exists)
    meant = near(name, _BUILDERS)
    return UnknownNameError(
        f"there is no `Image.{name}`", hint=f"did you mean `{meant[0]}`?" if meant else exists
    )
