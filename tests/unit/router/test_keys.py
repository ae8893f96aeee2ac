"""Is a key's owner known, and nobody else?"""

from dataclasses import replace

import pytest

from glowplug_router.keys import TOKEN, allows, key_id, make_key, scope_problem, verify
from glowplug_router.records.stored import Key

PEPPER = "ab" * 32
NOW_NS = 1_000


def fresh(expires_wall_ns: int = 0) -> tuple[Key, str]:
    return make_key(
        pepper_hex=PEPPER,
        tenant="me",
        scopes=("read",),
        wall_ns=NOW_NS,
        expires_wall_ns=expires_wall_ns,
    )


def test_a_key_is_recognised_and_its_secret_is_not_in_its_record() -> None:
    key, plain = fresh()
    other, _ = fresh()

    assert verify(plain, (other, key), PEPPER, NOW_NS) is key
    assert TOKEN.fullmatch(plain)
    assert plain.rpartition("_")[2] not in repr(key)


def test_a_key_with_one_character_changed_is_refused() -> None:
    key, plain = fresh()

    for at in range(len(plain)):
        wrong = plain[:at] + ("x" if plain[at] != "x" else "y") + plain[at + 1 :]
        assert verify(wrong, (key,), PEPPER, NOW_NS) is None


@pytest.mark.parametrize("token", ["", "gp_", "Bearer x", "gp_abcd2345_short", "gp_" + "a" * 200])
def test_what_is_no_key_is_refused(token: str) -> None:
    key, _ = fresh()

    assert verify(token, (key,), PEPPER, NOW_NS) is None
    assert key_id(token) == ""


def test_a_key_of_another_router_is_refused() -> None:
    key, plain = fresh()

    assert verify(plain, (key,), "cd" * 32, NOW_NS) is None
    assert verify(plain, (), PEPPER, NOW_NS) is None


def test_a_revoked_key_is_refused() -> None:
    key, plain = fresh()

    assert verify(plain, (replace(key, revoked=True),), PEPPER, NOW_NS) is None


def test_a_key_ends_when_it_expires() -> None:
    key, plain = fresh(expires_wall_ns=NOW_NS + 5)

    assert verify(plain, (key,), PEPPER, NOW_NS + 4) is key
    assert verify(plain, (key,), PEPPER, NOW_NS + 5) is None


@pytest.mark.parametrize(
    ("scopes", "need", "allowed"),
    [
        (("admin",), "admin", True),
        (("admin",), "deploy:hello", True),
        (("read",), "read", True),
        (("read",), "deploy:hello", False),
        (("invoke:*",), "invoke:hello/greet", True),
        (("invoke:*",), "read", False),
        (("invoke:hello/*",), "invoke:hello/greet", True),
        (("invoke:hello/*",), "invoke:hello2/greet", False),
        (("invoke:hello/greet",), "invoke:hello/greeting", False),
        (("deploy:hello",), "deploy:hello", True),
        (("deploy:hello",), "deploy:other", False),
        (("deploy:hello",), "deploy", True),  # what is not yet about one app: uploading layers
        (("deploy:hello",), "read", True),
        (("deploy:hello",), "admin", False),
        (("invoke:x", "read"), "read", True),
        (("priority:critical",), "priority:interactive", True),
        (("priority:interactive",), "priority:interactive", True),
        (("priority:interactive",), "priority:critical", False),
        (("invoke:*", "deploy:*", "read"), "priority:interactive", False),
        (("admin",), "priority:critical", True),
        ((), "read", False),
    ],
)
def test_a_scope_covers_what_it_names(scopes: tuple[str, ...], need: str, allowed: bool) -> None:
    assert allows(scopes, need) is allowed


@pytest.mark.parametrize(
    "scope",
    [
        "admin",
        "read",
        "invoke:*",
        "invoke:a/b",
        "deploy:a",
        "deploy",
        "invoke",
        "priority:critical",
    ],
)
def test_a_scope_that_means_something_is_taken(scope: str) -> None:
    assert scope_problem(scope) == ""


@pytest.mark.parametrize(
    "scope", ["", "root", "read:x", "admin:x", "invoke:", "priority", "priority:", "priority:royal"]
)
def test_a_scope_that_means_nothing_is_refused(scope: str) -> None:
    assert scope_problem(scope)
