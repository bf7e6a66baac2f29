// Pictures leave the page: one as it came, all of them in a grid, or one by the clipboard.

import { decoded, toFile } from "./picture.js";

const GAP = 8;

export function saveOne(label, { seed, src }) {
  const file = toFile(src);
  save(file, `${slug(label)}-${seed}.${file.type.replace("image/", "")}`);
}

export async function saveGrid(label, seed, pictures) {
  const images = await Promise.all(pictures.map(({ src }) => decoded(src)));
  const columns = Math.ceil(Math.sqrt(images.length));
  const [width, height] = [images[0].naturalWidth, images[0].naturalHeight];
  const canvas = document.createElement("canvas");
  canvas.width = columns * (width + GAP) - GAP;
  canvas.height = Math.ceil(images.length / columns) * (height + GAP) - GAP;
  const brush = canvas.getContext("2d");
  brush.fillStyle = "white";
  brush.fillRect(0, 0, canvas.width, canvas.height);
  images.forEach((image, i) => brush.drawImage(image, (i % columns) * (width + GAP), Math.floor(i / columns) * (height + GAP)));
  save(await png(canvas), `${slug(label)}-${seed}-grid.png`);
}

/** Puts a picture on the clipboard, which takes PNG alone; gives what to say. */
export async function copyPicture({ src }) {
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": src.startsWith("data:image/png") ? toFile(src) : asPng(src) })]);
    return "The picture is copied.";
  } catch {
    return "The browser does not let this page copy pictures. Download it instead.";
  }
}

export function save(file, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // the download has begun by then
}

async function asPng(src) {
  const image = await decoded(src);
  const canvas = Object.assign(document.createElement("canvas"), { width: image.naturalWidth, height: image.naturalHeight });
  canvas.getContext("2d").drawImage(image, 0, 0);
  return png(canvas);
}

function png(canvas) {
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

function slug(label) {
  const words = label.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "");
  return words.slice(0, 40) || "picture";
}
