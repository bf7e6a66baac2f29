// About the model: its licence and size, and its card, in a dialog.

import { modelCard } from "./service.js";

const part = (id) => document.getElementById(id);

export async function showAbout({ id, licence, size, grid, has_card }) {
  part("about-title").textContent = id;
  const facts = { Licence: licence, Pictures: size.replace("x", " × ") + " pixels", "Image codes": grid.join(" × ") };
  part("about-facts").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  part("card").replaceChildren();
  part("about").showModal();
  if (!has_card) return;
  try {
    const html = await modelCard(id);
    const page = new DOMParser().parseFromString(html.slice(html.indexOf("<main>")), "text/html"); // without its style
    page.querySelectorAll("main a[href]").forEach((link) => (link.target = "_blank"));
    page.querySelectorAll("main pre, main table").forEach((wide) => (wide.tabIndex = 0)); // keys can scroll it
    page.querySelectorAll("main h1").forEach((title) => title.remove()); // it is the dialog's own
    part("card").replaceChildren(...page.querySelector("main").children);
  } catch (error) {
    part("card").replaceChildren(element("p", `The model's card cannot be shown. ${error.message}`));
  }
}

function element(name, words) {
  return Object.assign(document.createElement(name), { textContent: words });
}
