// The page: ties the form to the service, and what the service draws to the grid, the viewer and the history.

import { Drawing } from "./drawing.js";
import { examplesFor } from "./examples.js";
import { copyPicture, saveGrid, saveOne } from "./files.js";
import { Grid } from "./grid.js";
import { explainFields, explanation } from "./hints.js";
import { History } from "./history.js";
import { takeIn } from "./intake.js";
import { askForKey, readyKeys } from "./keys.js";
import { offerKnown } from "./known.js";
import { fieldsOfOne, isLinkable, linkTo, linked } from "./links.js";
import { Past } from "./past.js";
import { ServiceError, listModels, readiness } from "./service.js";
import { Settings, randomSeed } from "./settings.js";
import { clear, complain, count, notice, say, showClock, showProgress, showTitle } from "./status.js";
import { giveTips } from "./tips.js";
import { Viewer } from "./viewer.js";
import { hang } from "./wall.js";

const START_POLL_MS = 3000;
const UNTAUGHT = "This model was not taught"; // as the service's warning begins
const TILES = 9; // to look at before anything is drawn

const part = (id) => document.getElementById(id);
explainFields(part("ask")); // before the settings look for their fields
const settings = new Settings(part("ask"));
const grid = new Grid(part("grid"), part("tile"), {
  open: (place) => viewer.open(shown, place, { isLinkable: isLinkable(shown), isRefinable: settings.refinerOf(shown.fields.model) !== undefined }),
  save: (place) => saveOne(shown.label, shown.pictures[place]),
  copy: async (place) => say(await copyPicture(shown.pictures[place])),
  edit: (place) => use(shown, place, "edit"),
});
const viewer = new Viewer(part("viewer"), {
  "save-one": ({ label, pictures }, place) => saveOne(label, pictures[place]),
  "copy-one": ({ pictures }, place) => copyPicture(pictures[place]),
  "link-one": (drawing, place) => copyLink({ ...drawing, fields: fieldsOfOne(drawing.fields, drawing.pictures[place].seed) }),
  "edit-one": (drawing, place) => use(drawing, place, "edit"),
  vary: (drawing, place) => use(drawing, place, "vary"),
  "refine-one": refine,
  closed: (place) => grid.focus(place),
});
const past = new Past(new History(), reopen);

let editor = null; // made when a picture comes in
let shown = null; // the drawing in the grid
let current = null; // the Drawing under way
let isAsked = false; // for a drawing, before the models are known

// ---- drawing

function submit() {
  isAsked = !settings.model; // then it is drawn as soon as they are
  if (current || isAsked) return;
  const fields = settings.read();
  if (!fields) return;
  if (!editor?.isOpen) return drawIt({ kind: "draw", label: fields.prompt, fields });
  const what = editor.read();
  if (what) drawIt({ ...what, label: what.kind === "vary" ? `Variations of “${fields.prompt}”` : fields.prompt, fields });
}

async function drawIt(request) {
  current?.cancel();
  const before = shown;
  const codes = settings.models.find(({ id }) => id === request.fields.model)?.grid ?? settings.model.grid;
  const drawing = (current = new Drawing({ ...request, fields: settings.complete(request.fields) }, grid, codes));
  begin(request.label);
  try {
    const drawn = { ...(await drawing.run()), at: Date.now() };
    await grid.finish(drawn.pictures);
    present(drawn);
    await past.history.add(drawn);
    await past.show();
  } catch (error) {
    if (drawing === current) fail(error, drawing.isCancelled, before);
  } finally {
    if (drawing === current) end();
  }
}

/** Has a picture led towards its prompt. */
function refine({ fields: { model, prompt, background }, pictures }, place) {
  if (current) return;
  const { src, seed } = pictures[place];
  const fields = { model: settings.refinerOf(model).id, prompt, seed, ...(background && { background }) };
  drawIt({ kind: "refine", label: `Refined: “${prompt}”`, fields, source: { src } });
}

function begin(label) {
  shown = null;
  look("grid");
  clear();
  part("actions").hidden = true;
  part("draw").hidden = true;
  part("cancel").hidden = false;
  showTitle(label);
}

