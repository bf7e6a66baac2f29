// Explanations beside what they explain: on hover, on focus and on a tap, gone with Escape.

const tip = document.getElementById("tip");
let owner = null;

/** Shows the words that `explain(name)` gives for each element with a `data-hint`. */
export function giveTips(explain) {
  const show = (event) => {
    const element = event.target.closest?.("[data-hint]");
    if (!element || element === owner) return;
    hide();
    owner = element;
    tip.textContent = explain(element.dataset.hint);
    (element.closest("dialog") ?? document.body).append(tip); // what is outside of an open dialog lies below it
    tip.hidden = false;
    element.setAttribute("aria-describedby", "tip");
    place(element.getBoundingClientRect());
  };
  for (const kind of ["mouseover", "focusin", "click"]) document.addEventListener(kind, show);
  for (const kind of ["mouseout", "focusout"]) document.addEventListener(kind, (event) => event.target === owner && hide());
  document.addEventListener("keydown", (event) => event.key === "Escape" && owner && hide());
  document.addEventListener("scroll", hide, { passive: true });
}

function place(box) {
  const { offsetWidth: width, offsetHeight: height } = tip;
  const left = Math.min(Math.max(8, box.left + box.width / 2 - width / 2), innerWidth - width - 8);
  const above = box.top - height - 8;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 8 ? above : box.bottom + 8}px`;
}

function hide() {
  tip.hidden = true;
  owner?.removeAttribute("aria-describedby");
  owner = null;
}
