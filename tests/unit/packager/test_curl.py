"""Does the printed curl line carry what the endpoint takes?"""

import base64
import shlex
from pathlib import Path
from typing import Any

from glowplug import endpoint
from glowplug.endpoints import DeclaredEndpoint
from glowplug_packager.commands.curl import BYTES_MAX, curl_line

PNG = base64.b64encode(b"\x89PNG").decode()


@endpoint(examples=[{"name": "it's Ada"}])
def greet(name: str) -> str:
    return name


@endpoint
def scale(x: float, times: int, names: list[str]) -> float:
    return x * times


@endpoint(auth="public")
def count(n: int) -> list[int]:
    return list(range(n))


@endpoint(examples=[{"data": PNG}])
def look(data: bytes) -> int:
    return len(data)


@endpoint
def look_bare(data: bytes) -> int:
    return len(data)


@endpoint
def photo(image: bytes, title: str) -> str:
    return title


def words(one: DeclaredEndpoint[..., Any]) -> list[str]:
    return shlex.split(line(one))


def line(one: DeclaredEndpoint[..., Any]) -> str:
    return curl_line("http://127.0.0.1:1", "gp_1", one.declare("hello"), str(Path("app.py")))


def test_the_first_example_is_sent_whatever_quotes_it_has() -> None:
    assert words(greet)[-1] == '{"name": "it\'s Ada"}'
    assert "authorization: Bearer gp_1" in words(greet)


def test_without_an_example_the_values_fit_the_types() -> None:
    assert words(scale)[-1] == '{"x": 1, "times": 1, "names": ["text"]}'


def test_a_public_endpoint_is_called_without_the_key() -> None:
    assert "gp_1" not in line(count)


def test_an_example_of_bytes_is_decoded_on_the_way() -> None:
    assert line(look).startswith(f"echo {PNG} | base64 -d | curl")
    assert words(look)[-1] == "@-"


def test_bytes_without_an_example_or_with_a_long_one_come_from_the_file() -> None:
    long = base64.b64encode(b"x" * BYTES_MAX).decode()

    assert words(look_bare)[-2:] == ["--data-binary", "@app.py"]
    assert words(endpoint(examples=[{"data": long}])(look.target))[-1] == "@app.py"


def test_a_file_among_other_arguments_goes_as_a_form() -> None:
    assert words(photo)[-4:] == ["-F", "image=@app.py", "-F", "title=text"]