function end() {
  current = null;
  part("draw").hidden = false;
  part("cancel").hidden = true;
  showProgress(undefined);
  showClock(null);
}

/** Shows one of: the first look, the picture that is drawn on, the pictures. */
function look(what) {
  part("wall").hidden = what !== "wall";
  part("editor").hidden = what !== "editor";
  part("pictures").hidden = what === "editor";
  part("grid").hidden = what === "wall";
  document.body.dataset.look = what;
  part("draw").textContent = what === "editor" ? "Redraw" : "Draw";
  part("prompt").placeholder = what === "editor" ? "What shall be there?" : "What shall be drawn?";
}

function present(drawing) {
  shown = drawing;
  const { pictures, fields, seconds, kind, warnings = [] } = drawing;
  const ranked = pictures.length > 1 && pictures.every(({ score }) => score !== null);
  const words = fields.best_of > pictures.length ? `The best ${pictures.length} of ${count(fields.best_of)}` : count(pictures.length);
  say(`${words} in ${seconds.toFixed(1)} s${ranked ? ", best first" : ""}.`);
  notice(warnings.map((words) => (words.includes(UNTAUGHT) ? { words, label: "What it knows", act: showKnown } : words)));
  part("grid").classList.toggle("clear", fields.background === "transparent");
  part("actions").hidden = false;
  part("save-grid").hidden = pictures.length === 1;
  part("copy-link").hidden = !isLinkable(drawing);
  part("back-to-mask").hidden = !["edit", "vary"].includes(kind);
}

function fail(error, wasCancelled, before) {
  if (grid.stop() === 0) goBack(before);
  if (wasCancelled) return say("Cancelled.");
  say("");
  if (error.status === 401) return askForKey();
  complain(error.message);
  if (error.param) settings.blame(error.param, error.message);
  if (!(error instanceof ServiceError)) console.error(error);
}

/** Nothing came of a drawing: what was there before it is there again. */
async function goBack(drawing) {
  if (drawing) await reopen(drawing, { isQuiet: true });
  else if (part("wall").children.length) look("wall");
  else grid.start(Array.from({ length: TILES }, (_, i) => i), { isDrawing: false });
}

async function reopen(drawing, { isQuiet = false } = {}) {
  if (current && !isQuiet) return;
  look("grid");
  grid.start(drawing.pictures.map(({ seed }) => seed), { isDrawing: false });
  await grid.finish(drawing.pictures);
  const words = part("status").textContent;
  present(drawing);
  if (isQuiet) return say(words);
  clear();
  settings.write(drawing.fields);
  part("status").scrollIntoView({ block: "nearest" });
}

// ---- pictures to draw on

/** Takes a file: its settings, where it was drawn here; else to draw on it. */
async function receive(file) {
  const { readNotes } = await import("./notes.js");
  const fields = readNotes(new Uint8Array(await file.arrayBuffer()));
  if (!fields) return edit(file, {});
  const prompt = fields.prompt ?? part("prompt").value;
  settings.write({ ...fields, prompt });
  clear();
  const words = fields.prompt ? "This file says how it was drawn: prompt, seed and settings are filled in." : "This file says how it was drawn, but not its prompt: seed and settings are filled in.";
  notice([{ words, label: "Draw on it instead", act: () => edit(file, {}) }]);
  part("prompt").focus();
}

function use({ kind, fields, label, pictures }, place, mode) {
  const { seed, src } = pictures[place];
  const from = kind === "draw" && !fields.size ? fieldsOfOne(fields, seed) : null;
  if (fields.prompt) settings.write({ ...fields, seed: undefined });
  return edit(src, { mode, from });
}

async function edit(file, options) {
  if (current || !settings.model) return;
  const { Editor } = await import("./editor.js");
  editor ??= new Editor(part("editor"), () => {
    look("grid");
    goBack(shown);
    part("prompt").focus();
  });
  try {
    await editor.open(file, { grid: settings.model.grid, ...options });
  } catch (error) {
    return complain(error.message);
  }
  clear();
  say("");
  look("editor");
  part("editor").scrollIntoView({ block: "nearest" });
}

// ---- around it

