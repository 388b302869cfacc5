// Where all data come from: the server of this page, or the file that the page was exported into.

const embedded = document.getElementById("export");
const exported = embedded && JSON.parse(embedded.textContent);
const MOST_KEPT = 100;
const kept = new Map();

export const isExport = exported !== null;

export class Unavailable extends Error {}

// The value of a path of the contract. Throws: Unavailable, with a sentence for people.
export async function get(path, signal) {
  if (exported) {
    if (Object.hasOwn(exported, path)) return exported[path];
    throw new Unavailable("This is not part of this export. Open the run itself with `tts view` to see it.");
  }
  let response, value;
  try {
    response = await fetch(path, { signal, headers: { accept: "application/json" } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Unavailable("The server of this page does not answer. Start `tts view` again, then try again.");
  }
  try {
    value = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Unavailable(`The server sent what is not JSON (status ${response.status}). Try again.`);
  }
  if (!response.ok) throw new Unavailable(value?.error ?? `The server answered with status ${response.status}.`);
  return value;
}

// As `get`, of what does not change while its stamp is the same: kept, so that it is drawn anew at once.
export function keptValue(path, stamp = "") {
  return kept.get(`${stamp} ${path}`);
}

export async function getKept(path, stamp = "") {
  const name = `${stamp} ${path}`;
  if (!kept.has(name)) {
    const value = await get(path);
    if (kept.size >= MOST_KEPT) kept.delete(kept.keys().next().value);
    kept.set(name, value);
  }
  return kept.get(name);
}

// What has been kept of a path is asked for again.
export function forget(path) {
  for (const name of kept.keys()) if (name.endsWith(` ${path}`)) kept.delete(name);
}

export function query(path, values) {
  return `${path}?${Object.entries(values)
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
    .join("&")}`;
}

// Calls `changed(version)` for every change of a run that is live, and `state(connected)` when that is lost or found.
// Returns a function that ends this.
export function follow(changed, state) {
  const events = new EventSource("/api/events");
  events.onopen = () => state(true);
  events.onerror = () => state(false);
  events.onmessage = (event) => changed(JSON.parse(event.data).version);
  return () => events.close();
}
