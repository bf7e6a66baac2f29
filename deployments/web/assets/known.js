// What the model knows by name, to be searched; a click draws it.

import { knownPictures } from "./service.js";

const COLUMNS = 16; // of the sheet with pictures
const part = (id) => document.getElementById(id);

/** Offers a model's things; where its card says nothing of them, there is nothing to see. */
export function offerKnown({ id, known_things = [], known_ways = ["{}"], has_known_pictures = false } = {}, onChoose) {
  const panel = part("known");
  panel.hidden = known_things.length === 0;
  if (panel.hidden) return;
  panel.querySelector("summary").textContent = `What it knows (${known_things.length})`;
  const way = part("known-way");
  way.replaceChildren(...known_ways.map((each) => new Option(each === "{}" ? "by itself" : each.replace("{}", "…"), each)));
  const rows = Math.ceil(known_things.length / COLUMNS);
  const all = known_things.map((thing, place) => ({ thing, column: place % COLUMNS, row: Math.floor(place / COLUMNS) }));
  let sheet = null; // its address, once it is there
  const show = () => {
    const wanted = part("known-search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = all.filter(({ thing }) => wanted.every((word) => thing.toLowerCase().includes(word)));
    const entries = found.map((each) => entry(each.thing, sheet && thumbnail(sheet, each, rows), () => onChoose(way.value.replace("{}", each.thing))));
    part("known-things").replaceChildren(...entries);
    part("known-none").textContent = found.length ? "" : "Nothing of that name: it may draw what the words remind it of, or a blot.";
  };
  part("known-search").oninput = show;
  panel.ontoggle = async () => {
    if (!panel.open) return; // made when it is looked at: there may be hundreds
    show();
    if (!has_known_pictures || sheet) return;
    sheet = await knownPictures(id).catch(() => null); // the names will do
    if (sheet) show();
  };
}

function entry(thing, picture, act) {
  const item = document.createElement("li");
  const button = Object.assign(document.createElement("button"), { type: "button", onclick: act });
  button.append(...(picture ? [picture] : []), thing);
  item.append(button);
  return item;
}

function thumbnail(sheet, { column, row }, rows) {
  const picture = Object.assign(document.createElement("span"), { className: "thumbnail" });
  picture.style.backgroundImage = `url("${sheet}")`;
  picture.style.backgroundSize = `${COLUMNS * 100}% ${rows * 100}%`;
  picture.style.backgroundPosition = `${(100 * column) / (COLUMNS - 1)}% ${rows > 1 ? (100 * row) / (rows - 1) : 0}%`;
  return picture;
}