async function copyLink(drawing) {
  const link = linkTo(drawing);
  try {
    await navigator.clipboard.writeText(link);
    return "The link is copied: it draws the same again.";
  } catch {
    location.replace(new URL(link).hash); // pages that are not on this machine may not write to the clipboard
    return "The link is in the address bar now: copy it from there.";
  }
}

async function followLink() {
  const link = linked();
  if (!link || current || !settings.model) return;
  settings.write(link.fields);
  if (!link.of) return submit();
  await drawIt({ kind: "draw", label: link.of.prompt, fields: link.of });
  if (!shown) return;
  await edit(shown.pictures[0].src, { mode: link.mask ? "edit" : "vary", from: link.of, mask: link.mask, keep: link.keep });
  settings.write(link.fields);
  submit();
}

function drawThis({ prompt, seed }) {
  if (current) return;
  part("prompt").value = prompt;
  part("prompt").dispatchEvent(new Event("input", { bubbles: true }));
  if (seed !== undefined) settings.form.seed.value = seed;
  submit();
  if (seed !== undefined) settings.form.seed.value = "";
}

function showExamples() {
  const buttons = examplesFor(settings.model).map((prompt) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = prompt;
    button.onclick = () => drawThis({ prompt });
    return button;
  });
  part("examples").replaceChildren(...buttons);
}

function showKnown() {
  part("known").open = true;
  part("known-search").focus();
}

async function showModel() {
  const { id, description } = settings.model;
  part("model-line").textContent = description || id;
  part("open-about").hidden = false;
  showExamples();
  offerKnown(settings.model, (prompt) => drawThis({ prompt }));
  const isHung = await hang(part("wall"), part("tile"), settings.model, drawThis).catch(() => false);
  if (!shown && !current && !editor?.isOpen) look(isHung ? "wall" : "grid");
}

/** Finds out which models there are, as often as it takes; then says what the service still waits for. */
async function connect() {
  for (;;) {
    try {
      settings.offer(await listModels(), showModel);
      break;
    } catch (error) {
      if (error.status === 401) return fail(error, false, shown);
      complain(error.isAway ? `${error.message} It is looked for again until it does.` : error.message);
      await pause(START_POLL_MS);
    }
  }
  clear();
  await showModel();
  watchStart();
  followLink();
  if (isAsked) submit();
}

async function watchStart() {
  for (let state; !(state = await readiness())?.ready; await pause(START_POLL_MS)) {
    if (current || shown) return;
    const missing = Object.entries(state?.stages ?? {}).filter(([, how]) => how !== "ready");
    say(missing.length ? `The service is starting: ${missing.map(([stage]) => stage).join(", ")} …` : "");
  }
  if (part("status").textContent.startsWith("The service is starting")) say("");
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function listen() {
  part("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  part("ask").addEventListener("keydown", (event) => {
    const isPrompt = event.target === part("prompt");
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || !isPrompt) return;
    event.preventDefault(); // a new line is Shift+Enter
    submit();
  });
  part("known-search").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    part("known-things").querySelector("button")?.click();
  });
  part("cancel").onclick = () => {
    current?.cancel();
    part("prompt").focus();
  };
  part("again").onclick = () => drawIt({ ...shown, fields: { ...shown.fields, seed: randomSeed() } });
  part("back-to-mask").onclick = () => {
    const { fields, source, kind } = shown;
    settings.write({ ...fields, seed: undefined });
    edit(source.src, { ...source, mode: kind });
  };
  part("save-grid").onclick = () => saveGrid(shown.label, shown.fields.seed, shown.pictures);
  part("copy-link").onclick = async () => say(await copyLink(shown));
  part("open-about").onclick = async () => (await import("./about.js")).showAbout(settings.model);
  part("about-close").onclick = () => part("about").close();
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") current?.cancel();
    if (event.key === "/" && !/INPUT|SELECT|TEXTAREA/.test(document.activeElement.tagName)) {
      event.preventDefault();
      part("prompt").focus();
    }
  });
  addEventListener("hashchange", followLink);
}

giveTips((name) => explanation(name, settings.model));
takeIn(receive);
listen();
grid.start(Array.from({ length: TILES }, (_, i) => i), { isDrawing: false });
readyKeys(async () => {
  clear();
  await connect();
  part("prompt").focus();
});
await past.history.open();
await past.show();
await connect();
