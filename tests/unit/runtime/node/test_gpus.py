"""Which whole GPUs does a replica get?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.node.gpus import Granted, Refused, grant, matches, whole
from glowplug.node.messages import Gpu
from glowplug.spec import Needs

A = Gpu(uuid="GPU-a", name="NVIDIA A100-SXM4-80GB", memory_bytes=80 << 30)
B = Gpu(uuid="GPU-b", name="NVIDIA L4", memory_bytes=24 << 30)
C = Gpu(uuid="GPU-c", name="NVIDIA L4", memory_bytes=24 << 30)


@pytest.mark.parametrize(
    ("wanted", "model", "fits"),
    [
        ("L4", "NVIDIA L4", True),
        ("l4", "NVIDIA L40S", False),
        ("A100", "NVIDIA A100-SXM4-80GB", True),
        ("A100-80GB", "NVIDIA A100-SXM4-80GB", True),
        ("A100-40GB", "NVIDIA A100-SXM4-80GB", False),
    ],
)
def test_people_s_names_of_gpus_match_whole_words(wanted: str, model: str, fits: bool) -> None:
    assert matches(wanted, model) is fits


def test_who_asks_for_no_gpu_runs_on_the_cpu_without_a_word() -> None:
    assert grant(Needs(), [A], ()) == Granted("cpu")
    assert grant(Needs(device="cpu", gpu_count=2), [A], ()) == Granted("cpu")


def test_the_first_name_is_preferred() -> None:
    needs = Needs(gpu_count=1, gpu_names=("L4", "A100"))

    assert grant(needs, [A, B, C], ()) == Granted("cuda", ("GPU-b",))
    assert grant(needs, [A, B, C], {"GPU-b", "GPU-c"}) == Granted("cuda", ("GPU-a",))


def test_auto_runs_on_the_cpu_of_a_machine_without_gpus_and_says_so() -> None:
    granted = grant(Needs(gpu_count=1, gpu_names=("L4",)), [], ())

    assert isinstance(granted, Granted)
    assert granted.device == "cpu"
    assert "1 × L4" in granted.note


def test_cuda_without_a_gpu_is_refused_with_the_fix() -> None:
    refused = grant(Needs(device="cuda"), [], ())

    assert isinstance(refused, Refused)
    assert 'device="auto"' in refused.reason


def test_a_gpu_of_another_model_is_refused_by_name() -> None:
    refused = grant(Needs(gpu_count=1, gpu_names=("H100",)), [B], ())

    assert isinstance(refused, Refused)
    assert "H100" in refused.reason
    assert "NVIDIA L4" in refused.reason


def test_gpus_that_others_have_are_refused_not_shared() -> None:
    refused = grant(Needs(gpu_count=2, gpu_names=("L4",)), [B, C], {"GPU-b"})

    assert isinstance(refused, Refused)
    assert "1 of 2 are taken" in refused.reason


@given(st.lists(st.integers(1, 3), max_size=6))
def test_no_gpu_is_ever_given_twice(asked: list[int]) -> None:
    taken: set[str] = set()
    for count in asked:
        granted = grant(Needs(gpu_count=count), [A, B, C], taken)
        if isinstance(granted, Granted):
            assert len(granted.gpus) == count
            assert not taken & set(granted.gpus)
            taken |= set(granted.gpus)


def test_a_gpu_that_is_cut_in_slices_is_not_handed_out_and_neither_are_they() -> None:
    part = Gpu(
        uuid="MIG-a", name=A.name, memory_bytes=10 << 30, parent="GPU-a", profile="1g.10gb",
        share_permille=142,
    )  # fmt: skip

    assert whole([A, part, B]) == (B,)
    assert grant(Needs(gpu_count=1), [A, part, B], ()) == Granted("cuda", ("GPU-b",))
    assert isinstance(grant(Needs(gpu_count=1, gpu_names=("A100",)), [A, part, B], ()), Refused)
