// What follows when the user rests: where the morph is on the map, and the faces nearest to it.

import { api } from "./explorer-api.js";
import { byId, element, stem } from "./explorer-dom.js";
import { toastFault } from "./explorer-notices.js";

const COUNT = 12;
/** What fits below a small picture: of "random 12" the number. */
const caption = (name) => stem(name).replace(/^random (?=\d)/, "");

export class Neighbours {
  #turn = 0;
  #shown = "";

  constructor(store, map, pick, state) {
    this.store = store;
    this.map = map;
    this.pick = pick;
    byId("neighbours").hidden = state.faces.kind === "none";
    if (state.faces.kind !== "none") store.on("rest", () => this.#follow());
  }

  /** Ask again, though nothing has changed: the map has. */
  again() {
    this.#shown = "";
    if (this.store.face) this.#follow();
  }

  async #follow() {
    if (!this.store.face) return;
    const edit = this.store.edit();
    const key = JSON.stringify(edit);
    if (key === this.#shown) return;
    this.#shown = key;
    const turn = ++this.#turn;
    try {
      const [place, { neighbours, metric }] = await Promise.all([
        Object.keys(edit.moves).length ? api.place(edit) : { point: null },
        api.neighbours(edit, COUNT),
      ]);
      if (turn !== this.#turn || key !== JSON.stringify(this.store.edit())) return;
      this.map.setPlace(place.point);
      this.#show(neighbours, metric);
    } catch (error) {
      this.#shown = "";
      toastFault(error);
    }
  }

  #show(neighbours, metric) {
    const moved = this.store.moves.size > 0;
    byId("neighbours-title").textContent = moved ? "Nearest faces to the morph" : "Nearest faces";
    byId("neighbour-hint").hidden = true;
    const items = neighbours.map(({ face, row, name, distance }) => {
      const image = element("img", { alt: "", src: api.thumbnail(row), width: "64", height: "64" });
      const text = `${name}, ${metric} distance ${distance.toFixed(3)}`;
      const show = () => this.map.scatter.hover(row);
      const hide = () => this.map.scatter.hover(null);
      const events = { onClick: () => (hide(), this.pick(face)), onPointerEnter: show, onPointerLeave: hide };
      return element("li", {}, element("button", { type: "button", title: text, "aria-label": `Pick ${text}`, ...events }, image, element("span", { text: caption(name) })));
    });
    const list = byId("neighbour-list");
    const focused = [...list.children].findIndex((item) => item.contains(document.activeElement));
    list.replaceChildren(...items);
    items[focused]?.firstChild.focus({ preventScroll: true });
    this.map.setNeighbours(neighbours.map(({ row }) => row));
  }
}
