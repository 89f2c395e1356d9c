// The map: its dots, colours, legend, markers and the state of its fit.

import { api } from "./explorer-api.js";
import { Attributes } from "./explorer-attributes.js";
import { announce, byId, element, grouped, spaced, stem } from "./explorer-dom.js";
import { HoverCard } from "./explorer-card.js";
import { LassoPanel } from "./explorer-lasso.js";
import { toast } from "./explorer-notices.js";
import { Scatter } from "./scatter.js";

const POLL_MS = 1000;
const LABEL_LETTERS = 22;
const shortened = (text) => (text.length > LABEL_LETTERS ? `${text.slice(0, LABEL_LETTERS - 1)}…` : text);

export class FaceMap {
  #revision = null;
  #xy = null;
  #place = null;
  #neighbours = [];

  /** `pick(reference)` is called with a face's reference when somebody wants that face. */
  constructor(store, pick) {
    this.store = store;
    this.pick = pick;
    this.attributes = new Attributes([], new Uint8Array(0), 0);
    this.colour = "";
    byId("colour").addEventListener("change", (event) => this.setColour(event.target.value));
    byId("tool").addEventListener("change", (event) => this.scatter?.setTool(event.target.value));
    byId("fit").addEventListener("click", () => this.scatter?.fit());
    window.addEventListener("facevae-theme", () => this.scatter?.refreshTheme());
    store.on("face", () => this.#facePicked());
    store.on("point", () => this.#mark());
    store.on("held", () => this.#mark());
    store.on("edit", () => {
      if (store.moves.size === 0) this.setPlace(null);
    });
  }

  /** Everything from the server anew; with a failure the map says so and offers to try again. */
  async load(state) {
    this.state = state;
    if (state.faces.kind === "none" || state.faces.count === 0) {
      this.#enable(false);
      this.#say("There is no map: encode faces with “facevae encode > latents.h5” and start the explorer in that folder. Photos and random faces can be morphed all the same.");
      return;
    }
    try {
      [this.#xy] = await Promise.all([api.points(state.map.revision), this.#loadAttributes(state)]);
    } catch (error) {
      document.documentElement.dataset.state = "failed";
      this.#enable(false);
      this.#say(`The map could not be loaded. ${error.message}`, () => location.reload());
      error.shown = true;
      throw error;
    }
    this.#enable(true);
    this.#start();
    this.#revision = state.map.revision;
    this.scatter.setPoints(this.#xy, { animate: false });
    this.#offerColours();
    this.#showFit(state.map);
    byId("map-message").hidden = true;
  }

  async #loadAttributes({ attributes, faces }) {
    const bits = attributes.length ? await api.attributes() : new Uint8Array(0);
    this.attributes = new Attributes(attributes, bits, faces.count);
  }

  #start() {
    if (this.scatter) return;
    this.scatter = new Scatter(byId("map"), {
      label: `Map of ${grouped(this.state.faces.count)} faces`,
      onHover: (row, place, byKeyboard) => this.card.show(row, place, byKeyboard),
      onPick: (row) => this.pick(`row/${row}`),
      onSelect: (rows) => this.lasso.show(rows),
      onView: () => this.card?.follow(),
    });
    this.card = new HoverCard(byId("card"), byId("map-box"), this);
    this.lasso = new LassoPanel(byId("lasso"), this);
    this.scatter.setTool(document.querySelector("#tool input:checked").value);
  }

  #enable(on) {
    for (const control of [byId("colour"), byId("fit"), byId("tool"), byId("find")]) control.disabled = !on;
    if (!on) byId("legend").replaceChildren();
  }

  #say(text, retry = null) {
    const message = byId("map-message");
    message.replaceChildren(element("p", { text }));
    if (retry) message.append(element("button", { type: "button", class: "primary", text: "Retry", onClick: retry }));
    message.hidden = false;
  }

  // ------------------------------------------------------------------------------------------------ colours

  #offerColours() {
    const { attributes, default_attribute: first } = this.state;
    const options = attributes.map((name) => element("option", { value: name, text: spaced(name) }));
    byId("colour").replaceChildren(element("option", { value: "", text: "one colour" }), ...options);
    byId("colour").disabled = attributes.length === 0;
    byId("colour").closest("label").title = attributes.length ? "" : this.#whyOneColour();
    const wanted = this.wantedColour ?? first ?? "";
    this.setColour(attributes.includes(wanted) ? wanted : "", { quiet: true });
  }

