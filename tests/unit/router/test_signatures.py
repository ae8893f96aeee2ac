"""Are signed URLs and references good for exactly what they say, and no longer than they say?"""

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.clock import SECOND
from glowplug.errors import CallError
from glowplug_router.signatures import Payload, SignedObject, Signer, scope_of

SIGNER = Signer("5e" * 32)
DIGEST = "sha256:" + "ab" * 32
ONE = SignedObject(scope_of("tenant"), DIGEST, 7)
UNTIL = 1_000 * SECOND


def opened(url: str, method: str = "PUT", now_ns: int = 0, signer: Signer = SIGNER) -> SignedObject:
    parts = urlsplit(url)
    return signer.opened(method, parts.path, dict(parse_qsl(parts.query)), now_ns)


def code(url: str, method: str = "PUT", now_ns: int = 0, signer: Signer = SIGNER) -> str:
    with pytest.raises(CallError) as refused:
        opened(url, method, now_ns, signer)
    assert refused.value.executed == "no"
    return refused.value.code


def test_a_url_opens_what_it_was_signed_for_until_it_expires() -> None:
    url = SIGNER.url("PUT", ONE, UNTIL)

    assert opened(url) == opened(url, now_ns=UNTIL - 1) == ONE
    assert code(url, now_ns=UNTIL) == "payload_gone"
    assert code(url, "GET") == "forbidden"
    assert code(url, signer=Signer("5f" * 32)) == "forbidden"


@given(st.data())
def test_no_character_of_a_url_can_be_changed(data: st.DataObject) -> None:
    url = SIGNER.url("PUT", ONE, UNTIL)
    at = data.draw(st.integers(0, len(url) - 1))
    other = data.draw(st.sampled_from("0123456789abcdefxyz&=/?:.%é"))
    changed = url[:at] + other + url[at + 1 :]
    if changed == url:
        return

    assert code(changed) == "forbidden"


def reference_code(reference: str, tenant: str = "tenant", now_ns: int = 0) -> str:
    with pytest.raises(CallError) as refused:
        SIGNER.payload(reference, tenant, now_ns)
    assert refused.value.executed == "no"
    return refused.value.code


def test_a_reference_is_good_for_its_tenant_until_it_expires() -> None:
    payload = Payload(DIGEST, 7)
    reference = SIGNER.reference("tenant", payload, UNTIL)

    assert SIGNER.payload(reference, "tenant", UNTIL - 1) == payload
    assert reference_code(reference, now_ns=UNTIL) == "payload_gone"
    assert reference_code(reference, "other") == "forbidden"
    assert str(payload) == f"{DIGEST} 7"


@given(st.data())
def test_no_character_of_a_reference_can_be_changed(data: st.DataObject) -> None:
    reference = SIGNER.reference("tenant", Payload(DIGEST, 7), UNTIL)
    at = data.draw(st.integers(0, len(reference) - 1))
    changed = reference[:at] + data.draw(st.characters()) + reference[at + 1 :]
    if changed == reference:
        return

    assert reference_code(changed) in {"forbidden", "bad_request"}


@given(st.text(), st.text())
def test_tenants_have_scopes_of_their_own(one: str, other: str) -> None:
    assert (scope_of(one) == scope_of(other)) == (one == other)


def test_a_url_is_no_reference() -> None:
    # The two kinds are signed with one secret: neither may stand for the other.
    url = SIGNER.url("reference", ONE, UNTIL)
    mac = dict(parse_qsl(urlsplit(url).query))["signature"]

    forged = f"p1.{DIGEST.removeprefix('sha256:')}.7.1000.{mac}"

    assert reference_code(forged) == "forbidden"
