"""What is embedded and with what: a shape of the family with fixed random weights, and texts of exact lengths."""

import json
import random
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import Qwen3Config, Qwen3Model

from providers.worker.model.family import SHAPES, Shape

SEED = 20261124
ROWS = 151_936
PAD, END = "<|endoftext|>", "<|im_end|>"
SYLLABLES = ["ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "qui", "ro", "su", "ta"]
WORDS = [a + b + c for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES[:4]]


def folder_at(
    path: Path,
    shape: Shape = SHAPES[0],
    *,
    rows: int = ROWS,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Make the folder once; it has the family's end token and pooling. Readable by transformers 4 and 5.

    The weights are drawn on ``device`` and stored as ``dtype``: a GPU draws four billion of them in a second.
    """
    if (path / "done").exists():
        return path
    path.mkdir(parents=True, exist_ok=True)
    _random_model(shape, rows, device, dtype).save_pretrained(path)
    # transformers 4 reads the rope's base from its old place only.
    written = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(
        json.dumps(written | {"rope_theta": 1e6, "torch_dtype": str(dtype).removeprefix("torch.")})
    )
    tokenizer().save(str(path / "tokenizer.json"))
    _write(
        path / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "pad_token": PAD},
    )
    kinds = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")
    modules = [
        {"idx": number, "name": str(number), "path": place, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, place) in enumerate(kinds)
    ]
    _write(path / "modules.json", modules)
    for _, place in kinds[1:]:
        (path / place).mkdir(exist_ok=True)
    pooling = {
        "word_embedding_dimension": shape.hidden,
        "pooling_mode_lasttoken": True,
        "pooling_mode_mean_tokens": False,
    }
    _write(path / "1_Pooling" / "config.json", pooling)
    _write(path / "sentence_bert_config.json", {"max_seq_length": 8192, "do_lower_case": False})
    (path / "done").touch()
    return path


def _random_model(shape: Shape, rows: int, device: str, dtype: torch.dtype) -> Qwen3Model:
    config = Qwen3Config(
        vocab_size=rows,
        hidden_size=shape.hidden,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        head_dim=shape.head_width,
        max_position_embeddings=40_960,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
    )
    usual = torch.get_default_dtype()
    torch.manual_seed(SEED)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = Qwen3Model(config)
    finally:
        torch.set_default_dtype(usual)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight.normal_(0, 1.0 if "embed" in name else weight.shape[1] ** -0.5)
    return model


@cache
def tokenizer() -> Tokenizer:
    """Byte-level BPE in which each of our words, with the space before it, is one token."""
    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=6000, special_tokens=[PAD, END], initial_alphabet=alphabet, show_progress=False
    )
    built.train_from_iterator([" " + " ".join(WORDS)] * 3, trainer)
    end = built.token_to_id(END)
    built.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, end)])
    return built


def skewed_lengths(texts: int) -> list[int]:
    """Log-normal, median 80, from 8 to 1,024 tokens."""
    drawn = np.random.default_rng(SEED).lognormal(np.log(80), 1.1, texts)
    return [int(length) for length in np.clip(drawn, 8, 1024)]


def texts_of(lengths: list[int], seed: int = SEED) -> list[str]:
    """One text per length, in tokens, the end token included; none begins with a space, which peers strip."""
    rng = random.Random(seed)
    texts = [" ".join(("b", *rng.choices(WORDS, k=length - 2))) for length in lengths]
    counted = [len(one.ids) for one in tokenizer().encode_batch(texts)]
    assert counted == lengths, "a word is not one token"
    return texts


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))