  #whyOneColour() {
    if (this.state.attributes_pending) return "The judge still looks at which attributes these faces have.";
    return this.state.why_no_attributes ?? "The faces of this map have no attributes.";
  }

  setColour(name, { quiet = false } = {}) {
    this.colour = name;
    byId("colour").value = name;
    const index = this.attributes.names.indexOf(name);
    this.scatter.setClasses(index < 0 ? null : this.attributes.classes(index));
    this.scatter.setDisks(index < 0 ? [] : this.#means(index));
    this.#showLegend(index);
    if (!quiet) {
      announce(index < 0 ? "One colour." : `Coloured by ${spaced(name)}: ${grouped(this.attributes.totals[index])} faces have it.`);
      this.onColour?.();
    }
  }

  #means(index) {
    const sums = [0, 1].map(() => ({ x: 0, y: 0, count: 0 }));
    for (let row = 0; row < this.attributes.count; row += 1) {
      const sum = sums[this.attributes.has(index, row)];
      sum.x += this.#xy[2 * row];
      sum.y += this.#xy[2 * row + 1];
      sum.count += 1;
    }
    const name = spaced(this.attributes.names[index]);
    return sums.flatMap(({ x, y, count }, kind) =>
      count ? [{ x: x / count, y: y / count, class: kind, label: `${kind ? "with" : "without"} ${name}` }] : [],
    );
  }

  #showLegend(index) {
    const all = this.attributes.count;
    const item = (kind, text) => element("li", {}, element("span", { class: `swatch ${kind}`, "aria-hidden": "true" }), text);
    if (index < 0) {
      byId("legend").replaceChildren(item("only", `${grouped(all)} faces`));
      return;
    }
    const name = spaced(this.attributes.names[index]);
    const having = this.attributes.totals[index];
    byId("legend").replaceChildren(
      item("with", `${name} ${grouped(having)}`),
      item("without", `without ${grouped(all - having)}`),
    );
  }

  // ------------------------------------------------------------------------------------------------ the fit

  /** Follow the fit of the map while there is one. */
  async follow() {
    while (this.state.map.status === "fitting" || this.state.attributes_pending) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      const state = await api.state().catch(() => null);
      if (state) await this.update(state);
    }
  }

  async update(state) {
    const before = this.state.map;
    this.state = state;
    if (state.map.revision !== this.#revision && this.scatter) {
      const xy = await api.points(state.map.revision).catch(() => null);
      if (xy) {
        this.#revision = state.map.revision;
        this.#xy = xy;
        this.setPlace(null);
        this.scatter.setPoints(xy, { animate: true });
        this.setColour(this.colour, { quiet: true });
        this.onMoved?.();
      }
    }
    if (state.attributes.length !== this.attributes.names.length && this.scatter) {
      await this.#loadAttributes(state).catch(() => null);
      this.#offerColours();
      this.onMoved?.();
    }
    this.#showFit(state.map);
    if (before.status === "fitting" && state.map.status === "ready") announce(`The map is a ${state.map.method} now.`);
    if (before.status === "fitting" && state.map.status === "failed") toast(state.map.message ?? "The map could not be fitted.", { alert: true });
  }

  #showFit(map) {
    const box = byId("fitting");
    const bar = byId("fitting-progress");
    box.hidden = map.status === "none" || !map.method;
    bar.hidden = map.status !== "fitting";
    box.title = map.message ?? "";
    if (map.status !== "fitting") {
      byId("fitting-text").textContent = map.status === "failed" ? `${map.method} (the UMAP failed)` : map.method ?? "";
      return;
    }
    const progress = map.progress;
    const known = progress && progress.total;
    const how = progress ? `: ${progress.stage.replace(/^umap: /, "")}${known ? ` ${grouped(progress.done)} of ${grouped(progress.total)}` : ""}` : "";
    byId("fitting-text").textContent = `${map.method} for now, UMAP is being fitted${how}`;
    if (known) {
      bar.max = progress.total;
      bar.value = progress.done;
    } else {
      bar.removeAttribute("value");
    }
  }

  // ------------------------------------------------------------------------------------------------ markers

  #facePicked() {
    this.#place = null;
    this.#neighbours = [];
    this.#mark();
    const { face } = this.store;
    if (face?.point) this.scatter?.reveal(...face.point);
  }

  /** Where the morph is: [x, y] or null. */
  setPlace(point) {
    this.#place = point;
    this.#mark();
  }

  setNeighbours(rows) {
    this.#neighbours = rows;
    this.#mark();
  }

  #mark() {
    if (!this.scatter) return;
    const { face, held } = this.store;
    const markers = this.#neighbours.map((row) => ({ row, kind: "neighbour", label: "" }));
    const at = (point, kind, label) => markers.push({ x: point[0], y: point[1], kind, label });
    if (held?.face.point) at(held.face.point, "second", "A");
    const from = face?.point;
    if (from) at(from, face.face.startsWith("photo/") ? "photo" : "picked", shortened(stem(face.name)));
    if (from && this.#place) at(this.#place, "morph", "morph");
    this.scatter.setMarkers(markers);
    const line = from && this.#place ? [{ from: { x: from[0], y: from[1] }, to: { x: this.#place[0], y: this.#place[1] } }] : [];
    this.scatter.setLines(line);
  }
}
