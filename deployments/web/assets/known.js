// What the model knows by name, to be searched; a click draws it.

const part = (id) => document.getElementById(id);

/** Offers a model's things; where its card says nothing of them, there is nothing to see. */
export function offerKnown({ known_things = [], known_ways = ["{}"] } = {}, onChoose) {
  const panel = part("known");
  panel.hidden = known_things.length === 0;
  if (panel.hidden) return;
  panel.querySelector("summary").textContent = `What it knows (${known_things.length})`;
  const way = part("known-way");
  way.replaceChildren(...known_ways.map((each) => new Option(each === "{}" ? "by itself" : each.replace("{}", "…"), each)));
  const show = () => {
    const wanted = part("known-search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = known_things.filter((thing) => wanted.every((word) => thing.toLowerCase().includes(word)));
    part("known-things").replaceChildren(...found.map((thing) => entry(thing, () => onChoose(way.value.replace("{}", thing)))));
    part("known-none").textContent = found.length ? "" : "Nothing of that name: it may draw what the words remind it of, or a blot.";
  };
  part("known-search").oninput = show;
  panel.ontoggle = () => panel.open && show(); // made when it is looked at: there may be hundreds
}

function entry(thing, act) {
  const item = document.createElement("li");
  item.append(Object.assign(document.createElement("button"), { type: "button", textContent: thing, onclick: act }));
  return item;
}
