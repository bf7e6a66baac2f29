// What is going on, in words, a bar and a clock; and what is wrong.

const part = (id) => document.getElementById(id);
const title = document.title;

/** Says it once: said again, it would be read out again. */
export function say(words, more = "") {
  if (part("status").textContent === words) return;
  part("status").textContent = words;
  part("status").title = more;
}

/** Shows what went wrong, with a button to do something about it where there is one: `{words, act}`. */
export function complain(message, remedy = null) {
  const words = document.createElement("p");
  words.textContent = message;
  if (remedy) words.append(" ", button(remedy.words, remedy.act));
  part("problem").replaceChildren(words);
}

/** Shows what is worth knowing, though nothing is wrong: texts, or `{words, act, label}` with a button. */
export function notice(notices) {
  const entries = notices.map((each) => {
    const entry = document.createElement("p");
    entry.textContent = each.words ?? each;
    if (each.act) entry.append(" ", button(each.label, each.act));
    return entry;
  });
  part("notices").replaceChildren(...entries);
}

export function clear() {
  part("problem").replaceChildren();
  part("notices").replaceChildren();
}

/** How far a drawing is, from 0 to 1; null for as far as nobody knows, undefined for no drawing. */
export function showProgress(share) {
  const bar = part("progress");
  bar.hidden = share === undefined;
  if (share) bar.value = share;
  else bar.removeAttribute("value");
}

export function showClock(seconds, share) {
  if (seconds === null) return void (part("clock").textContent = "");
  const left = share > 0.1 && share < 1 ? Math.ceil((seconds / share) * (1 - share)) : 0;
  part("clock").textContent = `${Math.floor(seconds)} s${left ? `, about ${left} s left` : ""}`;
}

export function showTitle(words) {
  document.title = words ? `${words} – ${title}` : title;
}

export function count(images) {
  return images === 1 ? "1 picture" : `${images} pictures`;
}

/** A wait in words, as roughly as it is known. */
export function about(seconds) {
  if (seconds < 90) return `about ${Math.max(1, Math.round(seconds))} s`;
  return `about ${Math.round(seconds / 60)} minutes`;
}

function button(words, act) {
  const made = document.createElement("button");
  Object.assign(made, { type: "button", className: "quiet", textContent: words, onclick: act });
  return made;
}
