"""CLIP's text tower as a frozen encoder of names: Radford et al., ICML 2021, arXiv 2103.00020.

CityGuessr (section 4.4) aligns a clip with the text of its city, or of all its levels: it speaks of "passing only the
city names through the text encoder", so the prompt is the name itself. Its vectors have 512 numbers (section 5.2),
which is CLIP ViT-B's joint space.

Shapes: N names, L tokens, D width of the joint space.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vgeo.encoders._hub import WITHOUT_WEIGHTS, find_folder, load_transformers, quiet, weights_hash
from vgeo.encoders.base import EncoderSpec
from vgeo.encoders.clip import OPEN_CLIP_NAME
from vgeo.errors import FormatError, MissingModelError, UsageError, first_line

if TYPE_CHECKING:
    from vgeo.device import Compute

REPOSITORY = "openai/clip-vit-base-patch32"
PREPROCESSING = "the name is the prompt; projected text embedding"
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
_PUBLISHED_TOKENS = 49408  # of OpenAI's vocabulary, which open_clip's package carries
_LEGACY_END = 2  # OpenAI's config.json says so of the end token, and transformers then takes the highest
_BATCH = 256

Tokenize = Callable[[list[str]], Tensor]  # N names -> ids [N, L] int64


class TextEncoder:
    """A frozen text tower on its device, in evaluation mode."""

    def __init__(
        self,
        spec: EncoderSpec,
        model: nn.Module,
        tokenize: Tokenize,
        read: Callable[[nn.Module, Tensor], Tensor],
        compute: "Compute",
    ) -> None:
        self.spec = spec
        self._model = model.to(compute.device)
        self._tokenize = tokenize
        self._read = read
        self._compute = compute

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Encode texts to [N, D] float32, on the device; not normalised. What is longer than the tower reads is cut."""
        parts = [torch.zeros(0, self.spec.dim, device=self._compute.device)]
        for first in range(0, len(texts), _BATCH):
            ids_NL = self._tokenize(list(texts[first : first + _BATCH])).to(self._compute.device)
            with self._compute.autocast():
                parts.append(self._read(self._model, ids_NL).float())
        return torch.cat(parts)


def load_text(name: str, compute: "Compute", *, weights: str | None = None, offline: bool = False) -> TextEncoder:
    """Load CLIP's text tower.

    name: "clip" for ViT-B/32, a hub id, a folder made by save_pretrained, or an open_clip name such as
    ViT-B-32-quickgelu/openai; all but the folder also after "clip:". weights: the folder, or for an open_clip name the
    checkpoint file. Raises UsageError, InputError, FormatError or MissingModelError.
    """
    variant = REPOSITORY if name == "clip" else name.removeprefix("clip:")
    try:
        if OPEN_CLIP_NAME.match(variant):
            from vgeo.encoders._open_clip import load_open_clip_text

            return load_open_clip_text(variant, compute, weights=weights, offline=offline)
        if weights is None and Path(variant).is_dir():
            weights = variant
        elif "/" not in variant:
            raise UsageError(f"{name}: no encoder of text; give clip, a hub id, a folder or a name of open_clip")
        return _load_transformers(name, variant, compute, weights, offline)
    except MissingModelError as error:  # without the advice to take another encoder of frames
        raise MissingModelError(str(error).replace(WITHOUT_WEIGHTS, "")) from error


def _load_transformers(name: str, variant: str, compute: "Compute", weights: str | None, offline: bool) -> TextEncoder:
    folder = find_folder(name, variant, weights, offline, old=True, more=TOKENIZER_FILES)
    from transformers import CLIPTextModelWithProjection

    model: Any = load_transformers(CLIPTextModelWithProjection, folder, _text_config)
    spec = EncoderSpec(
        name=f"clip:{variant}",
        dim=model.config.projection_dim,
        weights=weights or variant,
        weights_hash=weights_hash(model),
        preprocessing=PREPROCESSING,
        settings={},
    )
    return TextEncoder(spec, model, _tokenizer(folder, model.config), _embed, compute)


def _text_config(folder: Path) -> Any:
    """The text half of a whole CLIP's configuration, with the width of its projection, which only the whole knows."""
    from transformers import CLIPConfig, CLIPTextConfig

    if "text_config" not in CLIPConfig.get_config_dict(folder)[0]:
        return CLIPTextConfig.from_pretrained(folder)
    config: Any = CLIPConfig.from_pretrained(folder)
    config.text_config.projection_dim = config.projection_dim
    return config.text_config


def _tokenizer(folder: Path, config: Any) -> Tokenize:
    """The folder's tokenizer; where it has none, OpenAI's, if the vocabulary is that. Raises FormatError."""
    length = config.max_position_embeddings
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        if config.vocab_size != _PUBLISHED_TOKENS:
            raise FormatError(f"{folder}: has no tokenizer.json; save the model's tokenizer beside it")
        return _published(length)
    from transformers import CLIPTokenizer

    with quiet():
        try:
            own: Any = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # transformers raises whatever the damage leads to
            raise FormatError(f"{folder}: its tokenizer is not readable ({first_line(error)})") from error

    def tokenize(texts: list[str]) -> Tensor:
        encoded = own(texts, padding=True, truncation=True, max_length=length, return_tensors="pt")
        ids: Tensor = encoded["input_ids"]
        return ids

    _check_tokens(tokenize([""])[0].tolist(), config, folder)
    return tokenize


def _published(length: int) -> Tokenize:
    """OpenAI's tokenizer. Its zeros behind the longest text are cut off: the tower looks back only, and is faster."""
    import open_clip

    tokenizer: Any = open_clip.SimpleTokenizer(context_length=length)

    def tokenize(texts: list[str]) -> Tensor:
        ids_NL: Tensor = tokenizer(texts)
        return ids_NL[:, : int(ids_NL.any(0).nonzero().max()) + 1]

    return tokenize


def _check_tokens(nothing: list[int], config: Any, folder: Path) -> None:
    """Raise FormatError unless the tokens of "" are the model's: without its end token, every text has one vector."""
    known = config.eos_token_id in (_LEGACY_END, nothing[-1])
    if len(nothing) != 2 or max(nothing) >= config.vocab_size or not known:
        raise FormatError(
            f"{folder}: its tokenizer begins and ends a text with {nothing}, but the model knows "
            f"{config.vocab_size} tokens and ends with {config.eos_token_id}; are they of different models?"
        )


def _embed(model: nn.Module, ids_NL: Tensor) -> Tensor:
    embedding: Tensor = model(input_ids=ids_NL).text_embeds
    return embedding
