"""Each network by itself, on pictures of a data set: how well it spells, predicts and matches them.

Pictures are taken group by group (split and style), since a number over pictures that were learned says little about
those that were not. Knows nothing of drawing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Int, UInt8

from model_core import codecs, families, scorers
from model_core.batches import batches, in_batches
from model_core.bundles import Bundle
from model_core.families.dalle_bart import family as dalle_bart
from model_core.families.dalle_bart.text import open_tokenizer
from model_core.pictures.images import to_pixels, to_uint8
from model_core.shipped.evaluation.measures import hits, psnr, ssim
from model_core.training.canonical_codes import canonical_codes
from model_core.training.data import Dataset, Item

BATCH = 16
PREDICTED = 500  # pictures of a group at most, evenly chosen, whose codes are predicted: it takes longest


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupScores:
    """What the networks make of one group of pictures.

    Attributes:
      psnr: dB over the pictures' own pixels, mean over pictures.
      ssim: 1 for perfect, mean over pictures.
      codes_used: share of the codebook that the group's codes use.
      nll: of a code given those before it and the prompt, in nats, mean over codes of `PREDICTED` pictures at most.
      nll_wrong_prompt: the same with another picture's prompt: the difference is what the text tells the model.
      recall_at_1, recall_at_5: how often CLIP finds a prompt's picture among the group's concepts; None without CLIP.
    """

    split: str
    style: str
    num_pictures: int
    psnr: float
    ssim: float
    codes_used: float
    nll: float
    nll_wrong_prompt: float
    recall_at_1: float | None
    recall_at_5: float | None


class Networks:
    """The networks of a model, loaded to be measured."""

    def __init__(self, bundle: Bundle):
        self._codec = codecs.load(bundle.codec)
        _, *self._dalle_bart = families.load(bundle.sampler)
        self._tokenizer = open_tokenizer(bundle.text)
        self._scorer = None
        if folder := bundle.scorer:
            loaded = scorers.load(folder)
            self._scorer = (*loaded, loaded[0].open_text(folder))

    def measure(self, dataset: Dataset) -> list[GroupScores]:
        """Scores of every (split, style) of the data set."""
        groups: dict[tuple[str, str], list[Item]] = {}
        for item in dataset.items:
            groups.setdefault((item.split, item.style), []).append(item)
        return [
            self.measure_group(split, style, items, dataset.load_pixels(items))
            for (split, style), items in groups.items()
        ]

    def measure_group(
        self, split: str, style: str, items: Sequence[Item], pixels: UInt8[np.ndarray, "M h w 3"]
    ) -> GroupScores:
        """Scores of pictures that share a split and a style."""
        codes = self.encode(pixels)
        got = self.reconstruct(codes)
        recalls = self.recalls(items, pixels)
        canonical = canonical_codes(items, pixels, self.encode)  # as in training
        chosen = np.linspace(0, len(items) - 1, min(len(items), PREDICTED)).round().astype(int)
        prompts, canonical = [items[row].prompts[0][0] for row in chosen], canonical[chosen]
        return GroupScores(
            split=split,
            style=style,
            num_pictures=len(items),
            psnr=float(np.mean([psnr(one, want) for one, want in zip(got, pixels, strict=True)])),
            ssim=float(np.mean([ssim(one, want) for one, want in zip(got, pixels, strict=True)])),
            codes_used=len(np.unique(codes)) / self._codec[1].grid.codebook,
            nll=self.nll(prompts, canonical),
            nll_wrong_prompt=self.nll(prompts[1:] + prompts[:1], canonical),
            recall_at_1=recalls and recalls[0],
            recall_at_5=recalls and recalls[1],
        )

    def encode(self, images: UInt8[np.ndarray, "M h w 3"]) -> Int[np.ndarray, "M N"]:
        """Pictures to codes."""
        codec, config, params = self._codec
        return in_batches(lambda rows: codec.encode(config, params, to_pixels(rows)), images, BATCH)

    def reconstruct(self, codes: Int[np.ndarray, "M N"]) -> UInt8[np.ndarray, "M h w 3"]:
        """Codes to pictures."""
        codec, config, params = self._codec
        return in_batches(lambda rows: to_uint8(np.asarray(codec.decode(config, params, rows))), codes, BATCH)

    def nll(self, prompts: list[str], codes: Int[np.ndarray, "M N"]) -> float:
        """Mean negative log-likelihood of the codes, in nats a code, each given the true codes before it."""
        config, params = self._dalle_bart
        total = 0.0
        for rows, count in batches(len(codes), BATCH):
            tokens, mask = self._tokenizer([prompts[row] for row in rows])
            shown = np.pad(codes[rows][:, :-1], ((0, 0), (1, 0)), constant_values=config.decoder_start_token_id)
            logits = dalle_bart.forward(config, params, tokens, mask, shown.astype(np.int32))
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(codes[rows]))
            total += float(losses[:count].mean(axis=1).sum())
        return total / len(codes)

    def recalls(self, items: Sequence[Item], pixels: UInt8[np.ndarray, "M h w 3"]) -> tuple[float, float] | None:
        """How often a concept's prompt finds its picture first, and among the first five; one picture a concept."""
        if self._scorer is None:
            return None
        first = list({item.concept: row for row, item in reversed(list(enumerate(items)))}.values())
        texts, images = [], []
        scorer, config, params, text = self._scorer
        for rows, count in batches(len(first), BATCH):
            chosen = [first[row] for row in rows]
            tokens = text([items[row].prompts[0][0] for row in chosen])
            texts.append(np.asarray(scorer.embed_text(config, params, *tokens))[:count])
            preprocessed = scorer.preprocess(config, list(pixels[chosen]))
            images.append(np.asarray(scorer.embed_pixels(config, params, preprocessed))[:count])
        logits: Float[np.ndarray, "M M"] = np.concatenate(texts) @ np.concatenate(images).T
        labels = np.arange(len(first))
        return float(hits(logits, labels, 1).mean()), float(hits(logits, labels, 5).mean())
