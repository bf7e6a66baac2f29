"""The comparisons of Janus, LlamaGen and T5, as `comparisons`."""

from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from model_core import families
from model_core.families.conditions import Condition
from model_core.families.llama import step as steps
from model_core.families.llama.janus import family as janus
from model_core.families.llama.janus.text import JanusText
from model_core.families.llama.llamagen import family as llamagen
from model_core.families.llama.t5 import family as t5
from model_core.families.llama.t5.captions import cleaned
from tests.parity.comparisons import FIXTURES, Comparison, equal, load_goldens, near

JANUS, LLAMAGEN = FIXTURES / "janus-tiny", FIXTURES / "llamagen-tiny"
CAPTIONS = LLAMAGEN / "t5-ckpt" / "flan-t5-xl"
# What each recording of codes was drawn with; the guidance comes first.
JANUS_CODES = {
    "greedy_cfg5": {"guidance_scale": 5.0, "greedy": True},
    "greedy_cfg2": {"guidance_scale": 2.0, "greedy": True},
    "greedy_default": {"guidance_scale": 5.0, "greedy": True},
    "sample_default": {"guidance_scale": 5.0, "top_k": 50},
    "sample_deepseek": {"guidance_scale": 5.0},
    "sample_k8_t07": {"guidance_scale": 5.0, "top_k": 8, "temperature": 0.7},
    "sample_p09_t13_cfg3": {"guidance_scale": 3.0, "top_p": 0.9, "temperature": 1.3},
}
LLAMAGEN_CODES = {
    "greedy_cfg7_5": {"guidance_scale": 7.5, "greedy": True},
    "greedy_nocfg": {"guidance_scale": 1.0, "greedy": True},
    "sample_default": {"guidance_scale": 7.5, "top_k": 1000},
    "sample_k8_t07_cfg3": {"guidance_scale": 3.0, "top_k": 8, "temperature": 0.7},
    "sample_p09": {"guidance_scale": 7.5, "top_p": 0.9},
}


def conditions_of(encoded: list[families.conditions.EncodedPrompt]) -> tuple[Condition, Condition]:
    """The prompts' conditions, and what guidance leads away from, each as one with a leading axis."""
    pairs = [(one.condition, one.uncondition) for one in encoded]
    return tuple(  # type: ignore[return-value]  two of them
        Condition(np.stack([one.values for one in side]), np.stack([one.mask for one in side]))
        for side in zip(*pairs, strict=True)
    )


def last_of(values: np.ndarray, length: int) -> np.ndarray:
    """The right end of padded rows; that nothing is in front of it is checked."""
    padding, last = np.split(values, [values.shape[1] - length], axis=1)
    assert (padding == padding[0, 0]).all()
    return last


