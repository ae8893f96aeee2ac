"""Is exactly what belongs to an app shipped?"""

import os
from pathlib import Path

import pytest

from glowplug.errors import BuildError
from glowplug_packager.sources import FILES_MAX, TOTAL_BYTES_MAX, collect, find_root


def lay_out(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


def paths(root: Path) -> list[str]:
    return [one.path for one in collect(root).files]


def test_everything_below_the_root_goes_along_sorted(tmp_path: Path) -> None:
    lay_out(tmp_path, "b.py", "a.py", "data/words.txt", "pkg/__init__.py")

    assert paths(tmp_path) == ["a.py", "b.py", "data/words.txt", "pkg/__init__.py"]


def test_caches_environments_and_histories_stay_behind(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        "app.py",
        "__pycache__/app.cpython-311.pyc",
        "pkg/old.pyc",
        ".git/HEAD",
        ".venv/x.py",
        "env-of-mine/pyvenv.cfg",
        "env-of-mine/lib/x.py",
        "node_modules/x.js",
        ".mypy_cache/x",
        "dist/app.whl",
        ".glowplug/router/router.db",
    )

    assert paths(tmp_path) == ["app.py"]


def test_gitignore_leaves_out_and_glowplugignore_has_the_last_word(tmp_path: Path) -> None:
    lay_out(tmp_path, "app.py", "notes.log", "weights.bin", "sub/keep.log", "sub/drop.txt")
    (tmp_path / ".gitignore").write_text("*.log\n*.bin\n")
    (tmp_path / "sub/.gitignore").write_text("drop.txt\n!keep.log\n")
    (tmp_path / ".glowplugignore").write_text("!weights.bin\n.*ignore\n")

    assert paths(tmp_path) == ["app.py", "sub/keep.log", "weights.bin"]


def test_a_folder_that_is_usually_unwanted_can_be_brought_back(tmp_path: Path) -> None:
    lay_out(tmp_path, "app.py", "dist/model.onnx")
    (tmp_path / ".glowplugignore").write_text("!dist/\n/.glowplugignore\n")

    assert paths(tmp_path) == ["app.py", "dist/model.onnx"]


@pytest.mark.parametrize(
    "name", [".env", ".env.production", "id_rsa", "deploy/id_ed25519", "tls.key", ".netrc"]
)
def test_what_looks_like_a_secret_stays_behind_and_is_said(tmp_path: Path, name: str) -> None:
    lay_out(tmp_path, "app.py", name)

    sources = collect(tmp_path)

    assert [one.path for one in sources.files] == ["app.py"]
    assert name in sources.warnings[0]
    assert "glowplug secrets set" in sources.warnings[0]


def test_no_pattern_brings_a_secret_back(tmp_path: Path) -> None:
    lay_out(tmp_path, "app.py", ".env", ".git/config")
    (tmp_path / ".glowplugignore").write_text("!.env\n!.git/\n/.glowplugignore\n")

    assert paths(tmp_path) == ["app.py"]


def test_a_pem_file_goes_along_unless_it_holds_a_private_key(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    (tmp_path / "server.pem").write_text(
        "-----BEGIN CERTIFICATE-----\n-----BEGIN RSA PRIVATE KEY-----\n"
    )

    sources = collect(tmp_path)

    assert [one.path for one in sources.files] == ["ca.pem"]
    assert "server.pem: it holds a private key" in sources.warnings[0]


def test_examples_of_env_files_and_public_keys_are_harmless(tmp_path: Path) -> None:
    lay_out(tmp_path, ".env.example", "id_rsa.pub")

    assert paths(tmp_path) == [".env.example", "id_rsa.pub"]


def test_links_inside_the_project_are_followed(tmp_path: Path) -> None:
    lay_out(tmp_path, "data/a.txt")
    (tmp_path / "alias.txt").symlink_to("data/a.txt")
    (tmp_path / "more").symlink_to("data")

    assert paths(tmp_path) == ["alias.txt", "data/a.txt", "more/a.txt"]


def test_a_link_that_leads_out_is_refused_unless_it_is_left_out(tmp_path: Path) -> None:
    root = tmp_path / "project"
    lay_out(root, "app.py")
    lay_out(tmp_path, "outside.txt")
    (root / "link.txt").symlink_to(tmp_path / "outside.txt")

    with pytest.raises(BuildError, match=r"link\.txt is a link that leads out of the project"):
        collect(root)

    (root / ".glowplugignore").write_text("link.txt\n.glowplugignore\n")
    assert paths(root) == ["app.py"]


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    lay_out(tmp_path, "app.py")
    (tmp_path / "again").symlink_to(".")

    with pytest.raises(BuildError, match="links form a loop"):
        collect(tmp_path)


def test_a_broken_link_and_a_socket_are_no_files(tmp_path: Path) -> None:
    lay_out(tmp_path, "app.py")
    (tmp_path / "broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")

    assert paths(tmp_path) == ["app.py"]


def test_the_largest_files_are_named_when_it_is_too_much(tmp_path: Path) -> None:
    lay_out(tmp_path, "app.py")
    with (tmp_path / "weights.bin").open("wb") as file:
        file.truncate(TOTAL_BYTES_MAX)

    with pytest.raises(BuildError, match=r"64\.0 MiB; the largest: weights\.bin \(64\.0 MiB\)"):
        collect(tmp_path)

    (tmp_path / "app.py").unlink()
    assert paths(tmp_path) == ["weights.bin"]  # exactly the limit


def test_the_fullest_folder_is_named_when_there_are_too_many_files(tmp_path: Path) -> None:
    crowd = tmp_path / "crowd"
    crowd.mkdir()
    for number in range(FILES_MAX):
        (crowd / str(number)).touch()
    assert len(paths(tmp_path)) == FILES_MAX

    lay_out(tmp_path, "zz.py")
    with pytest.raises(BuildError, match=r"more than 10,000 files; most are in crowd/ \(10,000\)"):
        collect(tmp_path)


def test_the_executable_bit_is_the_only_mode_that_counts(tmp_path: Path) -> None:
    lay_out(tmp_path, "run.sh", "plain.txt")
    (tmp_path / "run.sh").chmod(0o700)
    (tmp_path / "plain.txt").chmod(0o600)

    assert [one.executable for one in collect(tmp_path).files] == [False, True]


def test_a_files_root_is_its_folder(tmp_path: Path) -> None:
    lay_out(tmp_path, "pyproject.toml", "apps/app.py")

    assert find_root(tmp_path / "apps/app.py") == tmp_path / "apps"


@pytest.mark.parametrize("layout", ["", "src/"])
def test_the_root_of_a_package_is_what_holds_it(tmp_path: Path, layout: str) -> None:
    lay_out(
        tmp_path,
        "pyproject.toml",
        f"{layout}pkg/__init__.py",
        f"{layout}pkg/sub/__init__.py",
        f"{layout}pkg/sub/app.py",
    )

    assert find_root(tmp_path / layout / "pkg/sub/app.py") == tmp_path / layout


def test_a_root_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="is not a folder"):
        collect(tmp_path / "nowhere")
