// The service's key: asked for in a dialog, sent from then on, kept in the browser only where that is wished.

import { useKey } from "./service.js";

const KEPT = "dalle-serve-key";
const part = (id) => document.getElementById(id);

/** Takes the key that is kept, if one is. @param onKey called when another is given. */
export function readyKeys(onKey) {
  useKey(kept() ?? "");
  part("forget-key").hidden = kept() === null;
  part("forget-key").onclick = () => {
    forget();
    location.reload();
  };
  part("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const key = part("key").value.trim();
    if (!key) return;
    useKey(key);
    if (part("key-keep").checked) keep(key);
    else forget();
    part("forget-key").hidden = kept() === null;
    part("key-dialog").close();
    onKey();
  });
  part("key-later").onclick = () => part("key-dialog").close();
}

/** Asks for a key. */
export function askForKey() {
  const isWrong = part("key").value !== "" || kept() !== null;
  part("key-words").textContent = isWrong
    ? "This key is not known here. Is it whole, and for this service?"
    : "This service draws for those who have a key. Who runs it can give you one.";
  part("key-keep").checked = kept() !== null;
  if (!part("key-dialog").open) part("key-dialog").showModal();
  part("key").select();
  part("key").focus();
}

function kept() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null; // forbidden: then nothing is kept
  }
}

function keep(key) {
  try {
    localStorage.setItem(KEPT, key);
  } catch {
    // it serves until the page is left
  }
}

function forget() {
  try {
    localStorage.removeItem(KEPT);
  } catch {
    // there is nothing to forget
  }
}
