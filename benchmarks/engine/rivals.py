"""The other ways to run such a model: transformers, ONNX Runtime, OpenVINO, on one thread."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.engine.model import invented_tokenizer

Run = Callable[[Sequence[str]], object]

_BATCH = 16


class Rivals:
    """Builds each contestant around one random BERT-base with a single classifier."""

    def __init__(self, folder: Path, *, device: str = "cpu", threads: int = 1) -> None:
        """Put exported files into `folder`."""
        import transformers

        transformers.logging.set_verbosity_error()
        self._folder = folder
        self._device = device
        self._threads = threads
        self._transformers: Any = transformers
        self._tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=invented_tokenizer(),
            pad_token="[PAD]",  # noqa: S106  (not a password)
            cls_token="[CLS]",  # noqa: S106
            sep_token="[SEP]",  # noqa: S106
            unk_token="[UNK]",  # noqa: S106
            model_max_length=512,
        )

    def pipeline(self, batch_size: int) -> Run:
        """Return transformers' text-classification pipeline."""
        pipe = self._transformers.pipeline(
            "text-classification",
            model=self._model("sdpa"),
            tokenizer=self._tokenizer,
            device=self._device,
        )
        return lambda texts: list(pipe(list(texts), batch_size=batch_size))

    def sorted_batches(self, dtype: torch.dtype) -> Run:
        """Return plain transformers on batches of about equal length."""
        model = self._model("sdpa").to(self._device, dtype)

        def step(ids: Tensor, mask: Tensor) -> object:
            with torch.inference_mode():
                logits: Tensor = model(
                    input_ids=ids.to(self._device), attention_mask=mask.to(self._device)
                ).logits
                return logits.float().softmax(-1).cpu()

        return self._sorted(step)

    def onnx(self, *, int8: bool) -> Run:
        """Return ONNX Runtime on the exported model, or on its dynamically quantised form."""
        path = self._exported()
        if int8:
            quantization: Any = import_module("onnxruntime.quantization")
            logging.getLogger().setLevel(logging.ERROR)  # it advises on every call
            target = self._folder / "int8.onnx"
            kind = quantization.QuantType.QInt8
            quantization.quantize_dynamic(path, target, weight_type=kind)
            path = target
        runtime: Any = import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

        def step(ids: Tensor, mask: Tensor) -> object:
            inputs = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
            return _softmax(session.run(None, inputs)[0])

        return self._sorted(step)

    def openvino(self, precision: str) -> Run:
        """Return OpenVINO on the exported model, asked for "f32" or "bf16"."""
        openvino: Any = import_module("openvino")
        core = openvino.Core()
        settings = {
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": precision,
        }
        compiled = core.compile_model(core.read_model(self._exported()), "CPU", settings)
        request = compiled.create_infer_request()

        def step(ids: Tensor, mask: Tensor) -> object:
            found = request.infer({"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
            return _softmax(next(iter(found.values())))

        return self._sorted(step)

    def _sorted(self, step: Callable[[Tensor, Tensor], object]) -> Run:
        def run(texts: Sequence[str]) -> object:
            rows = sorted(self._tokenizer(list(texts))["input_ids"], key=len)
            answers = []
            for start in range(0, len(rows), _BATCH):
                padded = nn.utils.rnn.pad_sequence(
                    [torch.tensor(row) for row in rows[start : start + _BATCH]], batch_first=True
                )
                answers.append(step(padded, (padded != 0).long()))
            return answers

        return run

    def _model(self, attention: str) -> Any:  # noqa: ANN401  (transformers has no types here)
        torch.manual_seed(0)
        config = self._transformers.BertConfig(num_labels=2, attn_implementation=attention)
        return self._transformers.BertForSequenceClassification(config).eval()

    def _exported(self) -> Path:
        path = self._folder / "bert.onnx"
        if path.exists():
            return path
        ids = torch.randint(5, 1000, (2, 16))
        free = {0: "texts", 1: "tokens"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # this exporter is old; its graphs are fused best
            torch.onnx.export(
                _LogitsOnly(self._model("eager")),
                (ids, torch.ones_like(ids)),
                str(path),
                input_names=["input_ids", "attention_mask"],
                output_names=["logits"],
                dynamic_axes={"input_ids": free, "attention_mask": free},
                dynamo=False,
                opset_version=17,
            )
        return path


class _LogitsOnly(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


def _softmax(logits: Any) -> Any:  # noqa: ANN401  (arrays of another library)
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
