// The page: ties the form to the service, and what the service draws to the grid, the viewer and the history.

import { examplesFor } from "./examples.js";
import { saveGrid, toFile } from "./files.js";
import { Grid } from "./grid.js";
import { History } from "./history.js";
import { ServiceError, draw, listModels, readiness, useKey, vary } from "./service.js";
import { Settings, fieldsOfOne, linkTo, linkedFields, randomSeed } from "./settings.js";
import { Viewer } from "./viewer.js";

const QUEUE_POLL_MS = 1500;
const START_POLL_MS = 3000;
const VARIATIONS = 9;
const SEEDS = 2 ** 32;

const part = (id) => document.getElementById(id);
const settings = new Settings(part("ask"));
const grid = new Grid(part("grid"), part("tile"), (place) => viewer.open(shown, place));
const history = new History();
const viewer = new Viewer(part("viewer"), {
  copyLink: ({ seed }) => copy(linkTo(fieldsOfOne(shown.fields, seed))),
  vary: (picture) => drawVariations(picture),
  closed: (place) => grid.focus(place),
});

let shown = null; // the drawing in the grid: {label, fields, pictures, seconds, isLinkable}
let current = null; // the AbortController of the drawing under way

// ---- drawing

function drawPrompt(fields) {
  const seeds = Array.from({ length: fields.n ?? 1 }, (_, i) => (fields.seed + i) % SEEDS);
  const start = (options) => draw(fields, options);
  return run(start, { fields, label: fields.prompt, seeds, waiting: Math.max(fields.best_of ?? 0, seeds.length), isLinkable: true });
}

function drawVariations({ src, seed }) {
  const n = Math.min(VARIATIONS, settings.model?.max_n ?? VARIATIONS);
  const { prompt, model } = shown.fields;
  const fields = { ...(prompt && { prompt }), ...(model && { model }), n, seed: randomSeed() };
  const seeds = Array.from({ length: n }, (_, i) => (fields.seed + i) % SEEDS);
  const label = shown.label.startsWith("Variations of ") ? shown.label : `Variations of “${shown.label}”, seed ${seed}`;
  return run((options) => vary(toFile(src), fields, options), { fields, label, seeds, waiting: n, isLinkable: false });
}

async function run(start, { fields, label, seeds, waiting, isLinkable }) {
  current?.abort();
  const stop = (current = new AbortController());
  const began = performance.now();
  const pictures = [];
  const drawn = new Map(seeds.map((seed) => [seed, 0]));
  begin(label, seeds);
  const clock = setInterval(() => showClock(began), 250);
  const queue = watchQueue(waiting, stop.signal);
  const onWait = (seconds, message) => {
    queue.isPaused = seconds > 0;
    say(seconds > 0 ? `The service is busy. Trying again in ${seconds} s.` : `Drawing ${count(seeds.length)} …`, message);
  };
  try {
    for await (const { preview, picture } of start({ signal: stop.signal, onWait })) {
      queue.stop();
      if (picture) pictures.push(picture);
      if (!preview) continue;
      grid.preview(preview);
      if (drawn.has(preview.seed)) drawn.set(preview.seed, preview.progress);
      showProgress(drawn, waiting, label);
    }
    const seconds = (performance.now() - began) / 1000;
    await finish({ label, fields, pictures, seconds, isLinkable });
  } catch (error) {
    if (stop === current) fail(error, stop.signal.aborted);
  } finally {
    queue.stop();
    clearInterval(clock);
    if (stop === current) end();
  }
}

function begin(label, seeds) {
  shown = null;
  grid.start(seeds);
  part("actions").hidden = true;
  part("draw").hidden = true;
  part("cancel").hidden = false;
  part("problem").replaceChildren();
  part("progress").hidden = false;
  part("progress").removeAttribute("value");
  document.title = `${label} – dalle-serve`;
  say(`Drawing ${count(seeds.length)} …`);
}

async function finish(drawing) {
  await grid.finish(drawing.pictures);
  present(drawing);
  await history.add({ ...drawing, at: Date.now() });
  await showHistory();
}

function present(drawing) {
  shown = drawing;
  const ranked = drawing.pictures.length > 1 && drawing.pictures.every(({ score }) => score !== null);
  const kept = drawing.pictures.length;
  const words = drawing.fields.best_of > kept ? `The best ${kept} of ${count(drawing.fields.best_of)}` : count(kept);
  say(`${words} in ${drawing.seconds.toFixed(1)} s${ranked ? ", best first" : ""}.`);
  part("actions").hidden = false;
  part("copy-link").hidden = part("again").hidden = !drawing.isLinkable;
}

function fail(error, wasCancelled) {
  grid.stop();
  if (wasCancelled) return say("Cancelled.");
  say("");
  if (error.status === 401) return askForKey();
  const words = document.createElement("p");
  words.textContent = error.message;
  part("problem").replaceChildren(words);
  if (error.param) settings.blame(error.param, error.message);
  if (!(error instanceof ServiceError)) console.error(error);
}

function askForKey() {
  const isWrong = part("key").value !== "";
  part("key-words").textContent = isWrong
    ? "This key is not known here. Is it whole, and for this service?"
    : "This service needs an API key; who runs it can give you one.";
  part("key-form").hidden = false;
  part("key").select();
  part("key").focus();
}

