// Pictures come in: chosen, dropped anywhere on the page, or pasted.

const part = (id) => document.getElementById(id);

/** Calls back with each file that comes in. */
export function takeIn(onFile) {
  part("attach").onclick = () => part("file").click();
  part("file").onchange = () => {
    const [file] = part("file").files;
    part("file").value = ""; // so that the same one may be chosen again
    if (file) onFile(file);
  };
  document.addEventListener("paste", (event) => {
    const file = pictureIn(event.clipboardData);
    if (!file || event.clipboardData.types.includes("text/plain")) return; // words with a picture of them are words
    event.preventDefault();
    onFile(file);
  });
  let depth = 0; // elements that the pointer is inside of
  const show = () => (part("drop").hidden = depth <= 0);
  document.addEventListener("dragenter", (event) => {
    if (!hasFiles(event)) return;
    depth += 1;
    show();
  });
  document.addEventListener("dragleave", () => {
    depth = Math.max(0, depth - 1);
    show();
  });
  document.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth = 0;
    show();
    const file = pictureIn(event.dataTransfer);
    if (file) onFile(file);
  });
}

function hasFiles(event) {
  return event.dataTransfer.types.includes("Files");
}

function pictureIn(transfer) {
  return [...(transfer?.files ?? [])].find(({ type }) => type.startsWith("image/"));
}
