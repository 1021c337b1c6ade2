"""A seeded, random Qwen3 of F2LLM-v2's shape family in a sentence-transformers folder: real files, made in a second.

As in the family: heads times their width is more than the hidden size, half as many key heads, tied embeddings, rope
of 1e6, last-token pooling, and a tokenizer whose end token is ``<|im_end|>`` and whose padding is another one.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import Qwen3Config, Qwen3Model

PAD, END, UNKNOWN_START = "<|endoftext|>", "<|im_end|>", "<|im_start|>"
QUERY = "Instruct: Given a question, retrieve passages that can help answer the question.\nQuery: "
WIDTH = 64
ROWS = 512

CORPUS = [
    "The quick brown fox jumps over the lazy dog while plants turn light into sugar.",
    "Instruct: Given a question, retrieve passages that can help answer the question.",
    "A broker sends requests to providers and bills each token exactly once.",
    "naïve façade, Übergröße, 数据 и текст, 12 345.67 €",
]


def tokenizer(*, adds_end: bool) -> Tokenizer:
    """Byte-level BPE; ``adds_end`` is whether its own post-processor appends the end token."""
    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=ROWS - 32,
        special_tokens=[PAD, UNKNOWN_START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    built.train_from_iterator(CORPUS * 4, trainer)
    if adds_end:
        end = built.token_to_id(END)
        built.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, end)])
    return built


def end_id() -> int:
    """The end token's id."""
    found: int | None = tokenizer(adds_end=True).token_to_id(END)
    assert found is not None
    return found


def build(
    folder: Path,
    *,
    adds_end: bool = True,
    declares_end: bool = False,
    pooling: str = "lasttoken",
    normalizes: bool = True,
    stored: torch.dtype = torch.float32,
    layers: int = 2,
    max_tokens: int = 96,
) -> Path:
    """Write the folder and return it. The same arguments give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    built = tokenizer(adds_end=adds_end)
    built.save(str(folder / "tokenizer.json"))
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": END,
            "pad_token": PAD,
            "model_max_length": 4096,
            "add_eos_token": declares_end,
        },
    )
    config = Qwen3Config(
        vocab_size=ROWS,
        hidden_size=WIDTH,
        intermediate_size=160,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=4096,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
        pad_token_id=built.token_to_id(PAD),
        eos_token_id=built.token_to_id(END),
    )
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = Qwen3Model(config)
        # The library's small start values make all vectors alike; these keep directions apart.
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if weight.dim() == 2:
                    weight.copy_(torch.randn_like(weight) * (0.8 if "embed" in name else 0.12))
    torch.nn.Module.to(model, stored)
    model.save_pretrained(folder)
    _sentence_files(folder, pooling, normalizes, max_tokens)
    return folder


def _sentence_files(folder: Path, pooling: str, normalizes: bool, max_tokens: int) -> None:
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalizes else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {"idx": number, "name": str(number), "path": paths[number], "type": f"sentence_transformers.models.{kind}"}
        for number, kind in enumerate(kinds)
    ]
    _write(folder / "modules.json", modules)
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "2_Normalize").mkdir(exist_ok=True)
    flags = {"lasttoken": "pooling_mode_lasttoken", "mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}
    modes = dict.fromkeys(flags.values(), False) | {flags[pooling]: True}
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": WIDTH, "include_prompt": True} | modes)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": max_tokens, "do_lower_case": False})
    _write(
        folder / "config_sentence_transformers.json",
        {"prompts": {"query": QUERY, "document": ""}, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )


def spoil_tensor(folder: Path) -> None:
    """Leave one tensor out of the weights."""
    from safetensors.torch import load_file

    tensors = load_file(folder / "model.safetensors")
    tensors.pop("layers.1.mlp.down_proj.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))
