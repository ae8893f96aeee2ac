"""Is uv told what pip knows?"""

from pathlib import Path

import pytest

from glowplug.pip_config import find_uv, pip_files, pip_options, uv_arguments


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_nothing_configured_means_nothing_is_passed_on() -> None:
    assert uv_arguments({}, ()) == ([], {})


def test_every_extra_index_and_every_folder_is_passed_on_by_itself(tmp_path: Path) -> None:
    conf = written(
        tmp_path / "pip.conf",
        "[global]\nextra-index-url = file:///a/simple\n  https://b/simple\nfind-links = /w1 /w2\n",
    )

    arguments, variables = uv_arguments({}, (conf,))

    assert arguments == [
        *("--index", "file:///a/simple"),
        *("--index", "https://b/simple"),
        *("--find-links", "/w1"),
        *("--find-links", "/w2"),
        *("--index-strategy", "unsafe-best-match"),
    ]
    assert variables == {}


def test_an_index_that_replaces_pypi_becomes_the_default_index() -> None:
    assert uv_arguments({"PIP_INDEX_URL": "https://inside/simple"}, ()) == (
        ["--default-index", "https://inside/simple"],
        {},
    )


def test_uv_s_own_variables_win() -> None:
    env = {
        "PIP_INDEX_URL": "https://inside/simple",
        "UV_DEFAULT_INDEX": "https://other/simple",
        "PIP_CERT": "/mine.pem",
        "SSL_CERT_FILE": "/theirs.pem",
    }

    assert uv_arguments(env, ()) == ([], {})


def test_certificate_proxy_and_timeout_become_variables() -> None:
    env = {"PIP_CERT": "/c.pem", "PIP_PROXY": "http://p:1", "PIP_DEFAULT_TIMEOUT": "180"}

    assert uv_arguments(env, ()) == (
        [],
        {"SSL_CERT_FILE": "/c.pem", "ALL_PROXY": "http://p:1", "UV_HTTP_TIMEOUT": "180"},
    )


def test_the_environment_replaces_what_a_file_says(tmp_path: Path) -> None:
    conf = written(tmp_path / "pip.conf", "[global]\nfind-links = /from-file\n")

    assert uv_arguments({"PIP_FIND_LINKS": "/from-env"}, (conf,))[0] == [
        "--find-links",
        "/from-env",
    ]


def test_a_later_file_and_the_install_section_win(tmp_path: Path) -> None:
    weak = written(tmp_path / "weak", "[install]\nindex-url = https://weak\n[global]\ncert = /c\n")
    strong = written(
        tmp_path / "strong", "[install]\nindex_url = https://s\n[global]\nindex-url = https://g\n"
    )

    assert pip_options({}, (weak, strong)) == {"index-url": "https://s", "cert": "/c"}


@pytest.mark.parametrize("content", [b"no section = x\n", b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_passed_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pip.conf").write_bytes(content)

    assert pip_options({}, (tmp_path / "pip.conf", tmp_path / "absent")) == {}


def test_a_host_without_certificate_and_no_index_are_passed_on() -> None:
    env = {"PIP_TRUSTED_HOST": "a b", "PIP_NO_INDEX": "1"}

    assert uv_arguments(env, ())[0] == [
        *("--allow-insecure-host", "a"),
        *("--allow-insecure-host", "b"),
        "--no-index",
    ]


def test_the_named_file_is_the_strongest_and_devnull_turns_files_off() -> None:
    assert pip_files({"HOME": "/h", "PIP_CONFIG_FILE": "/mine"})[-1] == Path("/mine")
    assert Path("/h/.config/pip/pip.conf") in pip_files({"HOME": "/h"})
    assert Path("/x/pip/pip.conf") in pip_files({"HOME": "/h", "XDG_CONFIG_HOME": "/x"})
    assert pip_files({"HOME": "/h", "PIP_CONFIG_FILE": "/dev/null"}) == ()


def test_uv_is_found() -> None:
    assert Path(find_uv()).is_file()
