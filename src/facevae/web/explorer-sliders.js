// A slider for each attribute: the strongest six, the rest under a fold, a search over all, and chips for what is moved under the fold.

import { byId, element, signed, spaced } from "./explorer-dom.js";

const FIRST = 6;
const REACH = 3;
const ROOM = 180; // px below the first ones

export class Sliders {
  #rows = new Map(); // name -> {item, input, output, keep}
  #foldWasOpen = false;

  constructor(store, state) {
    this.store = store;
    this.names = state.sliders.map(({ name }) => name);
    this.whyNoKeep = state.why_no_keep ?? null;
    this.#build(state);
    this.#listen();
    store.on("edit", () => this.#show());
    store.on("face", () => this.#show());
    this.#show();
  }

  #build(state) {
    const rows = state.sliders.map(({ name, length }, index) => this.#row(name, length, index));
    byId("sliders-first").replaceChildren(...rows.slice(0, FIRST));
    byId("sliders-rest").replaceChildren(...rows.slice(FIRST));
    byId("sliders-more").hidden = rows.length <= FIRST;
    byId("sliders-summary").textContent = `${Math.max(0, rows.length - FIRST)} more`;
    // Where a tall window has room for more of them, it shows them.
    const room = byId("sliders").clientHeight - byId("sliders-more").offsetTop + byId("sliders").offsetTop;
    byId("sliders-more").open = room > ROOM;
    byId("slider-search").hidden = rows.length === 0;
    if (rows.length === 0) this.#none(state.why_no_sliders ?? "These weights know no attributes.");
  }

  #row(name, length, index) {
    const id = `slider-${index}`;
    const shown = spaced(name);
    const input = element("input", { type: "range", id, min: -REACH, max: REACH, step: 0.05, value: 0, "data-name": name });
    const output = element("output", { for: id, "aria-live": "off", text: "0" });
    const keep = element("input", { type: "checkbox", "data-name": name, "aria-label": `keep ${shown}` });
    const title = this.whyNoKeep ?? `Hold ${shown} still while others move`;
    const item = element(
      "li",
      { "data-name": name },
      element("label", { class: "name", for: id, text: shown, title: `${shown}: its direction is ${length.toFixed(2)} long` }),
      element("span", { class: "range" }, input, element("span", { class: "fill", "aria-hidden": "true" })),
      output,
      element("label", { class: "keep", title }, keep, "keep"),
    );
    this.#rows.set(name, { item, input, output, keep });
    return item;
  }

  #listen() {
    const body = byId("sliders");
    const named = (event, type) => (event.target.type === type ? event.target.dataset.name : undefined);
    body.addEventListener("input", (event) => {
      const name = named(event, "range");
      if (name) this.store.move(name, Number(event.target.value), event.timeStamp);
    });
    body.addEventListener("change", (event) => {
      const name = named(event, "checkbox");
      if (name) this.store.hold(name, event.target.checked);
    });
    body.addEventListener("dblclick", (event) => {
      const name = named(event, "range");
      if (name) this.store.move(name, 0, event.timeStamp);
    });
    body.addEventListener("keydown", (event) => {
      const name = named(event, "range");
      if (!name || !["0", "Delete", "Backspace"].includes(event.key) || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      this.store.move(name, 0, event.timeStamp);
    });
    byId("chips").addEventListener("scroll", () => this.#fadeChips());
    byId("chips").addEventListener("wheel", (event) => {
      if (!event.deltaX) byId("chips").scrollLeft += event.deltaY;
    }, { passive: true });
    new ResizeObserver(() => this.#fadeChips()).observe(byId("chips"));
    byId("slider-search").addEventListener("input", (event) => this.#search(event.target.value));
  }

  // ------------------------------------------------------------------------------------------------ what is shown

  #show() {
    for (const [name, { item, input, output, keep }] of this.#rows) {
      const value = this.store.moves.get(name) ?? 0;
      const kept = this.store.keep.has(name);
      if (Number(input.value) !== value) input.value = value;
      input.setAttribute("aria-valuetext", kept ? "kept" : signed(value));
      input.disabled = kept || !this.store.face;
      output.textContent = signed(value);
      keep.checked = kept;
      keep.disabled = value !== 0 || !this.store.face || this.whyNoKeep !== null;
      item.classList.toggle("moved", value !== 0);
      item.classList.toggle("kept", kept);
      const at = (value + REACH) / (2 * REACH);
      item.style.setProperty("--from", Math.min(at, 0.5));
      item.style.setProperty("--to", Math.max(at, 0.5));
    }
    this.#showChips();
  }

  #showChips() {
    const chip = (text, label, undo) =>
      element("button", { type: "button", class: "chip", "aria-label": label, title: label, onClick: undo }, `${text} `, element("span", { "aria-hidden": "true", text: "\u00d7" }));
    const folded = new Set(this.names.slice(FIRST));
    // The latest comes first, for it is what there must be room for.
    const moved = [...this.store.moves.keys()]
      .reverse()
      .filter((name) => folded.has(name))
      .map((name) => {
        const text = `${spaced(name)} ${signed(this.store.moves.get(name))}`;
        return chip(text, `${text}: set back to 0`, () => this.store.move(name, 0));
      });
    const kept = [...this.store.keep]
      .reverse()
      .filter((name) => folded.has(name))
      .map((name) => chip(`keep ${spaced(name)}`, `Let ${spaced(name)} go`, () => this.store.hold(name, false)));
    const box = byId("chips");
    const focused = [...box.children].indexOf(document.activeElement);
    box.replaceChildren(...moved, ...kept);
    this.#fadeChips();
    // A chip that was pressed is gone: the keyboard goes on from the next one.
    if (focused >= 0) (box.children[Math.min(focused, box.children.length - 1)] ?? byId("slider-search")).focus();
  }

  #fadeChips() {
    const box = byId("chips");
    box.classList.toggle("cut", box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
  }

  #none(text) {
    byId("sliders-none").textContent = text;
    byId("sliders-none").hidden = false;
  }

  #search(typed) {
    const fold = byId("sliders-more");
    const text = typed.trim().toLowerCase().replaceAll("_", " ");
    const searching = text !== "";
    if (searching && !this.searching) this.#foldWasOpen = fold.open;
    const matches = (name) => spaced(name).toLowerCase().includes(text);
    for (const [name, { item }] of this.#rows) item.hidden = !matches(name);
    const folded = this.names.slice(FIRST).filter(matches).length;
    fold.hidden = this.names.length <= FIRST || (searching && folded === 0);
    fold.open = searching ? folded > 0 : this.searching ? this.#foldWasOpen : fold.open;
    byId("sliders-summary").textContent = searching ? `${folded} of the others` : `${this.names.length - FIRST} more`;
    this.searching = searching;
    byId("sliders-none").hidden = !searching || this.names.some(matches);
    if (searching) byId("sliders-none").textContent = `No attribute has “${typed.trim()}” in its name.`;
  }
}
