"""Is a form read exactly, and is every malformed one refused?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.errors import InvalidRequestError
from glowplug.multipart import PARTS_MAX, Part, encode_multipart, parse_multipart

FORM = "multipart/form-data; boundary=B"
HEAD = b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n'


def test_parts_come_back_in_order() -> None:
    body = (
        HEAD
        + b'1\r\n--B\r\ncontent-disposition: form-data; name="b"; filename="x.png"\r\n'
        + b"Content-Type: image/png\r\n\r\n\xff\r\n--B--\r\n"
    )

    assert parse_multipart(FORM, body) == (
        Part("a", b"1"),
        Part("b", b"\xff", "x.png", "image/png"),
    )


@pytest.mark.parametrize(
    ("disposition", "name", "filename"),
    [
        (b'form-data; name="a b"', "a b", None),
        (b"form-data; name=a; filename=x.txt", "a", "x.txt"),
        (b'form-data;name="a";filename="C:\\dir\\x"', "a", "C:\\dir\\x"),
        (b'form-data; name="a"; filename="x\\"y"', "a", 'x"y'),
        (b'form-data; name="a%22b"; filename="; name=evil"', 'a"b', "; name=evil"),
        ('form-data; name="ä"'.encode(), "ä", None),
        (b'form-data; name="a"; filename=""', "a", ""),
    ],
)
def test_names_are_read_as_browsers_and_curl_write_them(
    disposition: bytes, name: str, filename: str | None
) -> None:
    body = b"--B\r\nContent-Disposition: " + disposition + b"\r\n\r\nx\r\n--B--\r\n"

    assert parse_multipart(FORM, body) == (Part(name, b"x", filename),)


@pytest.mark.parametrize(
    "data",
    [b"", b"\r\n", b"--B", b"\r\n-", b"\r\n--", b"x\r\n--A--\r\n", b"--B--", b"\n--B", b"\0" * 10],
)
def test_data_that_looks_like_the_frame_is_data(data: bytes) -> None:
    assert parse_multipart(FORM, HEAD + data + b"\r\n--B--")[0].data == data


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--B",
        b"--B\r\n",
        b"preamble\r\n" + HEAD + b"1\r\n--B--",
        HEAD,
        HEAD + b"1",
        HEAD + b"1\r\n--B",
        HEAD + b"1\r\n--Bx\r\n",
        HEAD + b"1\r\n--B--epilogue",
        HEAD + b"1\n--B--",
        b"--B\r\n\r\nx\r\n--B--",
        b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--",
        b'--B\r\nContent-Disposition: attachment; name="a"\r\n\r\nx\r\n--B--',
        b'--B\r\nContent-Disposition: form-data; name="a\r\n\r\nx\r\n--B--',
        b'--B\r\nContent-Disposition: form-data; name="a"; name="b"\r\n\r\nx\r\n--B--',
        b'--B\r\nContent-Disposition: form-data; name="a"\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--',
        b'--B\r\nContent-Disposition : form-data; name="a"\r\n\r\nx\r\n--B--',
        b'--B\r\n Content-Disposition: form-data; name="a"\r\n\r\nx\r\n--B--',
        b'--B\r\nContent-Disposition: form-data; name="a"\r\nfolded\r\n\r\nx\r\n--B--',
        b'--B\r\nContent-Disposition: form-data; name="a\0"\r\n\r\nx\r\n--B--',
        b'--B\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx\r\n--B--',
        b'--B\r\nContent-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64\r\n\r\nx\r\n--B--',
        b'--B\r\nContent-Disposition: form-data; name="a"\r\nContent-Type: multipart/mixed\r\n\r\nx\r\n--B--',
        b"--B\r\nX: " + b"x" * 10_000 + b"\r\n\r\nx\r\n--B--",
        HEAD * (PARTS_MAX + 1),
        b"".join(HEAD + b"x\r\n" for _ in range(PARTS_MAX + 1)) + b"--B--",
    ],
)
def test_a_malformed_form_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="multipart: ") as refused:
        parse_multipart(FORM, body)

    assert refused.value.code == "bad_request"


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=" + "x" * 71,
        "multipart/form-data; boundary=a\xe9",
        'multipart/form-data; boundary="a\r\nb"',
    ],
)
def test_a_boundary_that_is_none_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidRequestError, match="no usable boundary"):
        parse_multipart(content_type, b"----\r\n")


def test_an_empty_form_has_no_parts() -> None:
    assert parse_multipart(FORM, b"--B--\r\n") == ()
    assert parse_multipart('multipart/form-data; charset=x; boundary="B"', b"--B--") == ()


names = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='\\"%'),
    min_size=1,
    max_size=20,
)
parts = st.builds(
    Part,
    names,
    st.binary(max_size=200),
    st.none() | names,
    st.sampled_from(["", "application/json", "image/png"]),
)


@given(st.lists(parts, max_size=5))
def test_what_is_written_is_read_back(form: list[Part]) -> None:
    content_type, body = encode_multipart(form)

    assert parse_multipart(content_type, body) == tuple(form)


def test_the_boundary_never_occurs_in_a_part() -> None:
    form = (Part("a", b"glowplug-0-boundary\r\n--glowplug-1-boundary--"),)
    content_type, body = encode_multipart(form)

    assert parse_multipart(content_type, body) == form


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_are_read_or_refused(noise: bytes, cut: int) -> None:
    whole = HEAD + noise + b"\r\n--B--\r\n"
    for body in (noise, b"--B\r\n" + noise, whole[:cut], whole[:cut] + noise):
        try:
            parse_multipart(FORM, body)
        except InvalidRequestError:
            pass
