// The card of the face under the pointer: picture, name, what it has. It follows the pointer and stays inside the map.

import { api } from "./explorer-api.js";
import { fewChips } from "./explorer-attributes.js";
import { announce, element } from "./explorer-dom.js";

const GAP = 16;
const CHIPS = 5;
const REMEMBERED = 500;

export class HoverCard {
  #names = new Map();
  #row = null;
  #asked = null;

  constructor(card, box, map) {
    this.card = card;
    this.box = box;
    this.map = map;
    this.image = element("img", { alt: "", width: "96", height: "96" });
    this.name = element("p", { class: "name" });
    this.chips = element("ul", { class: "tags" });
    card.append(this.image, element("div", {}, this.name, this.chips));
  }

  show(row, place, byKeyboard) {
    if (row === null) {
      this.hide();
      return;
    }
    if (row !== this.#row) this.#fill(row, byKeyboard);
    this.card.hidden = false;
    this.#put(place);
  }

  /** The view moved, and the dot with it. */
  follow() {
    if (this.#row !== null) this.#put(this.map.scatter.screenOf(this.#row));
  }

  hide() {
    this.#row = null;
    this.#asked?.abort();
    this.card.hidden = true;
  }

  #fill(row, byKeyboard) {
    this.#row = row;
    this.card.dataset.row = row;
    this.image.src = api.thumbnail(row);
    const words = this.map.attributes.ofRow(row);
    this.chips.replaceChildren(...fewChips(words, CHIPS, element));
    this.#showName(row, byKeyboard ? words : null);
  }

  async #showName(row, spoken) {
    this.#asked?.abort();
    this.#asked = new AbortController();
    this.name.textContent = this.#names.get(row) ?? "\u2026";
    try {
      if (!this.#names.has(row)) this.#remember(row, (await api.face(`row/${row}`, this.#asked.signal)).name);
    } catch {
      return; // the pointer went on, or the banner says that the server is gone
    }
    if (row !== this.#row) return;
    this.name.textContent = this.#names.get(row);
    if (spoken) announce([this.#names.get(row), ...spoken.slice(0, CHIPS)].join(", "));
  }

  #remember(row, name) {
    if (this.#names.size >= REMEMBERED) this.#names.delete(this.#names.keys().next().value);
    this.#names.set(row, name);
  }

  #put({ x, y }) {
    const { clientWidth: width, clientHeight: height } = this.box;
    const { offsetWidth: own, offsetHeight: tall } = this.card;
    const left = x + GAP + own <= width ? x + GAP : x - GAP - own;
    const top = y + GAP + tall <= height ? y + GAP : y - GAP - tall;
    this.card.style.left = `${Math.max(0, Math.min(left, width - own))}px`;
    this.card.style.top = `${Math.max(0, Math.min(top, height - tall))}px`;
  }
}
