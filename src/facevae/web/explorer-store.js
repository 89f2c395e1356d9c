// What the page is about at the moment: the picked face, its edit, how pictures are shown. Parts listen; only the store changes it.

const REST_MS = 120;
const STEP = 20; // moves are multiples of 1 / 20

/**
 * Emits "face" (another face was picked), "edit" (a slider or a keep box; `detail.time` is when the user did it, `detail.name` what),
 * "rest" (nothing of both for 120 ms), "display" and "held".
 */
export class Store extends EventTarget {
  face = null;
  moves = new Map();
  keep = new Set();
  display = "smooth";
  held = null;
  #timer = 0;
  #turn = 0;

  on(type, listener) {
    this.addEventListener(type, (event) => listener(event.detail ?? {}));
  }

  #emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #restLater() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#emit("rest"), REST_MS);
  }

  /** When the user last changed something, in ms of `performance.now`. */
  touched = 0;

  #changed(type, detail = {}) {
    this.touched = performance.now();
    this.#emit(type, { time: this.touched, ...detail });
    this.#restLater();
  }

  /** Pick what a promise brings, unless something else was picked or chosen meanwhile. */
  async choose(promise) {
    const turn = ++this.#turn;
    const face = await promise;
    if (turn === this.#turn) this.pick(face);
  }

  pick(face) {
    this.#turn += 1;
    this.face = face;
    this.#changed("face");
  }

  /** The picked face is the same, but the map has changed and so its point. */
  repoint(face) {
    if (this.face?.face !== face.face) return;
    this.face = { ...this.face, point: face.point };
    this.#emit("point");
    this.#restLater();
  }

  move(name, value, time = performance.now()) {
    const rounded = Math.round(value * STEP) / STEP;
    if (rounded === 0) this.moves.delete(name);
    else this.moves.set(name, rounded);
    this.#changed("edit", { time, name });
  }

  hold(name, kept) {
    if (kept) this.keep.add(name);
    else this.keep.delete(name);
    this.#changed("edit", { name });
  }

  /** All sliders at once, as from the address bar or by Reset. */
  setEdit(moves = {}, keep = []) {
    this.moves = new Map(Object.entries(moves));
    this.keep = new Set(keep);
    this.#changed("edit");
  }

  setDisplay(display) {
    this.display = display;
    this.#emit("display");
  }

  /** Keep the present face and edit as the first of two; null lets go of it. */
  setHeld(held) {
    this.held = held;
    this.#emit("held");
    this.#restLater();
  }

  /** How the server wants it: the face's reference, moves that are not 0, what is kept. */
  edit() {
    return { face: this.face.face, moves: Object.fromEntries(this.moves), keep: [...this.keep] };
  }

  /** How many times VDSR enlarges what is shown: 0 is not at all. */
  get upscale() {
    return this.display === "vdsr" ? 3 : 0;
  }
}
