// Drawings of the past, in this browser only (IndexedDB): the newest first, the oldest forgotten.

const KEPT = 40;

export class History {
  #database = null;

  /** Opens the store; where the browser gives none, nothing is kept. */
  async open() {
    try {
      const request = indexedDB.open("dalle-serve", 2);
      request.onupgradeneeded = () => {
        if (request.result.objectStoreNames.contains("drawings")) request.result.deleteObjectStore("drawings"); // of another shape
        request.result.createObjectStore("drawings", { keyPath: "id", autoIncrement: true });
      };
      this.#database = await settled(request);
    } catch {
      this.#database = null;
    }
  }

  /** Adds drawings, as `drawing.js` gives them, with the time `at` which they were drawn. */
  async add(...drawings) {
    await this.#with("readwrite", async (store) => {
      for (const { id, ...drawing } of drawings) await settled(store.add(drawing));
      const ids = await settled(store.getAllKeys());
      for (const id of ids.slice(0, -KEPT)) store.delete(id);
    });
  }

  async all() {
    return (await this.#with("readonly", (store) => settled(store.getAll())))?.reverse() ?? [];
  }

  async clear() {
    await this.#with("readwrite", (store) => settled(store.clear()));
  }

  async #with(mode, action) {
    if (!this.#database) return undefined;
    try {
      return await action(this.#database.transaction("drawings", mode).objectStore("drawings"));
    } catch (error) {
      console.warn("The history cannot be used:", error); // full or forbidden: drawing goes on without it
      return undefined;
    }
  }
}

function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
