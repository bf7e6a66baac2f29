"""What is known of published models: where they are, under which licence, and what to do with them once they are here.

Text alone: nothing here fetches anything. `bundles.fetch` does, and `archives` what lies on no hub.
"""

from dataclasses import dataclass

NOT_STATED = "not stated"  # where the weights' own page names none


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A tar file on a server that is no hub.

    Attributes:
      members: the files in it that are read, without the folder that all of them lie in.
    """

    url: str
    md5: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A published model, or a part of one.

    Attributes:
      id: what it is asked for by: a Hugging Face id, or that of its source code where the weights are elsewhere.
      what: what it is, in a few words.
      licence: of the weights.
      restricts: what the licence forbids that running a service may well be; it has to be accepted then.
      gigabytes: to fetch.
      files: patterns of what is fetched, where that is not what a model of ours consists of.
      archive: where it lies, if on no hub.
      instead: the release that has the same weights in files that are read; this one is refused.
      steps: shell commands that come next, with `{folder}` for where it was put.
    """

    id: str
    what: str
    licence: str
    gigabytes: float
    restricts: str = ""
    files: tuple[str, ...] = ()
    archive: Archive | None = None
    instead: str = ""
    steps: tuple[str, ...] = ()


_CLIP = "openai/clip-vit-base-patch32"
_RUDALLE_UTILS = '--also "$(dalle-serve models download ai-forever/rudalle-utils)"'
_DEEPSEEK = "DeepSeek Model License (lists uses that are not allowed)"


def _dalle_mini(size: str, gigabytes: float) -> Release:
    steps = (
        f"mkdir {size} && ln -s {{folder}} {size}/dalle_bart",
        f'ln -s "$(dalle-serve models download dalle-mini/vqgan_imagenet_f16_16384)" {size}/vqgan',
        f'ln -s "$(dalle-serve models download {_CLIP})" {size}/clip',
        f"dalle-serve serve --model {size}",
    )
    what = f"DALL·E {size}, its sampler, 256 px"
    return Release(id=f"dalle-mini/dalle-{size}", what=what, licence="Apache-2.0", gigabytes=gigabytes, steps=steps)


def _rudalle(hub_id: str, what: str, file: str, name: str) -> Release:
    steps = (f"dalle-serve convert {{folder}}/{file} {name} {_RUDALLE_UTILS}", f"dalle-serve serve --model {name}")
    return Release(id=hub_id, what=what, licence=NOT_STATED, gigabytes=2.6, files=(file,), steps=steps)


def _janus(hub_id: str, what: str, gigabytes: float) -> Release:
    steps = (f"dalle-serve models download {_CLIP}", f"dalle-serve serve --model {hub_id} --scorer {_CLIP}")
    return Release(id=hub_id, what=what, licence=_DEEPSEEK, gigabytes=gigabytes, steps=steps)


RELEASES: tuple[Release, ...] = (
    _dalle_mini("mini", 1.8),
    _dalle_mini("mega", 10.4),
    Release(
        id="dalle-mini/vqgan_imagenet_f16_16384",
        what="the codec of DALL·E mini and mega",
        licence=NOT_STATED,
        gigabytes=0.3,
    ),
    Release(id=_CLIP, what="a scorer, for any model", licence="MIT (of its code)", gigabytes=0.6),
    _janus("deepseek-community/Janus-Pro-1B", "Janus-Pro, 384 px", 4.2),
    _janus("deepseek-community/Janus-Pro-7B", "Janus-Pro, 384 px", 14.8),
    *(
        Release(
            id=f"deepseek-ai/Janus-Pro-{size}",
            what="Janus-Pro, as pickles",
            licence=_DEEPSEEK,
            gigabytes=0,
            instead=f"deepseek-community/Janus-Pro-{size}",
        )
        for size in ("1B", "7B")
    ),
    Release(
        id="peizesun/llamagen_t2i",
        what="LlamaGen XL from captions, 256 px",
        licence="MIT",
        gigabytes=3.4,
        files=("t2i_XL_stage1_256.pt", "vq_ds16_t2i.pt"),
        steps=(
            'dalle-serve convert {folder} llamagen --also "$(dalle-serve models download google/flan-t5-xl)"',
            "dalle-serve serve --model llamagen",
        ),
    ),
    Release(id="google/flan-t5-xl", what="the text encoder of LlamaGen", licence="Apache-2.0", gigabytes=11.4),
    _rudalle("ai-forever/rudalle-Malevich", "ruDALL-E, in Russian, 256 px", "pytorch_model_v3.bin", "malevich"),
    _rudalle("ai-forever/rudalle-Emojich", "ruDALL-E for emoji, in Russian, 256 px", "pytorch_model.bin", "emojich"),
    Release(
        id="ai-forever/rudalle-utils",
        what="codec and tokenizer of ruDALL-E",
        licence=NOT_STATED,
        gigabytes=0.4,
        files=("bpe.model", "vqgan.gumbelf8-sber.model.ckpt", "*.yml"),
    ),
    Release(
        id="kakaobrain/minDALL-E",
        what="minDALL-E 1.3B, 256 px",
        licence="CC-BY-NC-SA-4.0",
        restricts="no commercial use",
        gigabytes=5,
        archive=Archive(
            url="https://arena.kakaocdn.net/brainrepo/models/minDALL-E/57b008f02ceaa02b779c8b7463143315/1.3B.tar.gz",
            md5="57b008f02ceaa02b779c8b7463143315",
            members=(
                "config.yaml",
                "stage1_last.ckpt",
                "stage2_last.ckpt",
                "tokenizer/bpe-16k-vocab.json",
                "tokenizer/bpe-16k-merges.txt",
            ),
        ),
        steps=("dalle-serve convert {folder} mindalle", "dalle-serve serve --model mindalle"),
    ),
)


def find(name: str) -> Release | None:
    """What is known of a model by its id, whatever its revision and the case of its letters."""
    wanted = name.partition("@")[0].lower()
    return next((release for release in RELEASES if release.id.lower() == wanted), None)