def cached_logits(family, config, params, text: Condition, codes: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
    """Scores by `step`, whose windows of those widths first hold wrong guesses, then the codes: [B, N, C]."""
    weights = family.step_weights(params)
    read = jax.jit(family.read_text, static_argnums=0)(config, weights, text.values, text.mask)
    state = jax.jit(family.prefill, static_argnums=(0, 4))(config, weights, read, codes[:, :0], 4)
    step = jax.jit(family.step, static_argnums=(0, 5))
    scores, position, turn = [], 0, 0
    while position < codes.shape[1]:
        width = min(widths[turn % len(widths)], codes.shape[1] - position)
        fed = np.pad(codes, ((0, 0), (1, 0)))[:, position : position + width]
        at = jnp.full(len(codes), position, jnp.int32)
        guess = np.where(np.arange(width) == 0, fed, (fed + 1) % config.grid.codebook)  # the first is known
        _, state = step(config, weights, state, guess, at, config.grid.num_codes)
        logits, state = step(config, weights, state, fed, at, config.grid.num_codes)
        scores.append(np.asarray(logits))
        position, turn = position + width, turn + 1
    return np.concatenate(scores, axis=1)


def compare_codes(name, golden, model, texts, recordings) -> Iterator[Comparison]:
    """Codes that were drawn with recorded noise, or greedily; no margin of theirs is as small as our error."""
    prompts, nothing = texts
    for recording, how in recordings.items():
        noise = {} if how.get("greedy") else {"gumbel": golden["gumbel"]}
        codes = families.generate(*model, prompts, nothing, **how, **noise)
        yield equal(name, f"codes, {recording}", golden[recording], codes)


def compare_janus() -> Iterator[Comparison]:
    """janus-tiny, but for its codec."""
    name, goldens = "janus-tiny", load_goldens("janus-tiny")
    model = _, config, params = families.load(JANUS)
    text: JanusText = janus.open_text(JANUS)
    prompts, codes = goldens["prompts"].tolist(), goldens["codes"]
    length = goldens["input_ids"].shape[1]
    texts = condition, uncondition = conditions_of(text.encode([(prompt, "") for prompt in prompts]))
    yield equal(name, "token ids", goldens["input_ids"], last_of(condition.values, length))
    yield equal(name, "token ids, unconditional", goldens["input_ids_uncond"], last_of(uncondition.values, length))
    yield equal(name, "mask", goldens["attention_mask"], last_of(condition.mask, length))
    yield near(name, "embeddings of codes", 1e-4, goldens["code_embeds"], janus.code_embeddings(params, codes))

    fed = np.concatenate([goldens["input_ids"][:2], codes[:2, :-1]], axis=1)
    real = np.concatenate([goldens["attention_mask"][:2], np.ones_like(codes[:2, :-1])], axis=1)
    words = params["words"][fed[:, :length]]
    x = jnp.concatenate([words, janus.code_embeddings(params, fed[:, length:])], axis=1)
    position = np.maximum(real.cumsum(1) - 1, 0)
    rotary = janus.rotary_at(config, jnp.asarray(position))
    states = jax.jit(lambda x, real: steps.read(config.blocks, params, x, rotary, real)[0])(x, real > 0)
    last = steps.rms_norm(states[-1], params["norm"], config.blocks.eps)
    hidden = np.stack([x, *states[:-1], last]) * real[None, ..., None]
    yield near(name, "hidden states of all layers", 1e-4, goldens["hidden_states"], hidden)
    for side, which in ((condition, ""), (uncondition, "_uncond")):
        words = ", unconditional" if which else ""
        last = janus.last_states(config, params, side.values, side.mask, codes[:, :-1])
        yield near(name, f"last hidden states{words}", 1e-4, goldens[f"last_hidden_state{which}"], last)
        logits = janus.logits(config, params, side.values, side.mask, codes[:, :-1])
        yield near(name, f"logits{words}", 1e-4, goldens[f"logits{which}"], logits)
        cached = cached_logits(*model, side, codes, (1,))
        yield near(name, f"logits, one at a time{words}", 1e-4, goldens[f"logits_cached{which}"], cached)
    yield from compare_codes(name, goldens, model, texts, JANUS_CODES)
    twice = [Condition(np.repeat(side.values, 2, 0), np.repeat(side.mask, 2, 0)) for side in texts]
    rng = np.random.default_rng(int(goldens["sample_n2_seed"]))
    shape = len(codes) * 2, config.codebook
    noise = np.stack([rng.gumbel(size=shape).astype(np.float32) for _ in range(codes.shape[1])], axis=1)
    drawn = families.generate(*model, *twice, guidance_scale=5.0, top_k=50, gumbel=noise)
    yield equal(name, "codes, sample_n2", goldens["sample_n2"], drawn)


def compare_captions() -> Iterator[Comparison]:
    """llamagen-tiny: captions to encoder states."""
    name, goldens = "llamagen-tiny", load_goldens("llamagen-tiny")
    _, config, params = families.load(CAPTIONS)
    text = t5.open_text(CAPTIONS)
    prompts = goldens["prompts"].tolist()
    yield equal(name, "cleaned captions", goldens["cleaned"], np.array([cleaned(prompt) for prompt in prompts]))
    tokens, mask = text.tokenizer(prompts)
    yield equal(name, "T5's token ids", goldens["t5_input_ids"], tokens)
    yield equal(name, "T5's mask", goldens["t5_attention_mask"], mask)
    hidden = np.stack(t5.hidden_states(config, params, tokens[:2], mask[:2]))
    yield near(name, "T5's hidden states", 2e-5, goldens["t5_hidden_states"], hidden)
    yield near(name, "T5's states", 2e-5, goldens["t5_last_hidden_state"], t5.encode(config, params, tokens, mask))
    condition, uncondition = conditions_of(text.encode([(prompt, "") for prompt in prompts]))
    yield near(name, "conditions", 2e-5, goldens["cond"], condition.values)
    yield equal(name, "masks of conditions", goldens["cond_mask"], condition.mask)
    yield equal(name, "masks of no caption", goldens["cond_mask"], uncondition.mask)


def compare_llamagen() -> Iterator[Comparison]:
    """llamagen-tiny: conditions to codes."""
    name, goldens = "llamagen-tiny", load_goldens("llamagen-tiny")
    model = _, config, params = families.load(LLAMAGEN / "gpt")
    values, mask, codes = goldens["cond"], goldens["cond_mask"].astype(np.int32), goldens["codes"]
    texts = Condition(values, mask), Condition(np.zeros_like(values), mask)
    project = partial(llamagen.caption_embeddings, config, params)
    yield near(name, "embeddings of captions", 1e-4, goldens["caption_embeds"], project(values))
    yield near(name, "embeddings of no caption", 1e-4, goldens["caption_embeds_uncond"], project(0 * values[:1]))
    places = jnp.concatenate([jnp.zeros(values.shape[1], int), 1 + jnp.arange(config.grid.num_codes)])
    rotary = llamagen.rotary_of_places(config, places[None])
    turns = np.stack([rotary.cos[0], rotary.sin[0]], axis=-1)
    yield near(name, "rotary angles", 2e-7, goldens["freqs_cis"], turns)

    x = jnp.concatenate([project(values[:1]), params["codes"][codes[:1, :-1]]], axis=1)
    real = np.pad(mask[:1], ((0, 0), (0, codes.shape[1] - 1)), constant_values=1)
    rotary = llamagen.rotary_of_places(config, places[None, : x.shape[1]])
    states = jax.jit(lambda x, real: steps.read(config.blocks, params, x, rotary, real)[0])(x, real > 0)
    hidden = np.stack(states) * real[None, ..., None]
    yield near(name, "outputs of all layers", 1e-4, goldens["hidden_states"] * real[None, ..., None], hidden)
    for side, which in zip(texts, ("", "_uncond"), strict=True):
        words = ", unconditional" if which else ""
        logits = llamagen.logits(config, params, side.values, side.mask, codes[:, :-1])
        yield near(name, f"logits{words}", 1e-4, goldens[f"logits{which}"], logits)
        cached = cached_logits(*model, side, codes, (1,))
        yield near(name, f"logits, one at a time{words}", 1e-4, goldens[f"logits_cached{which}"], cached)
    yield from compare_codes(name, goldens, model, texts, LLAMAGEN_CODES)


ALL: dict[str, Callable[[], Iterator[Comparison]]] = {
    "janus-tiny": compare_janus,
    "llamagen-tiny, captions": compare_captions,
    "llamagen-tiny": compare_llamagen,
}
