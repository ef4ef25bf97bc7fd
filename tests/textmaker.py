"""Makes folders of tiny random CLIP models that read text: every letter is a token."""

import json
from pathlib import Path
from typing import Any

import torch

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
START, END = "<|startoftext|>", "<|endoftext|>"


def letters() -> dict[str, int]:
    """A vocabulary of single bytes in CLIP's alphabet, with and without the end of a word."""
    import open_clip

    alphabet = list(open_clip.tokenizer.bytes_to_unicode().values())
    words = [*alphabet, *(letter + "</w>" for letter in alphabet), "pa", START, END]
    return {word: i for i, word in enumerate(words)}


def save_tokenizer(folder: Path, vocabulary: dict[str, int]) -> None:
    """As the hub's older folders have it: vocab.json and merges.txt."""
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\np a\n")


def save_clip(folder: Path, **of_text: Any) -> Any:
    """A whole CLIP of random weights, without its tokenizer; returned in evaluation mode."""
    import transformers as hf

    torch.manual_seed(1)
    words = len(letters())
    text = {**SMALL, "vocab_size": words, "max_position_embeddings": 24, "eos_token_id": words - 1, **of_text}
    vision = {**SMALL, "image_size": 32, "patch_size": 16}
    model = hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))
    model.save_pretrained(folder)
    return model.eval()


def make_clip(folder: Path) -> Path:
    """Such a model with its tokenizer, 24 wide."""
    save_clip(folder)
    save_tokenizer(folder, letters())
    return folder