function end() {
  current = null;
  part("draw").hidden = false;
  part("cancel").hidden = true;
  part("progress").hidden = true;
  part("clock").textContent = "";
}

// ---- what is going on

function say(words, title = "") {
  if (part("status").textContent === words) return; // said again, it would be read out again
  part("status").textContent = words;
  part("status").title = title;
}

function showClock(began) {
  part("clock").textContent = `${Math.floor((performance.now() - began) / 1000)} s`;
}

function showProgress(drawn, waiting, label) {
  const shares = [...drawn.values()];
  const share = shares.reduce((sum, each) => sum + each, 0) / shares.length;
  part("progress").value = share;
  const extra = waiting > shares.length ? `, then the best of ${waiting}` : "";
  say(`Drawing ${count(shares.length)} of ${label}${extra} …`);
}

/** Says how many pictures are ahead, until the first rows appear; not while it is paused. */
function watchQueue(waiting, signal) {
  const queue = { isPaused: false };
  const timer = setInterval(async () => {
    const ahead = ((await readiness())?.pending_images ?? 0) - waiting;
    if (ahead <= 0 || queue.isPaused || signal.aborted) return;
    say(`In the queue: ${count(ahead)} of others ${ahead === 1 ? "is" : "are"} before yours.`);
  }, QUEUE_POLL_MS);
  queue.stop = () => {
    queue.isPaused = true;
    clearInterval(timer);
  };
  return queue;
}

/** Says what the service still waits for, until it can draw. */
async function watchStart() {
  for (;;) {
    const state = await readiness();
    if (state?.ready) return;
    const missing = Object.entries(state?.stages ?? {}).filter(([, how]) => how !== "ready");
    if (!current) say(missing.length ? `The service is starting: ${missing.map(([stage]) => stage).join(", ")} …` : "");
    await new Promise((resolve) => setTimeout(resolve, START_POLL_MS));
    if (current || shown) return;
    say("");
  }
}

function count(images) {
  return images === 1 ? "1 picture" : `${images} pictures`;
}

// ---- around it

async function copy(link) {
  try {
    await navigator.clipboard.writeText(link);
    return "The link is copied: it draws the same again.";
  } catch {
    location.replace(new URL(link).hash); // pages that are not on this machine may not write to the clipboard
    return "The link is in the address bar now: copy it from there.";
  }
}

function showExamples() {
  const buttons = examplesFor(settings.model).map((prompt) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = prompt;
    button.onclick = () => {
      settings.form.prompt.value = prompt;
      submit();
    };
    return button;
  });
  part("examples").replaceChildren(...buttons);
}

async function showHistory() {
  const drawings = await history.all();
  part("history").hidden = drawings.length === 0;
  part("runs").replaceChildren(...drawings.map(historyEntry));
}

function historyEntry(drawing) {
  const entry = part("run").content.cloneNode(true);
  const pictures = drawing.pictures.slice(0, 4).map(({ src }) => Object.assign(new Image(), { src, alt: "" }));
  entry.querySelector(".mini").append(...pictures);
  entry.querySelector(".words").textContent = drawing.label;
  entry.querySelector("button").onclick = () => reopen(drawing);
  return entry;
}

async function reopen(drawing) {
  if (current) return;
  part("problem").replaceChildren();
  if (drawing.isLinkable) settings.write(drawing.fields);
  grid.start(drawing.pictures.map(({ seed }) => seed), false);
  await grid.finish(drawing.pictures);
  present(drawing);
  part("grid").scrollIntoView({ block: "nearest", behavior: "smooth" });
}

function submit() {
  if (current) return;
  const fields = settings.read();
  if (fields) drawPrompt(fields);
}

async function start() {
  grid.start(Array.from({ length: VARIATIONS }, (_, i) => i), false);
  part("key").value = sessionStorage.getItem("key") ?? "";
  useKey(part("key").value);
  part("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  part("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    part("key").value = part("key").value.trim();
    sessionStorage.setItem("key", part("key").value);
    useKey(part("key").value);
    part("problem").replaceChildren();
    connect();
  });
  part("cancel").onclick = () => {
    current?.abort();
    part("prompt").focus();
  };
  part("again").onclick = () => {
    settings.write({ ...shown.fields, seed: undefined });
    submit();
  };
  part("save-grid").onclick = () => saveGrid(shown.label, shown.fields.seed, shown.pictures);
  part("copy-link").onclick = async () => say(await copy(linkTo(shown.fields)));
  part("forget").onclick = async () => {
    await history.clear();
    await showHistory();
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && current && !part("viewer").open) part("cancel").click();
    if (event.key === "/" && !/INPUT|SELECT/.test(document.activeElement.tagName)) {
      event.preventDefault();
      part("prompt").focus();
    }
  });
  window.addEventListener("hashchange", followLink);

  await Promise.all([connect(), history.open().then(showHistory)]);
  followLink();
}

async function connect() {
  try {
    settings.offer(await listModels());
    const { id, description } = settings.model;
    part("model-line").textContent = description ? `${id}: ${description}` : id;
    if (!part("key-form").hidden) part("prompt").focus();
    part("key-form").hidden = true;
    showExamples();
  } catch (error) {
    fail(error, false);
  }
  watchStart();
}

function followLink() {
  const fields = linkedFields();
  if (!fields || current) return;
  settings.write(fields);
  submit();
}

await start();
