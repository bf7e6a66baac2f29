"""The decoder-only family against its references: DALLE-pytorch 1.6.6, rudalle 1.1.3, minDALL-E (e548007)."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from model_core import families
from model_core.families.conditions import FREE
from model_core.families.dalle_gpt import family as dalle_gpt
from model_core.families.dalle_gpt.network import layer_norm
from tests.parity.comparisons import FIXTURES, Comparison, equal, load_goldens, near

NAMES = ["dp-rotary", "dp-plain-clip", "dp-taming", "rudalle", "mindalle"]
STATES, LOGITS = 5e-5, 1e-4
GUIDED = 5 * LOGITS  # guidance of scale 3


def compare_dalle_gpt(name: str) -> Iterator[Comparison]:
    """Text, states, scores and codes of one tiny model."""
    goldens = load_goldens(name)
    _, config, params = families.load(FIXTURES / name)
    texts = dalle_gpt.open_text(FIXTURES / name).encode([(prompt, "") for prompt in goldens["prompts"].tolist()])
    ids = np.stack([text.condition.values for text in texts])
    yield equal(name, "text tokens", goldens["input_ids"], ids)
    counts = np.minimum(goldens["token_counts"], config.text_length)
    yield equal(name, "numbers of text tokens", counts, [text.num_tokens for text in texts])

    codes, mask = goldens["image_codes"], np.ones_like(ids)
    for key, values in (("logits_image", ids), ("logits_image_null", 0 * ids)):
        if key in goldens:
            recorded = goldens[key]
            count = len(recorded)
            scored = dalle_gpt.logits(config, params, values[:count], mask[:count], codes[:count, :-1])
            yield near(name, "logits, no text" if "null" in key else "logits", LOGITS, recorded, scored)
    yield from _compare_states(name, goldens, config, params)

    conditions, nothing = [text.condition for text in texts], [text.uncondition for text in texts]
    generate = partial(families.generate, dalle_gpt, config, params)
    codes = generate(conditions, None, guidance_scale=1.0, greedy=True)
    yield _equal_codes(name, "codes, greedy", goldens, "greedy", codes, LOGITS)
    if config.guides:
        codes = generate(conditions, nothing, guidance_scale=3.0, greedy=True)
        yield _equal_codes(name, "codes, greedy, guidance 3", goldens, "greedy_cond3", codes, GUIDED)
    for key in (key for key in ("sample0", "sample1") if key in goldens):
        temperature, top_k, top_p = _settings(name, goldens[f"{key}_args"].tolist(), config)
        drawn = conditions[: len(goldens[key])]
        how = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        codes = generate(drawn, None, guidance_scale=1.0, **how, gumbel=goldens[f"{key}_gumbel"])
        said = f"codes, temperature {temperature:.2g}, top_k {top_k}, top_p {top_p:.2g}"
        yield _equal_codes(name, said, goldens, key, codes, LOGITS / temperature)
    for key, given in _primed(goldens):
        codes = generate(conditions[: len(given)], None, guidance_scale=1.0, greedy=True, prefix=given)
        recorded = goldens | {key: goldens[key].reshape(given.shape)}
        said = f"codes, {key.removeprefix('primed_').replace('_', ' ')} given"
        yield _equal_codes(name, said, recorded, key, codes, LOGITS)


def _compare_states(name: str, goldens: dict[str, np.ndarray], config: Any, params: Any) -> Iterator[Comparison]:
    """Of the first prompt: what every layer gets and gives, and the scores of its text."""
    ids, codes, recorded = goldens["input_ids"][:1], goldens["image_codes"][:1], goldens["hidden_states"]
    states = dalle_gpt.hidden_states(config, params, ids, codes)
    text = goldens["logits_text"]
    scored = dalle_gpt.text_logits(config, params, states[-1])[:, : text.shape[1]]
    yield near(name, "logits of text", LOGITS, text, scored)
    if not name.startswith("dp-"):  # the others' recordings leave out what goes into feed-forward layers
        states = states[::2]
    if name == "rudalle":  # and the last is behind a norm
        states.append(layer_norm(params["final_norm"], states[-1]))
    got = np.stack(states)[:, :, : recorded.shape[2]]
    yield near(name, "states between layers", STATES, recorded, got)


def _settings(name: str, args: list[float], config: Any) -> tuple[float, int, float]:
    """temperature, top_k, top_p of a recording; a top_k that leaves all codes is none."""
    if name.startswith("dp-"):
        _, temperature, top_k = args
        return temperature, 0 if top_k >= config.codebook else int(top_k), 1.0
    top_k, top_p, temperature = args
    return temperature, int(max(top_k, 0)), top_p if top_p > 0 else 1.0


def _primed(goldens: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Recordings that began with codes of a picture: their names, and the codes that were given."""
    for key, codes in goldens.items():
        if not key.startswith("primed_") or key.endswith(("_margin", "_positions")):
            continue
        codes = np.atleast_2d(codes)
        kept = goldens.get(f"{key}_positions")
        if kept is None:
            kept = np.arange(codes.shape[1] - goldens[f"{key}_margin"].shape[1])
        given = np.full_like(codes, FREE)
        given[:, kept] = codes[:, kept]
        yield key, given


def _equal_codes(
    name: str, quantity: str, goldens: dict[str, np.ndarray], key: str, codes: np.ndarray, error: float
) -> Comparison:
    """Equal as far as the reference's own margins are above what scores may differ by: to the end, in most."""
    margins = np.atleast_2d(goldens[f"{key}_margin"])
    margins = np.pad(margins, ((0, 0), (codes.shape[1] - margins.shape[1], 0)), constant_values=np.inf)
    is_clear = np.logical_and.accumulate(np.nan_to_num(margins, nan=np.inf) > 2 * error, axis=1)
    compared = equal(name, quantity, np.where(is_clear, goldens[key], 0), np.where(is_clear, codes, 0))
    unclear = int((~is_clear).sum())
    return replace(compared, quantity=f"{quantity} ({unclear} of {codes.size} behind a tie)") if unclear else compared


ALL: dict[str, Callable[[], Iterator[Comparison]]] = {name: partial(compare_dalle_gpt, name) for name in NAMES}
