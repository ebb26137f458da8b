"""`benchmarks.engine.speed`: what it runs on a GPU, and how it counts the time there."""

from types import SimpleNamespace

from torch.profiler import DeviceType

from benchmarks.engine.model import even_workload, invented_tokenizer, workload
from benchmarks.engine.parts import time_by_kind
from benchmarks.engine.speed import FULL_CUDA


def event(key, device_type, *, cpu=0, device=0, annotation=False):
    return SimpleNamespace(
        key=key,
        device_type=device_type,
        is_user_annotation=annotation,
        self_cpu_time_total=cpu,
        self_device_time_total=device,
    )


def test_time_on_a_gpu_is_counted_once() -> None:
    """The profiler gives it to the operation and to its kernel; only kernels count."""
    events = [
        event("aten::addmm", DeviceType.CPU, cpu=9, device=100),
        event("nvjet_hsh_128x256_64x4", DeviceType.CUDA, device=100),
        event("void pytorch_flash::flash_fwd_kernel<...>", DeviceType.CUDA, device=30),
        event("vectorized_layer_norm_kernel", DeviceType.CUDA, device=5),
        event("ProfilerStep*", DeviceType.CUDA, device=135, annotation=True),
    ]
    found = time_by_kind(events, on_gpu=True)
    assert found == {"linear layers": 100, "attention": 30, "layer norm": 5}
    assert time_by_kind(events, on_gpu=False)["linear layers"] == 9


def test_a_gpu_gets_full_batches_and_texts_of_128_tokens() -> None:
    """Each load has about 32,000 tokens, the asked one 128 in every text."""
    even = even_workload(128, FULL_CUDA.even_texts)
    tokenizer = invented_tokenizer()
    assert {len(tokenizer.encode(text)) for text in even.texts} == {128}
    loads = [
        workload("short", FULL_CUDA.short_texts), workload("long", FULL_CUDA.long_texts), even,
    ]  # fmt: skip
    assert all(30_000 < sum(load.tokens) < 35_000 for load in loads)
