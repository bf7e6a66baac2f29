// What a picture file of this service says of itself: PNG in text chunks, JPEG and WebP in EXIF.
//
// The bytes are foreign: every length is checked, and what is not as it should be counts as not there.

const DESCRIPTION = 0x010e; // EXIF's tag for what we write there: the notes as JSON
const SOFTWARE = 0x0131;
const OURS = "dalle-serve";
const MAX_TEXT = 100_000;
const PARAMETERS = ["guidance_scale", "temperature", "top_k", "top_p"];

/** What draws the picture in these bytes again, as the form's fields; null where the file does not say. */
export function readNotes(bytes) {
  try {
    const notes = (startsWith(bytes, "\x89PNG") && ofPng(bytes)) || (startsWith(bytes, "\xff\xd8") && ofJpeg(bytes)) || ofWebp(bytes);
    return notes && fieldsOf(notes);
  } catch {
    return null;
  }
}

function fieldsOf(notes) {
  const seed = /^\d{1,10}$/.test(notes.seed) ? Number(notes.seed) : undefined;
  if (seed === undefined) return null;
  const parameters = JSON.parse(notes.parameters ?? "{}");
  const fields = { n: 1, seed: seed % 2 ** 32 };
  for (const name of ["model", "prompt", "negative_prompt"]) if (typeof notes[name] === "string") fields[name] = notes[name];
  for (const name of PARAMETERS) if (Number.isFinite(parameters[name])) fields[name] = parameters[name];
  return fields;
}

function ofPng(bytes) {
  const view = viewOf(bytes);
  const notes = {};
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const kind = latin(bytes, at + 4, 4);
    if (at + 12 + length > bytes.length || kind === "IEND") break;
    if ((kind === "tEXt" || kind === "iTXt") && length < MAX_TEXT) {
      const chunk = bytes.subarray(at + 8, at + 8 + length);
      const end = chunk.indexOf(0);
      const name = latin(chunk, 0, end);
      if (kind === "tEXt") notes[name] = latin(chunk, end + 1, length);
      else if (chunk[end + 1] === 0) notes[name] = utf8(chunk.subarray(chunk.indexOf(0, chunk.indexOf(0, end + 3) + 1) + 1));
    }
    at += 12 + length;
  }
  return notes.Software === OURS ? notes : null;
}

function ofJpeg(bytes) {
  const view = viewOf(bytes);
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda; ) {
    const length = view.getUint16(at + 2);
    const content = bytes.subarray(at + 4, at + 2 + length);
    if (bytes[at + 1] === 0xe1 && startsWith(content, "Exif\0\0")) return ofExif(content.subarray(6));
    at += 2 + length;
  }
  return null;
}

function ofWebp(bytes) {
  if (!startsWith(bytes, "RIFF") || latin(bytes, 8, 4) !== "WEBP") return null;
  const view = viewOf(bytes);
  for (let at = 12; at + 8 <= bytes.length; ) {
    const length = view.getUint32(at + 4, true);
    const content = bytes.subarray(at + 8, at + 8 + length);
    if (latin(bytes, at, 4) === "EXIF") return ofExif(startsWith(content, "Exif\0\0") ? content.subarray(6) : content);
    at += 8 + length + (length % 2);
  }
  return null;
}

function ofExif(bytes) {
  const view = viewOf(bytes);
  const little = startsWith(bytes, "II");
  const first = view.getUint32(4, little);
  const texts = {};
  for (let i = 0; i < view.getUint16(first, little); i++) {
    const entry = first + 2 + 12 * i;
    const [tag, kind, length] = [view.getUint16(entry, little), view.getUint16(entry + 2, little), view.getUint32(entry + 4, little)];
    if (kind !== 2 || length > MAX_TEXT) continue; // texts alone
    const from = length <= 4 ? entry + 8 : view.getUint32(entry + 8, little);
    texts[tag] = latin(bytes, from, length).replace(/\0+$/, "");
  }
  return texts[SOFTWARE] === OURS ? JSON.parse(texts[DESCRIPTION]) : null;
}

function viewOf(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function startsWith(bytes, text) {
  return latin(bytes, 0, text.length) === text;
}

function latin(bytes, from, length) {
  return Array.from(bytes.subarray(from, from + length), (byte) => String.fromCharCode(byte)).join("");
}

function utf8(bytes) {
  return new TextDecoder().decode(bytes);
}
