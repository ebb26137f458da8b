"""Masked-language-model pre-training: the task, what is saved, what can start from it."""

import pytest
import torch

from model.batches import encode
from model.checkpoint.folder import start_from
from model.training.pretrain import MaskedLanguageModel, Masking, pretrain, save_encoder
from model.training.settings import TrainSettings
from tests.support.tiny_model import tiny_config, tiny_network, tiny_tokenizer


def test_masking_follows_bert():
    """15 % of the word pieces are asked for: 80 % masked, 10 % replaced, 10 % left; no specials."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    masking = Masking.of(tokenizer)
    size = tokenizer.get_vocab_size()
    ids = torch.randint(5, size, (400, 100))
    ids[:, 0], ids[:, 50], ids[:, 99] = 2, 3, 0  # [CLS], [SEP], [PAD]
    masked, targets = masking.apply(ids)
    asked = targets != -100
    assert not asked[:, [0, 50, 99]].any()
    assert torch.equal(targets[asked], ids[asked])
    assert torch.equal(masked[~asked], ids[~asked])
    assert asked.sum().item() / (400 * 97) == pytest.approx(0.15, abs=0.01)
    mask = tokenizer.token_to_id("[MASK]")
    assert mask is not None
    is_mask = masked[asked].eq(mask)
    kept = masked[asked] == ids[asked]
    assert is_mask.float().mean().item() == pytest.approx(0.8, abs=0.02)
    assert kept.float().mean().item() == pytest.approx(0.1 + 0.1 / size, abs=0.02)


def test_every_batch_asks_something():
    """Even a single short text has a word piece to guess."""
    torch.manual_seed(0)
    masking = Masking.of(tiny_tokenizer())
    for _ in range(20):
        _, targets = masking.apply(torch.tensor([[2, 9, 3]]))
        assert (targets != -100).sum() == 1


def test_learns_and_starts_a_fine_tuning(tmp_path):
    """The loss falls, the folder loads in transformers with the same logits, and in `--from`."""
    import transformers

    tokenizer = tiny_tokenizer()
    texts = ["the film was good !", "the room was bad .", "very good service"] * 20
    ids = encode(tokenizer, texts, 24)
    network = tiny_network(tiny_config(exit_layers=(2, 4)))
    model = MaskedLanguageModel(network)
    settings = TrainSettings(epochs=12, batch_size=8, body_rate=3e-3, head_rate=3e-3, bf16=False)
    history = pretrain(model, ids, Masking.of(tokenizer), settings, tmp_path / "work")
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert sum(losses[-9:]) < 0.6 * sum(losses[:9])

    save_encoder(model, tokenizer, tmp_path / "encoder")
    theirs = transformers.BertForMaskedLM.from_pretrained(
        tmp_path / "encoder", dtype=torch.float32
    ).eval()
    row = torch.tensor([ids[0]])
    everywhere = torch.ones_like(row).bool()
    ours = model.eval()(row, everywhere.long(), everywhere)[-1]
    torch.testing.assert_close(ours, theirs(row).logits[0], atol=0.02, rtol=0.01)

    started = start_from(tmp_path / "encoder", exit_layers=(1, 4), labels=("no", "yes"))
    name = "encoder.layer.3.output.dense.weight"
    assert torch.equal(
        started.state_dict()[f"elasticbert.{name}"], model.bert.state_dict()[name].half().float()
    )
