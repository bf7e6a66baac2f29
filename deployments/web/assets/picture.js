// Pictures as the model takes them: squares that its grid divides evenly, as data URLs.

const MAX_SIDE = 1024;

/** A file or a data URL → the largest square in its middle, as `{src, side}`; throws where it is no picture. */
export async function squared(file, [rows, columns]) {
  const bitmap = await createImageBitmap(typeof file === "string" ? toFile(file) : file).catch(() => {
    throw new Error("This file is no picture that can be read here. PNG, JPEG and WebP files are.");
  });
  const cut = Math.min(bitmap.width, bitmap.height);
  const unit = rows === columns ? rows : rows * columns;
  const side = Math.max(unit, Math.floor(Math.min(cut, MAX_SIDE) / unit) * unit);
  const [canvas, brush] = sheet(side);
  brush.drawImage(bitmap, (bitmap.width - cut) / 2, (bitmap.height - cut) / 2, cut, cut, 0, 0, side, side);
  bitmap.close();
  return { src: canvas.toDataURL("image/png"), side };
}

/** The picture with the marked fields cut out of it: a mask, and what is to be seen while they are drawn. */
export async function cutOut({ src, side }, mask) {
  const [canvas, brush] = sheet(side);
  brush.drawImage(await decoded(src), 0, 0, side, side);
  mask.each(side, (...field) => brush.clearRect(...field));
  return canvas.toDataURL("image/png");
}

/** A data URL's bytes. */
export function toFile(src) {
  const [head, base64] = src.split(",");
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: head.slice(5, head.indexOf(";")) });
}

export async function decoded(src) {
  const image = new Image();
  image.src = src;
  await image.decode();
  return image;
}

function sheet(side) {
  const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const brush = canvas.getContext("2d");
  brush.imageSmoothingQuality = "high";
  return [canvas, brush];
}
