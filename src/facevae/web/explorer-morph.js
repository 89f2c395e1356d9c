// The live morph. One request is under way at most; when its picture is drawn, the latest state is asked for, whatever lay between.

import { api } from "./explorer-api.js";
import { byId, median } from "./explorer-dom.js";
import { toastFault } from "./explorer-notices.js";
import { Picture } from "./explorer-picture.js";

const SLOW_MS = 25; // a move that comes while a picture is under way waits for two of them, and that shall be within 50 ms
const LONG_REST_MS = 250; // where VDSR is slow, a moment's pause in a drag must not wait for it
const JUDGED = 10;
const FEWEST = 3;
const REMEMBERED = 2000;

export class LiveMorph {
  #wanted = null;
  #busy = false;
  #timer = 0;
  #shown = ""; // which edit of which face is drawn, and how
  #upscaled = []; // the last round trips with VDSR, ms

  constructor(store) {
    this.store = store;
    this.picture = new Picture(byId("morph"));
    this.stats = { latencies: [], upscaledLatencies: [], roundTrips: [], upscaledRoundTrips: [], shown: "" };
    store.on("face", ({ time }) => this.#want(time));
    store.on("edit", ({ time }) => this.#want(time));
    store.on("display", () => this.#want(performance.now()));
    store.on("rest", () => this.#want(null));
  }

  /** The same again, as when the server is back. */
  again() {
    this.#shown = "";
    this.#want(null);
  }

  get #tooSlow() {
    return this.#upscaled.length >= FEWEST && median(this.#upscaled) > SLOW_MS;
  }

  get #upscale() {
    const resting = performance.now() - this.store.touched >= LONG_REST_MS;
    return this.#tooSlow && !resting ? 0 : this.store.upscale;
  }

  #want(time) {
    if (!this.store.face) return;
    this.#wanted = { time };
    if (!this.#busy) this.#work();
  }

  async #work() {
    this.#busy = true;
    while (this.#wanted) {
      const { time } = this.#wanted;
      this.#wanted = null;
      const edit = this.store.edit();
      const upscale = this.#upscale;
      const key = JSON.stringify([edit, upscale]);
      try {
        if (key !== this.#shown) await this.#draw(edit, upscale, time);
        this.#shown = this.stats.shown = key;
        this.#enlargeLater(upscale);
      } catch (error) {
        this.onFault?.(error);
        toastFault(error);
      }
    }
    this.#busy = false;
  }

  /** Where VDSR was left out for haste, it follows when the user rests. */
  #enlargeLater(upscale) {
    clearTimeout(this.#timer);
    if (upscale >= this.store.upscale) return;
    const left = LONG_REST_MS - (performance.now() - this.store.touched);
    this.#timer = setTimeout(() => this.#want(null), Math.max(0, Math.ceil(left)));
  }

  async #draw(edit, upscale, time) {
    const asked = performance.now();
    const blob = await api.decode(edit, upscale);
    const bitmap = await createImageBitmap(blob);
    this.#measure(upscale, performance.now() - asked);
    if (edit.face !== this.store.face.face) {
      bitmap.close(); // another face was picked meanwhile, and is wanted already
      return;
    }
    this.picture.put(bitmap);
    if (time !== null) this.#keep(upscale ? this.stats.upscaledLatencies : this.stats.latencies, performance.now() - time);
  }

  #measure(upscale, ms) {
    this.#keep(upscale ? this.stats.upscaledRoundTrips : this.stats.roundTrips, ms);
    if (upscale) this.#upscaled = [...this.#upscaled, ms].slice(-JUDGED);
  }

  #keep(list, ms) {
    list.push(ms);
    if (list.length > REMEMBERED) list.shift();
  }
}
