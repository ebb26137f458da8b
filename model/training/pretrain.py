"""`offramp pretrain`: a masked language model, for those who have texts but no weights.

As in BERT (arXiv 1810.04805), 15 % of each text's word pieces are guessed: 80 % of these are
masked, 10 % are replaced and 10 % stay. As in ElasticBERT, several layers can be asked to guess.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from model.batches import encode, pad
from model.checkpoint.folder import save_parts
from model.checkpoint.tokenizer import MASK, SPECIAL, special_ids
from model.config import default_labels
from model.folder_files import CURVES
from model.training.data import open_output
from model.training.output import plot_curves
from model.training.start import begin
from model.training.trainer import Job, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tokenizers import Tokenizer

    from model.config import ModelConfig
    from model.network import MultiExitEncoder
    from model.training.settings import PretrainRequest, Progress, TrainSettings

_UNUSED = default_labels(2)  # a network has classifiers; pre-training leaves them alone
_IGNORED = -100  # cross_entropy's own mark for positions that do not count
_GUESSED, _MASKED, _REPLACED = 0.15, 0.8, 0.1


@dataclass(frozen=True, slots=True)
class Pretrained:
    """What a pre-training gave."""

    texts: int
    steps: int
    loss: float  # of the last report: nats per guessed word piece
    training_s: float


def run_pretraining(
    request: PretrainRequest,
    texts: Sequence[str],
    *,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Pretrained:
    """Pre-train as asked, on texts that `read_pretraining` has read, and write the folder.

    Raises:
        ModelError: the start or the settings cannot be used, or the training failed.
    """
    work = open_output(request, resume=resume)
    torch.manual_seed(request.settings.seed)
    network, tokenizer = begin(request, texts, work, labels=_UNUSED, new_heads=True, last_only=True)
    most_tokens = min(request.max_tokens, network.config.max_position_embeddings)
    model = MaskedLanguageModel(network)
    started = time.monotonic()
    history = pretrain(
        model,
        encode(tokenizer, texts, most_tokens),
        Masking.of(tokenizer),
        request.settings,
        work,
        resume=resume,
        on_progress=on_progress,
    )
    save_encoder(model, tokenizer, request.out)
    plot_curves(history, request.out / CURVES)
    shutil.rmtree(work)
    losses = [entry["loss"] for entry in history if "loss" in entry]
    return Pretrained(
        texts=len(texts),
        steps=int(history[-1]["step"]),
        loss=losses[-1],
        training_s=time.monotonic() - started,
    )


class _Transform(nn.Module):
    """What a hidden state goes through before it is compared with the word embeddings."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        nn.init.normal_(self.dense.weight, std=0.02)
        nn.init.zeros_(self.dense.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the transformed states, (guesses, D)."""
        normed: Tensor = self.LayerNorm(F.gelu(self.dense(x)))
        return normed


class _Predictions(nn.Module):
    """The head of the masked language model; its output weights are the word embeddings."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.transform = _Transform(config)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))


class _Heads(nn.Module):
    """Gives the head its published name, `cls.predictions`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.predictions = _Predictions(config)


class MaskedLanguageModel(nn.Module):
    """An encoder that guesses masked word pieces after each of its exit layers.

    Names of parameters are those of transformers' BertForMaskedLM. One head serves all layers.
    """

    def __init__(self, network: MultiExitEncoder) -> None:
        """Take over the encoder of `network`; its poolers and classifiers are not used."""
        super().__init__()
        self.config = network.config
        self.bert = network.elasticbert
        self.bert.encoder.pooler = nn.ModuleDict()
        self.cls = _Heads(self.config)

    def forward(self, token_ids: Tensor, attention_mask: Tensor, asked: Tensor) -> list[Tensor]:
        """Return the logits of each exit layer for the positions asked for, (guesses, vocabulary).

        Args:
            token_ids: (B, T), padded at the end.
            attention_mask: (B, T), 1 for a token and 0 for padding.
            asked: (B, T), True where a word piece is to be guessed.
        """
        positions = torch.arange(token_ids.shape[1], device=token_ids.device)
        x = self.bert.embeddings(token_ids, positions)  # (B, T, D)
        mask = attention_mask[:, None, None, :].bool()  # (B, 1, 1, T)
        words = self.bert.embeddings.word_embeddings.weight  # (V, D)
        head = self.cls.predictions
        logits = []
        for n, layer in enumerate(self.bert.encoder.layer, start=1):
            x = layer(x, mask)
            if n in self.config.exit_layers:
                logits.append(F.linear(head.transform(x[asked]), words, head.bias))
        return logits


@dataclass(frozen=True, slots=True)
class Masking:
    """Ids that masking needs."""

    mask: int
    special: tuple[int, ...]
    vocabulary: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Masking:
        """Read the ids off a tokenizer.

        Raises:
            InvalidCheckpoint: it lacks one of BERT's special names.
        """
        ids = special_ids(tokenizer)
        return cls(
            mask=ids[MASK], special=tuple(ids.values()), vocabulary=tokenizer.get_vocab_size()
        )

    def apply(self, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return masked token ids and the ids to guess (-100 where nothing is asked), both (B, T).

        Draws from torch's global generator, so each epoch masks anew.
        """
        wanted = torch.isin(token_ids, torch.tensor(self.special), invert=True)
        chance = torch.rand(token_ids.shape)
        asked = wanted & (chance < _GUESSED)
        if not asked.any():  # a batch without a question has no loss
            asked = wanted & (chance == chance[wanted].min()) if wanted.any() else asked
        how = torch.rand(token_ids.shape)
        masked = token_ids.clone()
        masked[asked & (how < _MASKED)] = self.mask
        replaced = asked & (how >= _MASKED) & (how < _MASKED + _REPLACED)
        masked[replaced] = torch.randint(len(SPECIAL), self.vocabulary, (int(replaced.sum()),))
        return masked, token_ids.masked_fill(~asked, _IGNORED)


def pretrain(  # noqa: PLR0913  (each is a plain setting with a default)
    network: MaskedLanguageModel,
    token_ids: Sequence[Sequence[int]],
    masking: Masking,
    settings: TrainSettings,
    folder: Path,
    *,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> list[dict[str, float]]:
    """Train `network` in place on encoded texts; return what was logged.

    Raises:
        TrainingFailed: the loss is not finite.
    """

    def collate(rows: list[int]) -> dict[str, Tensor]:
        ids, mask = pad([token_ids[i] for i in rows], network.config.pad_token_id)
        masked, targets = masking.apply(ids)
        return {"token_ids": masked, "attention_mask": mask, "targets": targets}

    def loss_of(trained: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        asked = batch["targets"] != _IGNORED
        logits = trained(batch["token_ids"], batch["attention_mask"], asked)
        targets = batch["targets"][asked]
        return torch.stack([F.cross_entropy(x.float(), targets) for x in logits]).mean()

    lengths = [len(ids) for ids in token_ids]
    job = Job(network=network, lengths=lengths, collate=collate, loss=loss_of)
    return run(job, settings, folder, resume=resume, report=on_progress)


def save_encoder(network: MaskedLanguageModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Write a folder in the layout of transformers' BertForMaskedLM, with fp16 weights."""
    config = json.loads(network.config.to_json())
    for name in ("max_output_layers", "num_output_layers", "id2label", "label2id"):
        del config[name]
    config |= {"model_type": "bert", "architectures": ["BertForMaskedLM"]}
    save_parts(network, json.dumps(config, indent=2), tokenizer, folder)
