// A small picture, large and sharp: resampled with Lanczos' windowed sinc, as good print does, where browsers blur.

const LOBES = 3;

/** Draws a decoded picture into a canvas of `width` × `height` device pixels. */
export function drawSharp(image, canvas, width, height) {
  if (width > image.naturalWidth) return enlarge(image, canvas, width, height);
  Object.assign(canvas, { width, height });
  const brush = canvas.getContext("2d");
  brush.imageSmoothingQuality = "high";
  brush.drawImage(image, 0, 0, width, height);
}

function enlarge(image, canvas, width, height) {
  const source = document.createElement("canvas");
  Object.assign(source, { width: image.naturalWidth, height: image.naturalHeight });
  const brush = source.getContext("2d", { willReadFrequently: true });
  brush.drawImage(image, 0, 0);
  const pixels = brush.getImageData(0, 0, source.width, source.height);
  Object.assign(canvas, { width, height });
  const solid = Float32Array.from(pixels.data, (value, i) => (i % 4 === 3 ? value : (value * pixels.data[i | 3]) / 255)); // what is clear has no colour
  const rows = stretched(solid, source.width, source.height, width);
  const columns = stretched(turned(rows, width, source.height), source.height, width, height);
  const drawn = turned(columns, height, width);
  const shown = Uint8ClampedArray.from(drawn, (value, i) => (i % 4 === 3 ? value : (value * 255) / Math.max(drawn[i | 3], 1)));
  canvas.getContext("2d").putImageData(new ImageData(shown, width, height), 0, 0);
}

/** Rows of `from` pixels → rows of `to` pixels, RGBA. */
function stretched(data, from, rows, to) {
  const out = new Float32Array(to * rows * 4);
  for (let x = 0; x < to; x++) {
    const centre = ((x + 0.5) * from) / to - 0.5;
    const first = Math.floor(centre) - LOBES + 1;
    const weights = Array.from({ length: 2 * LOBES }, (_, i) => lanczos(centre - first - i));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    weights.forEach((weight, i) => {
      const column = Math.min(Math.max(first + i, 0), from - 1);
      const share = weight / total;
      for (let row = 0; row < rows; row++) {
        const [target, origin] = [(row * to + x) * 4, (row * from + column) * 4];
        for (let channel = 0; channel < 4; channel++) out[target + channel] += share * data[origin + channel];
      }
    });
  }
  return out;
}

/** Rows become columns. */
function turned(data, width, height) {
  const out = new Float32Array(data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let channel = 0; channel < 4; channel++) out[(x * height + y) * 4 + channel] = data[(y * width + x) * 4 + channel];
    }
  }
  return out;
}

function lanczos(x) {
  if (x === 0) return 1;
  if (Math.abs(x) >= LOBES) return 0;
  const angle = Math.PI * x;
  return (LOBES * Math.sin(angle) * Math.sin(angle / LOBES)) / (angle * angle);
}
