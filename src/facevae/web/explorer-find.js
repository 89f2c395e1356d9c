// Find a face by its name: a text field with a list below it, to be walked with the arrow keys.

import { api } from "./explorer-api.js";
import { byId, element } from "./explorer-dom.js";
import { toastFault } from "./explorer-notices.js";

const WAIT_MS = 120;

export class Find {
  #asked = null;
  #timer = 0;
  #active = -1;
  #faces = [];

  constructor(pick) {
    this.pick = pick;
    this.input = byId("find");
    this.list = byId("find-results");
    this.input.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#search(), WAIT_MS);
    });
    this.input.addEventListener("focus", () => this.input.value.trim() && this.#search());
    this.input.addEventListener("keydown", (event) => this.#key(event));
    this.input.addEventListener("blur", () => this.#close());
    this.list.addEventListener("pointerdown", (event) => event.preventDefault()); // the field keeps the focus
  }

  async #search() {
    const text = this.input.value.trim();
    this.#asked?.abort();
    if (!text) {
      this.#close();
      return;
    }
    this.#asked = new AbortController();
    try {
      const { faces, more } = await api.find(text, this.#asked.signal);
      if (document.activeElement === this.input) this.#show(faces, more, text);
    } catch (error) {
      toastFault(error);
    }
  }

  #show(faces, more, text) {
    this.#faces = faces;
    const options = faces.map(({ face, name }, index) => {
      const image = element("img", { alt: "", src: api.thumbnail(face.split("/")[1]), width: "28", height: "28" });
      const choose = () => this.#choose(index);
      return element("li", { role: "option", id: `find-${index}`, "aria-selected": "false", onClick: choose }, image, element("span", { text: name }));
    });
    if (faces.length === 0) options.push(element("li", { class: "hint", role: "presentation", text: `No face has “${text}” in its name.` }));
    if (more) options.push(element("li", { class: "hint", role: "presentation", text: "There are more: type more of the name." }));
    this.list.replaceChildren(...options);
    this.list.hidden = false;
    this.input.setAttribute("aria-expanded", "true");
    this.#activate(faces.length ? 0 : -1);
  }

  #activate(index) {
    this.#active = index;
    const options = this.list.querySelectorAll("[role=option]");
    options.forEach((option, at) => option.setAttribute("aria-selected", String(at === index)));
    if (index < 0) {
      this.input.removeAttribute("aria-activedescendant");
      return;
    }
    this.input.setAttribute("aria-activedescendant", `find-${index}`);
    options[index].scrollIntoView({ block: "nearest" });
  }

  #choose(index) {
    const found = this.#faces[index];
    if (!found) return;
    this.#close();
    this.pick(found.face);
  }

  #key(event) {
    const count = this.#faces.length;
    if (event.key === "Escape" && !this.list.hidden) {
      event.preventDefault();
      this.#close();
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (this.list.hidden) this.#search();
      else this.#choose(this.#active);
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && !this.list.hidden && count) {
      event.preventDefault();
      this.#activate((this.#active + (event.key === "ArrowDown" ? 1 : count - 1)) % count);
    }
  }

  #close() {
    clearTimeout(this.#timer);
    this.#asked?.abort();
    this.list.hidden = true;
    this.#active = -1;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }
}
