// The history as a file, and back: JSON with every picture, so that it can be read elsewhere and by other programs.

import { NUMBERS, TEXTS } from "./settings.js";

const KIND = "dalle-serve-history";
const VERSION = 1;
const PICTURE = /^data:image\/(png|jpeg|webp);base64,[A-Za-z0-9+/]+=*$/;
const FIELDS = new Set([...NUMBERS, ...TEXTS, "prompt"]);

export function pack(drawings) {
  const entries = drawings.map(({ id, ...drawing }) => drawing);
  return new Blob([JSON.stringify({ kind: KIND, version: VERSION, drawings: entries }, null, 1)], { type: "application/json" });
}

/** Reads such a file, and leaves out what it should not hold; throws, with words for people, where it is none. */
export function unpack(text) {
  let content;
  try {
    content = JSON.parse(text);
  } catch {
    throw new Error("This file is not JSON.");
  }
  if (content?.kind !== KIND || !Array.isArray(content.drawings)) throw new Error("This file is no exported history.");
  if (content.version !== VERSION) throw new Error(`This history has version ${content.version}; this page reads ${VERSION}.`);
  return content.drawings.map((drawing, i) => {
    const read = readDrawing(drawing ?? {});
    if (!read) throw new Error(`Drawing ${i + 1} of this history is not whole.`);
    return read;
  });
}

function readDrawing({ kind, label, fields, source, pictures, seconds, at, warnings }) {
  const isWhole =
    ["draw", "edit", "vary", "refine"].includes(kind) && isText(label) && isFields(fields) && Array.isArray(pictures) &&
    pictures.length > 0 && pictures.every(isPicture) && Number.isFinite(seconds) && Number.isFinite(at) &&
    (kind === "draw" || isSource(kind, source));
  if (!isWhole) return null;
  const drawn = pictures.map(({ seed, score, words, src }) => ({ seed, score, words, src }));
  return { kind, label, fields, ...(source && { source }), pictures: drawn, seconds, at, warnings: (warnings ?? []).filter(isText) };
}

function isSource(kind, source) {
  if (kind === "refine") return PICTURE.test(source?.src);
  return (
    PICTURE.test(source?.src) && Number.isInteger(source.side) && source.side > 0 && source.side <= 4096 &&
    (source.from === undefined || isFields(source.from)) &&
    (kind === "edit" ? /^[0-9a-f]+$/.test(source.mask) : source.keep >= 0 && source.keep < 1)
  );
}

function isFields(fields) {
  return (
    fields !== null && typeof fields === "object" && Number.isInteger(fields.seed) &&
    Object.entries(fields).every(([name, value]) => FIELDS.has(name) && (NUMBERS.includes(name) ? Number.isFinite(value) : isText(value)))
  );
}

function isPicture(picture) {
  return PICTURE.test(picture?.src) && Number.isInteger(picture.seed) && (picture.score === null || Number.isFinite(picture.score)) && isText(picture.words);
}

function isText(value) {
  return typeof value === "string";
}
