// The view in the address bar, so that a reload keeps it: #face=row/12&Smiling=1.5&keep=Male&color=Young

const WAIT_MS = 250;
const OWN = new Set(["face", "color", "keep"]);

export class Address {
  #timer = 0;
  #written = null;

  constructor(store, map, sliders) {
    this.store = store;
    this.map = map;
    this.sliders = sliders;
  }

  /** What the address asks for: {face, colour, moves, keep}; null for what it does not say. */
  read() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const moves = {};
    for (const [name, value] of asked) {
      const number = Number(value);
      if (OWN.has(name) || !this.sliders.names.includes(name) || !Number.isFinite(number) || number === 0) continue;
      moves[name] = Math.max(-3, Math.min(3, Math.round(number * 20) / 20));
    }
    const keep = (asked.get("keep") ?? "").split(",").filter((name) => this.sliders.names.includes(name) && !(name in moves));
    return { face: asked.get("face"), colour: asked.get("color"), moves, keep };
  }

  /** Write from now on what changes; `apply` is called when the user changes the address. */
  follow(apply) {
    const later = () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#write(), WAIT_MS);
    };
    this.store.on("face", later);
    this.store.on("edit", later);
    this.map.onColour = later;
    window.addEventListener("hashchange", () => {
      if (location.hash.slice(1) !== this.#written) apply(this.read());
    });
  }

  #write() {
    const { face, moves, keep } = this.store;
    const parts = [];
    const add = (name, value) => parts.push(`${encodeURIComponent(name)}=${encodeURIComponent(value).replaceAll("%2F", "/").replaceAll("%2C", ",")}`);
    if (face) add("face", face.face);
    for (const [name, value] of moves) if (!OWN.has(name)) add(name, value);
    if (keep.size) add("keep", [...keep].join(","));
    if (this.map.attributes.names.length) add("color", this.map.colour);
    this.#written = parts.join("&");
    // Without what is after "?": a token belongs into no bookmark, and the cookie has it.
    history.replaceState(null, "", `${location.pathname}#${this.#written}`);
  }
}
