"""Is a user's file read as it will run, also on a machine without its libraries?"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from glowplug.spec import EndpointDecl

HELLO = "from glowplug import endpoint\n@endpoint\ndef hello(x: int) -> int:\n    return x\n"


def look(root: Path, file: str = "app.py", **files: str) -> dict[str, Any]:
    """Write files and discover one of them as the command line does: in a child process."""
    for name, text in files.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    command = [
        sys.executable,
        "-P",
        "-m",
        "glowplug.discovery",
        str(root / file),
        "--root",
        str(root),
    ]
    search = ":".join(one for one in sys.path if one.endswith("runtime"))
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=root, env={"PYTHONPATH": search}
    )
    line: dict[str, Any] = (
        json.loads(done.stdout.splitlines()[-1]) if done.stdout else {"crash": done.stderr}
    )
    return line


def names(found: dict[str, Any]) -> list[str]:
    return [
        f"{one['spec']['app']}/{one['spec']['name']} {one['spec']['target']}"
        for one in found["declarations"]
    ]


def test_the_endpoints_of_a_file_are_found_in_order(tmp_path: Path) -> None:
    found = look(
        tmp_path,
        "vision.py",
        vision="print('noise')\n"
        + HELLO
        + "@endpoint(app='other')\nclass Tag:\n  def __call__(self) -> str: ...\n",
    )

    assert names(found) == ["vision/hello vision:hello", "other/tag vision:Tag"]


def test_the_answer_is_the_records_of_the_contract(tmp_path: Path) -> None:
    found = look(tmp_path, app=HELLO)
    declarations = msgspec.convert(found["declarations"], tuple[EndpointDecl, ...])

    assert declarations[0].spec.schema.response == {"type": "integer"}
    assert len(declarations[0].spec.load_key) == 64


def test_an_app_file_is_called_after_its_folder(tmp_path: Path) -> None:
    (tmp_path / "My Shop").mkdir()
    found = look(tmp_path / "My Shop", app=HELLO)

    assert names(found) == ["my-shop/hello app:hello"]


def test_a_file_in_a_folder_is_imported_by_its_dotted_name(tmp_path: Path) -> None:
    assert names(look(tmp_path, "pkg/vision.py", pkg__vision=HELLO)) == [
        "vision/hello pkg.vision:hello"
    ]


def test_endpoints_of_other_files_belong_to_the_app_that_imports_them(tmp_path: Path) -> None:
    found = look(
        tmp_path, "shop.py", parts=HELLO,
        foreign=HELLO.replace("@endpoint", "@endpoint(app='theirs')").replace("hello", "hi"),
        shop="from parts import hello\nfrom foreign import hi\nfrom glowplug import endpoint\n"
        "@endpoint\ndef both(x: int) -> int: ...\nagain = hello\n",
    )  # fmt: skip

    assert sorted(names(found)) == ["shop/both shop:both", "shop/hello parts:hello"]


def test_an_endpoint_that_is_bound_to_another_name_is_found_there(tmp_path: Path) -> None:
    text = "from glowplug import endpoint\ndef f(x: int) -> int: ...\ng = endpoint(f)\n"

    assert names(look(tmp_path, "x.py", x=text)) == ["x/f x:g"]


def test_libraries_that_are_missing_here_are_stood_in_for(tmp_path: Path) -> None:
    text = (
        "import notorch\nimport notorch.nn.functional as F\nfrom nonumpy import array, float32\n"
        "from glowplug import endpoint, on\n"
        "DEVICE = 'cuda' if notorch.cuda.is_available() else 'cpu'\n"
        "class Net(notorch.nn.Module): ...\n"
        "class Both(notorch.nn.Module, Net, metaclass=type): ...\n"
        "assert float32.__name__ if hasattr(float32, '__name__') else True\n"
        "x = notorch.zeros(3) + 1\n"
        "@endpoint\n@notorch.no_grad()\ndef f(x: int) -> str:\n  return DEVICE\n"
        "@endpoint\n@notorch.inference_mode\ndef g(x: int) -> int: ...\n"
    )
    found = look(tmp_path, "model.py", model=text)

    assert found["missing"] == ["nonumpy", "notorch"], found
    assert names(found) == ["model/f model:f", "model/g model:g"]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("import nonumpy as np\nfrom glowplug import endpoint\n@endpoint\ndef f(x: list[np.ndarray]) -> int: ...\n",
         "app.py:3: the parameter `x` of `f` is a `nonumpy.ndarray`", "bytes"),
        ("def f(:\n", "app.py:1: invalid syntax", "syntax"),
        ("x = 1\ny = 1 / 0\n", "app.py:2: ZeroDivisionError", "@on.load"),
        ("from glowplug import endpoint\n@endpoint(gpu='A10X')\ndef f() -> int: ...\n", "app.py:2: gpu='A10X'", "A10"),
        ("import helperz\n", "No module named 'helperz'", "`helpers`"),
        ("import helpers.nope\n", "No module named 'helpers.nope'", "helpers"),
        ("from helpers import nope\n", "cannot import name 'nope'", "importable"),
        ("import sys\nsys.exit(3)\n", "app.py:2: the file ends the program", "__main__"),
        ("x = 1\n", "declares no endpoint", "def double"),
        (HELLO + "@endpoint(name='hello')\ndef other() -> int: ...\n", "two endpoints of app.py", "name="),
        (HELLO.replace("int)", "'Nope')"), "mentions `Nope`", "TYPE_CHECKING"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_says_where_and_what_next(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    found = look(tmp_path, app=text, helpers="x = 1\n")

    assert not found["ok"]
    assert message in found["error"]["message"]
    assert hint in found["error"]["hint"]
    assert "glowplug/" not in found["error"]["traceback"]


def test_a_library_that_looks_for_a_missing_one_goes_on_not_finding_it(tmp_path: Path) -> None:
    library = "try:\n  import nothere\n  FOUND = True\nexcept ImportError:\n  FOUND = False\n"
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "lib.py").write_text(library)
    text = (
        f"import sys\nsys.path.append({str(tmp_path / 'site-packages')!r})\nimport lib\nassert not lib.FOUND\n"
        + HELLO
    )

    assert look(tmp_path, app=text)["ok"]


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("gone.py", "is not a file"),
        ("my-app.py", "cannot be imported"),
        ("json.py", "instead of json.py"),
        ("a.txt", "not a Python file"),
    ],
)
def test_a_file_that_cannot_be_imported_by_name_says_why(
    tmp_path: Path, file: str, message: str
) -> None:
    if file != "gone.py":
        (tmp_path / file).write_text(HELLO)
    found = look(tmp_path, file)

    assert message in found["error"]["message"]


def test_what_a_generated_frame_refuses_is_told_with_the_users_line(tmp_path: Path) -> None:
    scale = "from glowplug import Scale, endpoint\n\n@endpoint(scale=Scale(min=3, max=1))\ndef f(x: int) -> int: ...\n"

    error = look(tmp_path, app=scale)["error"]

    assert error["message"].startswith("app.py:3: scale.min=3 is more than scale.max=1")
    assert error["traceback"] == ""


def test_what_is_wrong_with_a_signature_is_told_once_with_its_line(tmp_path: Path) -> None:
    text = "from glowplug import endpoint\n\n@endpoint\ndef f(x: 'Missing') -> int: ...\n"

    error = look(tmp_path, app=text)["error"]

    assert error["message"].startswith("app.py:3: the signature of `f` mentions `Missing`")
    assert error["hint"] not in error["message"]
    assert error["traceback"] == ""


def test_a_folder_no_address_can_spell_needs_an_app_of_its_own(tmp_path: Path) -> None:
    for folder, meant in (("größe", "grosse"), ("2fast", "fast")):
        root = tmp_path / folder
        root.mkdir()
        named = HELLO.replace("@endpoint", "@endpoint(app='mine')")

        assert f'@endpoint(app="{meant}")' in look(root, app=HELLO)["error"]["hint"]
        assert names(look(root, app=named)) == ["mine/hello app:hello"]
