"""Writes an evaluation down: `evaluation.json`, `evaluation.md` with its sheets of pictures, and a plot.

Knows what the scores mean to a reader; measures nothing.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from model_core.pictures.images import grid
from model_core.shipped.evaluation.evaluation import GUIDANCE_SCALES, TEMPERATURES, PictureScores, Sheets
from model_core.shipped.evaluation.networks import PREDICTED, GroupScores
from model_core.shipped.evaluation.variety import DIFFERENT, DRAWS
from model_core.shipped.evaluation.wishes import MISSING, VARIED_EVERY, WishScores

THUMBNAIL = 64  # pixels a side, on the sheets
COLUMNS = 20


def write_report(
    out: Path,
    about: dict[str, Any],
    networks: list[GroupScores],
    pictures: PictureScores | None = None,
    sheets: Sheets | None = None,
    wishes: Sequence[WishScores] = (),
) -> Path:
    """Writes the report of what was measured into `out`; gives the path of its Markdown.

    Args:
      about: what was evaluated, how and where; goes into the report word by word.
      networks: scores of the networks; none where no data set was given.
      pictures, sheets: what drawing showed; None where nothing was drawn.
      wishes: what drawing on colours and in styles showed; none where the data set names none.
    """
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "about": about,
        "networks": [dataclasses.asdict(each) for each in networks],
        "pictures": pictures and dataclasses.asdict(pictures),
        "wishes": [dataclasses.asdict(each) for each in wishes],
    }
    (out / "evaluation.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = "\n".join(f"| {name} | {value} |" for name, value in about.items())
    parts = [f"# Evaluation\n\n| | |\n|---|---|\n{lines}\n"]
    if networks:
        parts.append(_networks_section(networks))
    if pictures and sheets:
        _save(sheets.best, out / "best.png", COLUMNS)
        for name, sheet in (("seeds", sheets.first), ("settings", sheets.settings)):
            rows, columns = sheet.shape[:2]
            _save(sheet.reshape(rows * columns, *sheet.shape[2:]), out / f"{name}.png", columns)
        plot_adherence(pictures, out / "adherence.png")
        parts.append(_pictures_section(pictures))
    if wishes:
        parts.append(_wishes_section(wishes))
    if pictures:
        parts.append(_judge_section(pictures))
    path = out / "evaluation.md"
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def plot_adherence(pictures: PictureScores, path: Path) -> None:
    """Draws top-1 and top-5 over best_of, with intervals, and what the judge says of real pictures."""
    from matplotlib.figure import Figure  # here, because it takes a second, and no screen

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    best_ofs = [each.best_of for each in pictures.adherence]
    for k in (1, 5):
        values = [getattr(each, f"top_{k}") for each in pictures.adherence]
        errors = np.abs(np.array([getattr(each, f"top_{k}_interval") for each in pictures.adherence]).T - values)
        axes.errorbar(best_ofs, values, yerr=errors, marker="o", capsize=4, label=f"drawn, top-{k}")
    upright = [each for each in pictures.judge if not each.is_tilted]
    for style, line in zip(upright, (":", "--", "-."), strict=False):
        axes.axhline(style.top_1, color="gray", linestyle=line, label=f"real, {style.style}, top-1")
    axes.set_xscale("log", base=2)
    axes.set_xticks(best_ofs, [str(best_of) for best_of in best_ofs])
    axes.set(xlabel="best_of", ylabel="judged to be what was asked for", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize="small")
    figure.savefig(path, dpi=100)


def _networks_section(networks: list[GroupScores]) -> str:
    head = (
        "## The networks, one by one\n\n"
        "| split | style | pictures | PSNR, dB | SSIM | codes used | NLL | NLL, wrong prompt | CLIP R@1 | R@5 |\n"
        "|---|---|---|---|---|---|---|---|---|---|\n"
    )
    rows = [
        f"| {each.split} | {each.style} | {each.num_pictures} | {each.psnr:.1f} | {each.ssim:.3f} "
        f"| {each.codes_used:.0%} | {each.nll:.3f} | {each.nll_wrong_prompt:.3f} "
        f"| {_percent(each.recall_at_1)} | {_percent(each.recall_at_5)} |"
        for each in networks
    ]
    foot = (
        "\nPSNR is taken over a picture's own pixels (what is drawn, and two pixels around it). NLL is in nats a code, "
        f"each given the true codes before it, over {PREDICTED} pictures of a row at most; by how much it is higher "
        "with another picture's prompt is what the text tells the model. R@k: how often a prompt's picture is among "
        "the k that CLIP finds nearest, of all concepts of the row. "
        'Rows "train" were learned from; "unseen" holds things that no part has seen.\n'
    )
    return head + "\n".join(rows) + "\n" + foot


def _pictures_section(pictures: PictureScores) -> str:
    best, variety = pictures.adherence[-1], pictures.variety
    head = (
        f"## The pictures\n\n{pictures.num_prompts} prompts (`model_core/shipped/evaluation/prompts.txt`), "
        f"{pictures.num_draws} draws each, seeds from 0, default sampling. CLIP, the model's own, chooses; the judge "
        "below decides.\n\n"
        "| best_of | top-1 | top-5 | gain over single draws |\n|---|---|---|---|\n"
    )
    rows = [
        f"| {each.best_of} | {each.top_1:.1%} {_range(each.top_1_interval)} | {each.top_5:.1%} "
        f"{_range(each.top_5_interval)} | {100 * each.gain:+.1f} points {_range(each.gain_interval)} |"
        for each in pictures.adherence
    ]
    relative = [
        f"{best.top_1 / each.top_1:.2f} × ({each.style}, top-1), {best.top_5 / each.top_5:.2f} × (top-5)"
        for each in pictures.judge
        if not each.is_tilted
    ]
    foot = (
        f"\nIntervals of 95 %, by resampling prompts. Best of {best.best_of} relative to real pictures: "
        f"{'; '.join(relative)}. Blank pictures: {pictures.blanks:.1%} of all draws. Two draws of a prompt differ by "
        f"{variety.mean_difference:.1%} of the range of a pixel over what is drawn. Of the first {variety.num_draws} "
        f"draws {variety.num_different:.1f} are different pictures, on average; with {variety.alike:.1%} of the "
        "prompts they are one picture.\n\n"
        "![top-1 and top-5 over best_of](adherence.png)\n\n"
        f"The best of {best.best_of} for every prompt, in the order of the list, unpicked:\n\n![](best.png)\n\n"
        "The first draws of some prompts, evenly chosen from the list, one prompt a row:\n\n![](seeds.png)\n\n"
        f"The first prompt, seed 0, at the guidance scales {_listed(GUIDANCE_SCALES)} from above and the temperatures "
        f"{_listed(TEMPERATURES)} from the left:\n\n![](settings.png)\n\n"
        f"Judged wrong at best of {best.best_of} ({len(pictures.wrong)}): {', '.join(pictures.wrong) or 'none'}.\n"
    )
    return head + "\n".join(rows) + "\n" + foot


def _wishes_section(wishes: Sequence[WishScores]) -> str:
    rows = [
        f"| {each.kind} | {'yes' if each.is_seen else 'no'} | {each.num_prompts} "
        f"| {each.right:.1%} {_range(each.right_interval)} | {each.thing:.1%} | {_percent(each.whole, 1)} "
        f"| {each.num_different:.1f} |"
        for each in wishes
    ]
    return (
        "## Other names, colours and styles\n\n"
        "One draw a prompt, seed 0, of every second thing of the list: by its name, by its first synonym, on one "
        "colour that it was learned on and on one that it was not, and in every style.\n\n"
        "| asked for | learned together with the thing | prompts | right | shows the thing | all of it "
        f"| different of {DRAWS} |\n|---|---|---|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n\nA background is right if the border is nearest to its colour, of eleven; a style, if the nearest real "
        "picture of the thing is in it; the thing, and so a name, if the nearest of all real pictures, on white, is "
        "one of it. A picture shows all of it if its squared distance from a real one of its prompt is at most "
        f"{MISSING:.0%} of that one's own from its plain background. The last column is of "
        f"the first draws of one prompt in {VARIED_EVERY}: how many are different pictures, on average, which "
        f"differ by more than {DIFFERENT:.0%} of the range of a pixel over what is drawn.\n"
    )


def _judge_section(pictures: PictureScores) -> str:
    rows = [
        f"| {each.style}{', tilted' * each.is_tilted} | {each.num_pictures} | {each.top_1:.1%} | {each.top_5:.1%} |"
        for each in pictures.judge
    ]
    return (
        "## The judge\n\n"
        f"A linear discriminant over colours and edges (`model_core/shipped/evaluation/judge.py`), "
        f"{pictures.num_prompts} classes. It took no part in drawing or choosing, and learned only from the art below, "
        "which no network of the model has seen. On real pictures of the sets that models are trained on, which it has "
        "not seen:\n\n"
        "| set | pictures | top-1 | top-5 |\n|---|---|---|---|\n"
        + "\n".join(rows)
        + f"\n\n{pictures.licences}\nThese sets are fetched where the judge is trained; neither they nor the judge are "
        "part of the project.\n"
    )


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _percent(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:.{digits}%}"


def _range(bounds: tuple[float, float]) -> str:
    return f"({100 * bounds[0]:.1f} … {100 * bounds[1]:.1f})"


def _save(images: UInt8[np.ndarray, "M h w 3"], path: Path, columns: int) -> None:
    small = [
        np.asarray(Image.fromarray(image).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)) for image in images
    ]
    sheet = Image.fromarray(grid(small, columns))
    sheet.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
