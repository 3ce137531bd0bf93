"""CLIP: images and texts as vectors of one space, by a model in a local folder.

Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", ICML,
arXiv:2103.00020. The network is that of the optional package transformers.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from captioning.data.images import load_image
from captioning.errors import InputError

log = logging.getLogger(__name__)

T = TypeVar("T")

WEIGHTS = "model.safetensors"
FILES = ("config.json", WEIGHTS, "preprocessor_config.json", "tokenizer.json")


class Clip:
    """A published CLIP model in float32: an `Embedding` of `captioning.metrics.resources`.

    Nothing is downloaded and nothing is unpickled.

    Differs: OpenAI's tokenizer repairs broken Unicode and HTML, and this one does not. Both lower-case texts and reduce
    each run of spaces to one.

    Args:
        folder: contains FILES, or vocab.json and merges.txt instead of tokenizer.json.
        device: such as "cuda".
        batch_size: number of images or texts that are embedded together.

    Attributes:
        version: the folder's name, the first 16 digits of its weights' SHA-256, and the version of transformers.

    Raises:
        InputError: transformers, the folder or a file in it is missing, the files are not those of a CLIP model, or
            there is no such device.
    """

    def __init__(self, folder: str | Path, *, device: str = "cpu", batch_size: int = 64) -> None:
        folder = Path(folder)
        check_files(folder)
        self._model, self._tokenizer, self._processor = _load(folder)
        self._model.to(_device(device))
        self._batch_size = batch_size
        self.version = f"{folder.resolve().name} {_digest(folder / WEIGHTS)}, transformers {version('transformers')}"

    def texts(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Embed texts. Texts longer than CLIP's limit are truncated and logged.

        Returns:
            (N, P) vectors of length 1.
        """
        return self._embed(self._tokens, self._model.get_text_features, texts)

    def images(self, paths: Sequence[Path]) -> NDArray[np.float64]:
        """Embed images.

        Returns:
            (I, P) vectors of length 1.

        Raises:
            InputError: a file is missing, or is not an image.
        """
        return self._embed(self._pixels, self._model.get_image_features, paths)

    def _embed(
        self, prepare: Callable[[Sequence[T]], Any], project: Callable[..., Any], inputs: Sequence[T]
    ) -> NDArray[np.float64]:
        projected: list[Tensor] = []
        with torch.inference_mode():
            for start in range(0, len(inputs), self._batch_size):
                batch = prepare(inputs[start : start + self._batch_size]).to(self._model.device)
                projected.append(project(**batch).pooler_output.cpu())
        vectors: NDArray[np.float64] = F.normalize(torch.cat(projected).double(), dim=1).numpy()
        return vectors

    def _tokens(self, texts: Sequence[str]) -> Any:
        longest = self._model.config.text_config.max_position_embeddings
        tokens = self._tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
        if longer := [text for text, row in zip(texts, tokens.encodings, strict=True) if row.overflowing]:
            log.warning("truncated %d texts to CLIP's %d tokens, the first: %r", len(longer), longest, longer[0])
        return tokens

    def _pixels(self, paths: Sequence[Path]) -> Any:
        # image by image, so that no two are in memory in full size
        batches = [self._processor(images=[load_image(path)], return_tensors="pt") for path in paths]
        batches[0]["pixel_values"] = torch.cat([batch["pixel_values"] for batch in batches])
        return batches[0]


def check_files(folder: Path) -> None:
    """Check that a folder contains the files of a CLIP model.

    Raises:
        InputError: a file is missing. The message says how to get it.
    """
    two_files = all((folder / name).is_file() for name in ("vocab.json", "merges.txt"))
    missing = [name for name in (FILES[:-1] if two_files else FILES) if not (folder / name).is_file()]
    if missing == [WEIGHTS] and (folder / "pytorch_model.bin").is_file():
        raise InputError(
            f"{folder}: expected {WEIGHTS}, found pytorch_model.bin, which is a pickle and is not read. Get the "
            "other file from the same place or, if you trust this one, convert it once:\n"
            f'  python -c "from transformers import CLIPModel as M; f = {str(folder)!r}; M.from_pretrained(f).'
            'save_pretrained(f)"'
        )
    if missing:
        raise InputError(
            f"{folder}: expected the files of a CLIP model, missing: {', '.join(missing)}. Nothing is downloaded "
            "here; get it once, 600 MB:\n"
            f"  pip install huggingface_hub && hf download openai/clip-vit-base-patch32 --local-dir {folder}"
        )


def _load(folder: Path) -> tuple[Any, Any, Any]:
    """Load the network, the tokenizer and the image processor."""
    try:
        from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer
    except ImportError as error:
        raise InputError(
            "CLIPScore needs transformers, which is missing or too old: pip install 'captioning[clip]'"
        ) from error
    try:
        model, found = CLIPModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation="sdpa",  # a config may name an implementation that would be downloaded
            output_loading_info=True,
        )
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        # It resizes by Pillow's bicubic interpolation, as OpenAI's code does.
        processor = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises errors of any kind on damaged files
        raise InputError(f"{folder}: not a CLIP model, or a damaged one ({error}); get its files again") from error
    if missing := found["missing_keys"]:
        raise InputError(
            f"{folder}: not the weights of a CLIP model: {len(missing)} of its tensors are missing, such as "
            f"{min(missing)}; get its files again"
        )
    return model.eval(), tokenizer, processor


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name}: {str(error).splitlines()[0]}") from error
    return device


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:16]
