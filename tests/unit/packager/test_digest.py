"""Do equal records have equal digests, and different ones different digests?"""

from dataclasses import fields, replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.artifact import Bundle, Layer
from glowplug.spec import ImageSpec
from glowplug_packager.digest import (
    bundle_digest,
    canonical_json,
    digest_hex,
    digest_of,
    environment_digest,
    lock_key,
)

CODE = Layer(kind="code", digest="sha256:" + "a" * 64, size_bytes=10)
BUNDLE = Bundle(
    app="a", layers=(CODE,), env_digest="sha256:" + "b" * 64, python="3.11", env=(("A", "1"),)
)
IMAGE = ImageSpec(requirements=("numpy",), overrides=("click==8",), metadata=(("greedy", ()),))


def test_keys_are_sorted_and_nothing_is_put_between() -> None:
    assert canonical_json({"b": [1, "é"], "a": None}) == '{"a":null,"b":[1,"é"]}'.encode()


def test_a_digest_is_known_in_advance() -> None:
    # sha256 of "{}", so that a change of the text format is noticed
    assert (
        digest_of({}) == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    )


@given(st.dictionaries(st.text(), st.integers()))
def test_the_order_in_which_a_dict_was_made_makes_no_difference(given: dict[str, int]) -> None:
    assert digest_of(given) == digest_of(dict(reversed(given.items())))


def test_a_bundle_read_back_from_json_has_the_same_digest() -> None:
    again = msgspec.json.decode(msgspec.json.encode(BUNDLE), type=Bundle)

    assert bundle_digest(again) == bundle_digest(BUNDLE)


OTHER: dict[str, Any] = {
    "app": "b",
    "layers": (),
    "env_digest": "",
    "python": "3.12",
    "env": (),
    "source_path": "/x",
    "schema": 2,
}


@pytest.mark.parametrize("field", [one.name for one in fields(Bundle)])
def test_every_field_of_a_bundle_counts(field: str) -> None:
    assert bundle_digest(replace(BUNDLE, **{field: OTHER[field]})) != bundle_digest(BUNDLE)


@pytest.mark.parametrize(
    "other",
    [
        ("sha256:2", "3.11", "linux-x86_64"),
        ("sha256:1", "3.12", "linux-x86_64"),
        ("sha256:1", "3.11", "linux-aarch64"),
    ],
)
def test_an_environment_is_of_one_lock_one_python_and_one_platform(
    other: tuple[str, str, str],
) -> None:
    assert environment_digest(*other) != environment_digest("sha256:1", "3.11", "linux-x86_64")


@pytest.mark.parametrize(
    "other",
    [
        replace(IMAGE, requirements=("numpy>2",)),
        replace(IMAGE, overrides=()),
        replace(IMAGE, metadata=()),
    ],
)
def test_whatever_changes_a_resolution_changes_its_key(other: ImageSpec) -> None:
    assert lock_key(other, "3.11", "linux-x86_64", []) != lock_key(
        IMAGE, "3.11", "linux-x86_64", []
    )


def test_variables_of_an_image_do_not_need_another_resolution() -> None:
    other = replace(IMAGE, env=(("A", "1"),), python="3.11")

    assert lock_key(other, "3.11", "linux-x86_64", []) == lock_key(
        IMAGE, "3.11", "linux-x86_64", []
    )


def test_only_a_sha256_digest_can_name_a_file() -> None:
    assert digest_hex("sha256:" + "a" * 64) == "a" * 64
    with pytest.raises(AssertionError):
        digest_hex("sha256:../../etc/passwd")
