// Which pictures are near copies of a better one.

import { decoded } from "./picture.js";

const SIDE = 32; // pixels that are compared, across
const DIFFERENT = 0.05; // mean difference over what is drawn in either, as a share of a pixel's range
const PLAIN = 16; // of 255: so far a pixel may be from the corner's and be ground

/** For each picture, best first, the place of the one that it is a copy of: its own where it is of none. */
export async function leadersOf(pictures) {
  const prints = await Promise.all(pictures.map(({ src }) => print(src)));
  const leaders = [];
  prints.forEach((each, place) => {
    const leader = leaders.findIndex((of, other) => of === other && difference(prints[other], each) <= DIFFERENT);
    leaders.push(leader < 0 ? place : leader);
  });
  return leaders;
}

async function print(src) {
  const canvas = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE });
  const brush = canvas.getContext("2d", { willReadFrequently: true });
  brush.imageSmoothingQuality = "high";
  brush.drawImage(await decoded(src), 0, 0, SIDE, SIDE);
  return brush.getImageData(0, 0, SIDE, SIDE).data;
}

function difference(one, other) {
  let [sum, drawn] = [0, 0];
  for (let i = 0; i < one.length; i += 4) {
    if (isGround(one, i) && isGround(other, i) && near(one, i, other, i)) continue;
    drawn += 1;
    for (let channel = 0; channel < 3; channel++) sum += Math.abs(one[i + channel] - other[i + channel]);
  }
  return drawn ? sum / (drawn * 3 * 255) : 0;
}

function isGround(pixels, i) {
  return near(pixels, i, pixels, 0);
}

function near(one, i, other, j) {
  return [0, 1, 2].every((channel) => Math.abs(one[i + channel] - other[j + channel]) <= PLAIN);
}
