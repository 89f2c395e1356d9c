// Every request to the server. A refusal becomes a ServerError with the server's sentence; no answer at all becomes a LostServer.

/** The server refused: the message is a sentence for people. */
export class ServerError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Nobody answers any more. The banner says so, hence callers keep silent about it. */
export class LostServer extends Error {}

const RETRY_MS = 2000;

/** Emits "lost" once when the server is gone, and "back" with its state (in `detail`) when it answers again. */
export const connection = new EventTarget();
let lost = false;

function loseServer() {
  if (lost) return;
  lost = true;
  connection.dispatchEvent(new Event("lost"));
  retryLater();
}

function retryLater() {
  setTimeout(async () => {
    try {
      const response = await fetch("api/state", { cache: "no-store" });
      const state = await response.json();
      run = state.id ?? "";
      lost = false;
      connection.dispatchEvent(new CustomEvent("back", { detail: state }));
    } catch {
      retryLater();
    }
  }, RETRY_MS);
}

async function sentence(response) {
  const text = await response.text();
  try {
    const { error } = JSON.parse(text);
    if (error) return error;
  } catch {
    // not JSON: no sentence of ours
  }
  return `The explorer answered ${response.status}.`;
}

async function call(address, options, read) {
  try {
    const response = await fetch(address, { cache: "no-store", ...options });
    if (!response.ok) throw new ServerError(await sentence(response), response.status);
    return await read(response);
  } catch (error) {
    if (error instanceof ServerError || error.name === "AbortError") throw error;
    loseServer();
    throw new LostServer("The explorer does not answer.");
  }
}

const json = (response) => response.json();
const blob = (response) => response.blob();
const buffer = (response) => response.arrayBuffer();

function post(address, body, read) {
  const headers = { "Content-Type": "application/json" };
  return call(address, { method: "POST", headers, body: JSON.stringify(body) }, read);
}

function postRows(address, rows, read) {
  // Uint32Array is little endian on every machine that browsers run on.
  return call(address, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: rows }, read);
}

let run = ""; // which run of the server the browser may keep thumbnails of

const of = (values) => new URLSearchParams(values).toString();

export const api = {
  state: async () => {
    const state = await call("api/state", {}, json);
    run = state.id ?? "";
    return state;
  },
  points: async (revision) => new Float32Array(await call(`api/map/points?${of({ revision })}`, {}, buffer)),
  attributes: async () => new Uint8Array(await call("api/map/attributes", {}, buffer)),
  face: (face, signal) => call(`api/face?${of({ face })}`, { signal }, json),
  find: (name, signal) => call(`api/find?${of({ name, limit: 20 })}`, { signal }, json),
  thumbnail: (row) => `api/thumbnail?${of({ row, v: run })}`,
  picture: (face, kind, upscale) => call(`api/picture?${of({ face, kind, upscale })}`, {}, blob),
  pictureAddress: (face, kind) => `api/picture?${of({ face, kind, upscale: 0 })}`,
  decode: (edit, upscale) => post("api/decode", { ...edit, upscale }, blob),
  place: (edit) => post("api/place", edit, json),
  neighbours: (edit, count) => post("api/neighbours", { ...edit, count }, json),
  random: (temperature, seed = null) => post("api/random", { temperature, seed }, json),
  mean: (rows) => postRows("api/mean", rows, json),
  names: (rows) => postRows("api/names", rows, blob),
  interpolate: (faces, steps, upscale) => post("api/interpolate", { faces, steps, upscale }, blob),
  strip: (edit, upscale) => post("api/strip", { ...edit, upscale }, blob),
  animation: (faces, upscale) => post("api/animation", { faces, upscale }, blob),
  command: (edit, upscale) => post("api/command", { ...edit, upscale }, json),
  photo: (file, align) => {
    const headers = { "X-Name": encodeURIComponent(file.name || "photo"), "Content-Type": "application/octet-stream" };
    return call(`api/photo?align=${align ? 1 : 0}`, { method: "POST", headers, body: file }, json);
  },
};
