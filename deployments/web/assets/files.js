// Pictures become files: one as it came, or all of them in a grid.

const GAP = 8;

/** The picture's bytes. */
export function toFile(src) {
  const [head, base64] = src.split(",");
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: head.slice(5, head.indexOf(";")) });
}

export function saveOne(prompt, { seed, src }) {
  const file = toFile(src);
  save(file, `${slug(prompt)}-${seed}.${file.type.replace("image/", "")}`);
}

export async function saveGrid(prompt, seed, pictures) {
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
  const file = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  save(file, `${slug(prompt)}-${seed}-grid.png`);
}

async function decoded(src) {
  const image = new Image();
  image.src = src;
  await image.decode();
  return image;
}

function save(file, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // the download has begun by then
}

function slug(prompt) {
  const words = prompt.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "");
  return words.slice(0, 40) || "picture";
}
