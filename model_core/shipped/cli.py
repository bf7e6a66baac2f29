"""`dalle-serve train data emoji`, `world` and `world-sprites`: the shipped model's data sets, on the command line."""

from pathlib import Path
from typing import Annotated

import typer

from model_core.training.cli import console, data_app


@data_app.command("emoji")
def build_emoji_data(
    out: Annotated[Path, typer.Argument(help="Folder of the new data set.")],
    size: Annotated[int, typer.Option(help="Side of the pictures, in pixels.")] = 128,
    concepts: Annotated[int | None, typer.Option(help="Learn the first so many; the others stay unseen.")] = None,
    style: Annotated[list[str] | None, typer.Option(help="Only this style; may be given again. Else all.")] = None,
    backgrounds: Annotated[int, typer.Option(help="Colours to lay each picture on besides white, up to 10.")] = 0,
    pairs: Annotated[int, typer.Option(help="Pairs of things in each style, on white and on a colour.")] = 0,
    mirrored: Annotated[
        bool, typer.Option("--mirrored", help="Each picture also with left and right exchanged.")
    ] = False,
    tilted: Annotated[bool, typer.Option("--tilted", help="Each picture that is not mirrored also tilted.")] = False,
    validation: Annotated[
        bool, typer.Option(help="Of several styles, keep one of each twelfth thing back to measure with.")
    ] = True,
) -> None:
    """Draw the openly licensed emoji sets, fetched with npm, and caption them."""
    from model_core.shipped.emoji import build_emoji

    report = build_emoji(
        out,
        size=size,
        num_concepts=concepts,
        styles=style,
        backgrounds=backgrounds,
        pairs=pairs,
        mirrored=mirrored,
        tilted=tilted,
        validation=validation,
    )
    splits = ", ".join(f"{count} {split}" for split, count in report.splits.items())
    console.print(f"{report.num_items} pictures ({splits}), {report.num_concepts} concepts to learn, in {out}")
    for reason, count in report.dropped.items():
        console.print(f"  left out: {count} × {reason}")


@data_app.command("world")
def build_world_data(
    out: Annotated[Path, typer.Argument(help="Folder of the new data set.")],
    scenes: Annotated[int, typer.Option(help="How many scenes to train on.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Scenes of one seed are always the same.")] = 0,
    first: Annotated[int, typer.Option(help="Number of the first scene.")] = 0,
    validation: Annotated[int, typer.Option(help="Scenes with combinations that training never sees.")] = 0,
    sprites: Annotated[Path | None, typer.Option(help="Folder of the drawings. Else data/world.")] = None,
) -> None:
    """Draw scenes: things in colours, numbers, places and relations, each with captions."""
    from model_core.shipped.world.dataset import build_world
    from model_core.shipped.world.sprites import FOLDER, Sprites

    count = build_world(out, Sprites.open(sprites or FOLDER), scenes, seed, first, validation)
    console.print(f"{count} pictures in {out}")


@data_app.command("world-sprites")
def build_world_sprites(
    out: Annotated[Path | None, typer.Argument(help="Folder of the drawings. Else data/world.")] = None,
) -> None:
    """Draw the things that scenes are made of, once; fetches openly licensed picture sets with npm."""
    from model_core.shipped.world.sprites import FOLDER, build_sprites

    console.print(f"{build_sprites(out or FOLDER)} drawings in {out or FOLDER}")
