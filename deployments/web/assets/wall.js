// The first look: pictures that the shipped model drew of these prompts, in the place of those to come. A click draws one.

/** Fills the list, and shows it where the model is the one that drew them; says whether it is. */
export async function hang(list, template, model, onChoose) {
  const wall = await (await fetch(new URL("wall.json", import.meta.url))).json();
  list.replaceChildren();
  if (model.id !== wall.model) return false;
  const entries = wall.prompts.map((prompt, place) => {
    const entry = template.content.cloneNode(true).querySelector("li");
    const tile = entry.querySelector(".tile");
    const title = Object.assign(document.createElement("p"), { className: "title", textContent: prompt, title: prompt });
    entry.replaceChildren(tile, title);
    tile.replaceChildren();
    tile.className = "hung";
    tile.style.setProperty("--column", place % 3);
    tile.style.setProperty("--row", Math.floor(place / 3));
    tile.setAttribute("aria-label", `Draw ${prompt}`);
    tile.onclick = () => onChoose({ prompt, seed: wall.seed });
    return entry;
  });
  list.replaceChildren(...entries);
  return true;
}
