"""Does a user's file become the same release each time, and a changed one a different release?"""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from glowplug.errors import BuildError, DefinitionError
from glowplug.settings import Home
from glowplug_packager.builders.local import local_builder
from glowplug_packager.digest import bundle_digest
from glowplug_packager.ports import Prepared
from glowplug_packager.release import prepare
from glowplug_packager.source_control import git_revision
from sample_wheels import offline_resolver

APP = """
from glowplug import Image, endpoint

@endpoint
def greet(name: str) -> str:
    return f"Hello, {name}!"

@endpoint(image=Image.python().pip("modest"))
def count(text: str) -> int:
    return len(text)
"""


def project(root: Path, text: str = APP) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "app.py").write_text(text)
    return root / "app.py"


def prepared(tmp_path: Path, file: Path, **options: object) -> Prepared:
    home = Home(tmp_path / "home")
    builder = replace(local_builder(home), resolver=offline_resolver(tmp_path))
    return prepare(file, home=home, builder=builder, **options)  # type: ignore[arg-type]  # passed on as given


def test_a_release_names_endpoints_bundles_and_layers(tmp_path: Path) -> None:
    given = prepared(tmp_path, project(tmp_path / "shop"), message="first")

    release = given.release
    bundles = dict(release.bundles)
    by_name = {declaration.spec.name: bundles[digest] for declaration, digest in release.endpoints}
    assert (release.app, release.message) == ("shop", "first")
    assert [layer.kind for layer in by_name["greet"].layers] == ["code", "runtime"]
    assert [layer.kind for layer in by_name["count"].layers] == ["code", "runtime", "lock"]
    assert by_name["greet"].env_digest == ""
    assert by_name["count"].env_digest.startswith("sha256:")
    assert all(bundle_digest(bundle) == digest for digest, bundle in release.bundles)
    assert all(
        given.layers[layer.digest].stat().st_size == layer.size_bytes
        for one in bundles.values()
        for layer in one.layers
    )


def test_the_same_tree_in_another_folder_of_that_name_is_the_same_release(tmp_path: Path) -> None:
    one = prepared(tmp_path, project(tmp_path / "x/shop"))
    other = prepared(tmp_path, project(tmp_path / "y/shop"))

    assert one.release == other.release
    assert one.root != other.root


def test_an_edit_changes_the_code_layer_alone(tmp_path: Path) -> None:
    before = prepared(tmp_path, project(tmp_path / "shop"))
    after = prepared(tmp_path, project(tmp_path / "shop", APP.replace("Hello", "Good day")))

    new = set(after.layers) - set(before.layers)
    assert len(new) == 1
    bundle = after.release.bundles[0][1]
    code = bundle.layer("code")
    assert code is not None
    assert new == {code.digest}


def test_dev_runs_the_files_where_they_are_and_still_knows_them_apart(tmp_path: Path) -> None:
    file = project(tmp_path / "shop")
    one = prepared(tmp_path, file, dev=True)
    project(tmp_path / "shop", APP.replace("Hello", "Good day"))
    other = prepared(tmp_path, file, dev=True)

    assert {bundle.source_path for _, bundle in one.release.bundles} == {str(tmp_path / "shop")}
    assert one.release != other.release


def test_a_package_is_imported_under_its_full_name(tmp_path: Path) -> None:
    package = tmp_path / "src/shop"
    file = project(package, "from shop.words import HELLO\n" + APP)
    (package / "__init__.py").touch()
    (package / "words.py").write_text("HELLO = 'hello'\n")

    release = prepared(tmp_path, file).release

    assert {declaration.spec.target for declaration, _ in release.endpoints} == {
        "shop.app:greet",
        "shop.app:count",
    }


def test_an_error_in_the_file_comes_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"app\.py:2"):
        prepared(tmp_path, project(tmp_path / "shop", "\n1 / 0\n"))


def test_a_file_that_kills_its_interpreter_is_said(tmp_path: Path) -> None:
    file = project(
        tmp_path / "shop",
        "import os, sys\nsys.stderr.write('farewell')\nsys.stderr.flush()\nos._exit(3)\n",
    )

    with pytest.raises(BuildError, match=r"(?s)exit status 3.*farewell"):
        prepared(tmp_path, file)


def test_what_the_file_prints_when_imported_does_no_harm(tmp_path: Path) -> None:
    given = prepared(tmp_path, project(tmp_path / "shop", "print('{')\n" + APP))

    assert len(given.release.endpoints) == 2


def test_a_module_that_no_image_brings_is_warned_of(tmp_path: Path) -> None:
    given = prepared(tmp_path, project(tmp_path / "shop", "import nowhere_to_be_found\n" + APP))

    assert len(given.warnings) == 1
    assert "nowhere_to_be_found is not installed here, and greet has no image" in given.warnings[0]


def test_a_file_that_is_not_there_or_not_below_the_root_is_refused(tmp_path: Path) -> None:
    file = project(tmp_path / "shop")

    with pytest.raises(BuildError, match="there is no file"):
        prepared(tmp_path, tmp_path / "shop/other.py")
    with pytest.raises(BuildError, match="is not below the root"):
        prepared(tmp_path, file, root=tmp_path / "elsewhere")


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_the_commit_goes_along_and_says_when_files_differ_from_it(tmp_path: Path) -> None:
    file = project(tmp_path / "shop")
    assert git_revision(tmp_path / "shop") == ""

    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "shop")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "x")
    commit = git(tmp_path, "rev-parse", "HEAD").strip()
    (tmp_path / "beside.txt").touch()  # not of this project

    assert prepared(tmp_path, file).release.git_sha == commit
    (tmp_path / "shop/new.py").touch()
    assert git_revision(tmp_path / "shop") == f"{commit}-dirty"
    assert prepared(tmp_path, file, git_sha="given").release.git_sha == "given"


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", folder, *arguments], capture_output=True, text=True, check=True
    ).stdout
