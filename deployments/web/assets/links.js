// A drawing as a link that draws it again. The part after `#` stays in the browser: no log has the prompt.
//
// An edit or variations of a picture that was drawn here say how that was drawn, in fields that begin with `of.`.

import { NUMBERS, TEXTS } from "./settings.js";

const SEEDS = 2 ** 32;
const OF = "of.";

/** Whether a link can hold it: a picture of one's own does not fit into one. */
export function isLinkable({ kind, source }) {
  return kind === "draw" || source?.from !== undefined;
}

export function linkTo({ kind, fields, source }) {
  const link = new URL(document.baseURI);
  const given = new URLSearchParams(fields);
  if (kind !== "draw") {
    for (const [name, value] of Object.entries(source.from)) given.set(OF + name, value);
    if (kind === "edit") given.set("mask", source.mask);
    else given.set("keep", source.keep);
  }
  link.hash = given;
  return link.href;
}

/** What the page's own link asks for: `{fields, of, mask, keep}`, the last three for an edit or variations; or null. */
export function linked() {
  const given = new URLSearchParams(location.hash.slice(1));
  const fields = fieldsIn(given, "");
  const of = fieldsIn(given, OF);
  if (!fields.prompt) return null;
  if (!of.prompt) return { fields };
  const keep = parseFloat(given.get("keep"));
  return { fields, of: { ...of, n: 1 }, mask: given.get("mask"), keep: keep >= 0 && keep < 1 ? keep : null };
}

/** The fields for one picture of a drawing: with its seed and n = 1 it is drawn again. */
export function fieldsOfOne({ best_of, ...fields }, seed) {
  return { ...fields, n: 1, seed: seed % SEEDS };
}

function fieldsIn(given, prefix) {
  const fields = {};
  for (const name of ["prompt", ...TEXTS]) if (given.get(prefix + name)) fields[name] = given.get(prefix + name);
  for (const name of NUMBERS) {
    const value = parseFloat(given.get(prefix + name));
    if (Number.isFinite(value)) fields[name] = value;
  }
  return fields;
}
