"""Small scenes made of pictures without a background: on a colour, or two side by side."""

from PIL import Image

WHITE = "#ffffff"
COLORS = {
    "red": "#e53935",
    "orange": "#fb8c00",
    "yellow": "#fdd835",
    "green": "#43a047",
    "blue": "#1e88e5",
    "purple": "#8e24aa",
    "pink": "#f48fb1",
    "brown": "#795548",
    "gray": "#9e9e9e",
    "black": "#212121",
}


def on_background(picture: Image.Image, color: str = WHITE) -> Image.Image:
    """An RGBA picture laid on one colour, as RGB."""
    return Image.alpha_composite(Image.new("RGBA", picture.size, color), picture).convert("RGB")


def side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two RGBA pictures at half their size, next to each other at half height; as large as one."""
    width, height = left.size
    scene = Image.new("RGBA", left.size)
    for picture, column in ((left, 0), (right, width // 2)):
        scene.paste(picture.resize((width // 2, height // 2), Image.Resampling.LANCZOS), (column, height // 4))
    return scene
