// From A to B: the straight line between two faces (each with its edit) as an animation that goes to and fro.

import { api } from "./explorer-api.js";
import { byId, download, element, fileName, reducedMotion, stem } from "./explorer-dom.js";
import { toastFault } from "./explorer-notices.js";

const STEPS = 24;
const FRAME_MS = 80;
const PAUSE_FRAMES = 4; // at either end, so that one sees A and B

export class Between {
  #frames = null;
  #shown = "";
  #turn = 0;
  #timer = 0;
  #tick = 0;

  constructor(store) {
    this.store = store;
    this.box = byId("between");
    byId("hold").addEventListener("click", () => store.setHeld({ face: store.face, edit: store.edit() }));
    store.on("held", () => this.#begin());
    store.on("rest", () => this.#follow());
    store.on("display", () => this.#follow());
    new ResizeObserver(() => this.#draw()).observe(this.box);
  }

  /** The frames are drawn anew: the server is another one. */
  again() {
    this.#shown = "";
    this.#follow();
  }

  #begin() {
    this.#stop();
    this.#frames?.close();
    this.#frames = null;
    this.#shown = "";
    const { held } = this.store;
    this.box.hidden = held === null;
    if (held === null) {
      this.box.replaceChildren();
      byId("hold").focus();
      return;
    }
    this.#build();
    this.playing = !reducedMotion();
    this.#follow();
  }

  #build() {
    const end = (name) => element("span", { class: "end" }, element("canvas", { class: "small", role: "img", "aria-label": name }), element("b", { text: name }));
    this.ends = [end("A"), end("B")];
    this.canvas = element("canvas", { id: "between-canvas", role: "img", "aria-label": "Between A and B" });
    this.title = element("p", { class: "names" });
    this.play = element("button", { type: "button", id: "between-play", onClick: () => (this.playing ? this.#stop() : this.#play()) });
    this.scrub = element("input", { type: "range", id: "between-scrub", min: 0, max: STEPS - 1, step: 1, value: 0, "aria-label": "Position between A and B" });
    this.scrub.addEventListener("input", () => {
      this.#stop();
      this.#tick = Number(this.scrub.value) + PAUSE_FRAMES;
      this.#draw();
    });
    this.save = element("button", { type: "button", id: "between-save", text: "Save GIF", onClick: () => this.#save() });
    const close = element("button", { type: "button", class: "round", text: "\u00d7", "aria-label": "Let go of A", onClick: () => this.store.setHeld(null) });
    this.controls = element("div", { class: "controls" }, this.play, element("span", { class: "range plain" }, this.scrub), this.save);
    this.box.replaceChildren(
      element("div", { class: "stage" }, this.ends[0], this.canvas, this.ends[1]),
      element("div", { class: "about" }, element("header", {}, element("h2", { text: "A \u2192 B" }), close), this.title, this.controls),
    );
    this.#showPlay();
  }

  #name({ face, edit }) {
    return Object.keys(edit.moves).length ? `${stem(face.name)} edited` : stem(face.name);
  }

  async #follow() {
    const { held, face, upscale } = this.store;
    if (!held || !face) return;
    const other = { face, edit: this.store.edit() };
    const same = JSON.stringify(held.edit) === JSON.stringify(other.edit);
    this.title.textContent = same ? `A is ${this.#name(held)}. Now pick another face, or move a slider: that is B.` : `${this.#name(held)} \u2192 ${this.#name(other)}`;
    this.title.title = same ? "" : this.title.textContent;
    this.box.classList.toggle("waiting", same);
    this.controls.hidden = same;
    if (same) {
      this.#stop({ keep: true });
      this.#turn += 1;
      this.#shown = "";
      this.#showA(held.edit, upscale);
      return;
    }
    const key = JSON.stringify([held.edit, other.edit, upscale]);
    if (key === this.#shown) return;
    this.#shown = key;
    const turn = ++this.#turn;
    try {
      // VDSR takes its time for so many: first without, then with it.
      for (const factor of upscale ? [0, upscale] : [0]) {
        const row = await createImageBitmap(await api.interpolate([held.edit, other.edit], STEPS, factor));
        if (turn !== this.#turn) return row.close();
        this.#frames?.close();
        this.#frames = row;
        this.#draw();
        if (this.playing && factor === 0) this.#play();
      }
    } catch (error) {
      this.#shown = "";
      toastFault(error);
    }
  }

  /** As long as there is no B, A alone. */
  async #showA(edit, upscale) {
    try {
      const one = await createImageBitmap(await api.decode(edit, upscale));
      if (this.box.classList.contains("waiting")) this.#paint(this.ends[0].firstChild, 0, one);
      one.close();
    } catch (error) {
      toastFault(error);
    }
  }

  // ------------------------------------------------------------------------------------------------ the animation

  /** Which frame a tick shows: there, a pause, back, a pause. */
  #frameAt(tick) {
    const cycle = 2 * (STEPS - 1 + PAUSE_FRAMES);
    const at = tick % cycle;
    const there = Math.min(Math.max(at - PAUSE_FRAMES, 0), STEPS - 1);
    return at < STEPS - 1 + PAUSE_FRAMES ? there : Math.max(0, STEPS - 1 - Math.max(0, at - (STEPS - 1 + 2 * PAUSE_FRAMES)));
  }

  #play() {
    this.playing = true;
    this.#showPlay();
    clearInterval(this.#timer);
    this.#timer = setInterval(() => {
      if (document.hidden) return;
      this.#tick += 1;
      this.#draw();
    }, FRAME_MS);
  }

  /** Stand still; with `keep`, only until there are two faces again. */
  #stop({ keep = false } = {}) {
    clearInterval(this.#timer);
    if (!keep) this.playing = false;
    this.#showPlay();
  }

  #showPlay() {
    if (!this.play) return;
    this.play.textContent = this.playing ? "Pause" : "Play";
  }

  #draw() {
    if (!this.#frames || this.box.hidden || this.box.classList.contains("waiting")) return;
    const frame = this.#frameAt(this.#tick);
    this.scrub.value = frame;
    this.scrub.setAttribute("aria-valuetext", `${Math.round((100 * frame) / (STEPS - 1))}% of the way`);
    this.canvas.dataset.frame = frame;
    this.#paint(this.canvas, frame);
    this.#paint(this.ends[0].firstChild, 0);
    this.#paint(this.ends[1].firstChild, STEPS - 1);
  }

  #paint(canvas, frame, row = this.#frames) {
    const size = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
    if (canvas.width !== size || canvas.height !== size) {
      canvas.width = size;
      canvas.height = size;
    }
    const side = row.height;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = this.store.display !== "pixels";
    context.imageSmoothingQuality = "high";
    context.drawImage(row, frame * side, 0, side, side, 0, 0, size, size);
  }

  async #save() {
    const { held, face, upscale } = this.store;
    this.save.disabled = true;
    try {
      const gif = await api.animation([held.edit, this.store.edit()], upscale);
      download(gif, fileName([stem(held.face.name), "to", stem(face.name)], ".gif"));
    } catch (error) {
      toastFault(error);
    } finally {
      this.save.disabled = false;
    }
  }
}
