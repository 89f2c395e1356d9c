// The page of `facevae umap --html`. The data lie in the page, in script elements that are no scripts: base64, most of it deflated.
//   data-page    JSON: {count, beneath, attributes: [names], opening: index|null, frame: {x, y, stepX, stepY},
//                thumbnails: {size, columns, rows}|null}
//   data-names   JSON: [names]
//   data-points  uint16 little endian, 2 (N + M): place = frame.x + number * frame.stepX, and likewise y; the M are those beneath
//   data-traits  for each attribute ceil(N / 8) bytes: bit N, from the lowest of the first byte on
//   sheet-0, ... JPEG, not deflated: so many columns and rows of faces

import { Scatter } from "./scatter.js";

const FOUND = 8;
const STANDING_OUT = 5;
const SHEETS_KEPT = 24;
const at = (id) => document.getElementById(id);
const counted = new Intl.NumberFormat("en");
const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
const faces = (count) => `${counted.format(count)} ${count === 1 ? "face" : "faces"}`;
const spoken = (attribute) => attribute.replaceAll("_", " ");

function bytesOf(id) {
  const text = at(id).textContent;
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

async function inflated(id) {
  const stream = new Blob([bytesOf(id)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

async function parsed(id) {
  return JSON.parse(new TextDecoder().decode(await inflated(id)));
}

function made(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** A name as a file has it: in names that are not UTF-8, bytes stand as lone surrogates, as in Python. */
function fileName(name) {
  const isByte = /^[\udc80-\udcff]$/u;
  return name.split(/([\udc80-\udcff])/u).map((part) => (isByte.test(part) ? Uint8Array.of(part.charCodeAt(0) - 0xdc00) : part));
}

/** Which face has which attribute, of as many as there are. */
class Traits {
  constructor(bits, names, count) {
    this.names = names;
    this._bits = bits;
    this._count = count;
    this._stride = Math.ceil(count / 8);
  }

  has(attribute, row) {
    return (this._bits[attribute * this._stride + (row >> 3)] >> (row & 7)) & 1;
  }

  of(row) {
    return this.names.map((_, attribute) => attribute).filter((attribute) => this.has(attribute, row));
  }

  column(attribute) {
    return Uint8Array.from({ length: this._count }, (_, row) => this.has(attribute, row));
  }

  /** How many of those rows have an attribute, of all where no rows are given. */
  counted(attribute, rows = null) {
    let count = 0;
    if (rows === null) for (let row = 0; row < this._count; row++) count += this.has(attribute, row);
    else for (const row of rows) count += this.has(attribute, row);
    return count;
  }
}

/** The faces in their sheets, each of which the browser decodes when a face of it is first shown. */
class Thumbnails {
  constructor({ size, columns, rows }) {
    this.size = size;
    this._columns = columns;
    this._rows = rows;
    this._sheets = new Map();
  }

  /** Show a face on a canvas, unless the canvas has to show another one by the time it is there. */
  async show(canvas, row) {
    canvas.dataset.row = row;
    const number = Math.floor(row / (this._columns * this._rows));
    const place = row % (this._columns * this._rows);
    const sheet = await this._sheet(number);
    if (canvas.dataset.row !== String(row)) return;
    const [x, y] = [place % this._columns, Math.floor(place / this._columns)];
    canvas.width = canvas.height = this.size;
    canvas.getContext("2d").drawImage(sheet, x * this.size, y * this.size, this.size, this.size, 0, 0, this.size, this.size);
    canvas.dataset.shown = row;
  }

  async _sheet(number) {
    const sheet = this._sheets.get(number) ?? this._load(number);
    // The latest used is the last, so that the first is the one to forget.
    this._sheets.delete(number);
    this._sheets.set(number, sheet);
    if (this._sheets.size > SHEETS_KEPT) this._sheets.delete(this._sheets.keys().next().value);
    return sheet;
  }

  async _load(number) {
    await whole;
    const image = new Image();
    image.src = `data:image/jpeg;base64,${at(`sheet-${number}`).textContent}`;
    await image.decode();
    return image;
  }
}

/** The sheets are the end of the file: the map is there before they are. */
const whole = new Promise((resolve) => {
  if (document.readyState !== "loading") resolve();
  else document.addEventListener("DOMContentLoaded", resolve, { once: true });
});

class Page {
  constructor({ page, names, points, traits }) {
    this.names = names;
    this.traits = traits === null ? null : new Traits(traits, page.attributes, page.count);
    this.thumbnails = page.thumbnails === null ? null : new Thumbnails(page.thumbnails);
    this.beneath = page.beneath;
    this.points = points.subarray(0, 2 * page.count);
    this.attribute = page.opening;
    this.classes = null;
    this.selected = null;
    this.keptRow = null;
    this.card = this._faceElements(at("card"));
    this.map = new Scatter(at("map"), {
      label: `Map of ${faces(page.count)}`,
      insets: { top: 36 }, // the buttons
      onHover: (row, place, byKeyboard) => this.hover(row, byKeyboard),
      onPick: (row) => this.keep(row),
      onSelect: (rows) => this.select(rows),
      onView: () => this._placeCard(),
    });
    this.map.setPoints(this.points, { beneath: page.beneath > 0 ? points.subarray(2 * page.count) : null });
    at("embedded").hidden = this.thumbnails === null;
    at("embedded").textContent = "The faces themselves are in this file. Those of CelebA may not be passed on.";
    this._buildColours();
    this.colourBy(page.opening);
    this._listen();
  }

  // ---------------------------------------------------------------------------------------- colours

  _buildColours() {
    if (this.traits === null) return;
    const select = at("colour");
    this.traits.names.forEach((name, attribute) => select.append(new Option(spoken(name), attribute)));
    select.append(new Option("one colour", ""));
    select.value = this.attribute ?? "";
    select.addEventListener("change", () => this.colourBy(select.value === "" ? null : Number(select.value)));
    at("colour-field").hidden = false;
  }

  colourBy(attribute) {
    this.attribute = attribute;
    this.classes = attribute === null ? null : this.traits.column(attribute);
    const means = attribute === null ? [] : this._means();
    this.map.setClasses(this.classes);
    this.map.setDisks(means);
    this._showLegend(means);
    if (this.hovered !== undefined && this.hovered !== null) this.hover(this.hovered, false);
    if (this.keptRow !== null) this._showKept();
  }

  _means() {
    const sums = [0, 1].map(() => ({ x: 0, y: 0, count: 0 }));
    for (let row = 0; row < this.classes.length; row++) {
      const sum = sums[this.classes[row]];
      sum.x += this.points[2 * row];
      sum.y += this.points[2 * row + 1];
      sum.count++;
    }
    const name = spoken(this.traits.names[this.attribute]);
    return [`not ${name}`, name]
      .map((label, which) => ({ label, class: which, ...sums[which] }))
      .map((mean) => ({ ...mean, x: mean.x / mean.count, y: mean.y / mean.count }))
      .filter((mean) => mean.count > 0);
  }

  _showLegend(means) {
    const total = this.names.length;
    const entry = (swatch, text, count) => {
      const item = made("li");
      item.append(made("span", `swatch ${swatch}`), made("span", "", text));
      if (count !== null) item.append(made("span", "count", `${counted.format(count)}${this.attribute === null ? "" : ` (${percent(count / total)})`}`));
      return item;
    };
    const entries = [];
    if (this.attribute === null) entries.push(entry("only", "faces", total));
    else {
      const name = spoken(this.traits.names[this.attribute]);
      const having = this.traits.counted(this.attribute);
      entries.push(entry("with", name, having), entry("without", `not ${name}`, total - having));
      if (means.length > 0) entries.push(entry("mean", "mean of the dots", null));
    }
    if (this.beneath > 0) {
      const item = entry("beneath", "the map's own faces", null);
      item.append(made("span", "count", counted.format(this.beneath)));
      entries.push(item);
    }
    at("legend").replaceChildren(...entries);
  }

  // ---------------------------------------------------------------------------------------- one face

  /** Fill an element with what shows a face: its picture, name and attributes. */
  _faceElements(parent) {
    const face = made("div", "face");
    const canvas = made("canvas");
    const words = made("div", "words");
    const name = made("bdi", "name");
    const traits = made("ul", "traits");
    words.append(name, traits);
    if (this.thumbnails !== null) face.append(canvas);
    face.append(words);
    parent.append(face);
    return { face, canvas, name, traits };
  }

  _fill({ canvas, name, traits }, row) {
    name.textContent = this.names[row] || "(without a name)";
    name.title = this.names[row];
    const having = this.traits === null ? [] : this.traits.of(row);
    traits.replaceChildren(
      ...having.map((attribute) => made("li", attribute === this.attribute ? "shown" : "", spoken(this.traits.names[attribute]))),
    );
    this.thumbnails?.show(canvas, row);
  }

  hover(row, byKeyboard) {
    this.hovered = row;
    at("card").hidden = row === null;
    if (row === null) return;
    this._fill(this.card, row);
    this._placeCard();
    if (byKeyboard) this.map.announce(this._told(row));
  }

  _told(row) {
    const having = this.traits === null ? [] : this.traits.of(row).map((attribute) => spoken(this.traits.names[attribute]));
    return having.length > 0 ? `${this.names[row]}: ${having.join(", ")}` : this.names[row];
  }

  /** Put the card beside its dot, where there is room. */
  _placeCard() {
    if (this.hovered === undefined || this.hovered === null) return;
    const frame = at("map").getBoundingClientRect();
    const dot = this.map.screenOf(this.hovered);
    const [x, y] = [frame.left + dot.x, frame.top + dot.y];
    const { offsetWidth: width, offsetHeight: height } = at("card");
    const left = x + 16 + width <= innerWidth - 8 ? x + 16 : x - 16 - width;
    const top = y + 16 + height <= innerHeight - 8 ? y + 16 : y - 16 - height;
    const within = (value, room) => Math.max(8, Math.min(room - 8, value));
    at("card").style.transform = `translate(${Math.round(within(left, innerWidth - width))}px, ${Math.round(within(top, innerHeight - height))}px)`;
  }

  keep(row) {
    this.keptRow = row;
    this.map.setMarkers(row === null ? [] : [{ row, kind: "picked" }]);
    this._showKept();
  }

  _showKept() {
    const panel = at("kept");
    const hint = at("kept-hint");
    panel.replaceChildren(hint);
    hint.hidden = this.keptRow !== null;
    if (this.keptRow === null) return;
    const head = made("div", "panel-head");
    const close = made("button", "", "Close");
    close.type = "button";
    close.addEventListener("click", () => this.keep(null));
    head.append(made("h2", "", "Kept face"), close);
    panel.append(head);
    const elements = this._faceElements(panel);
    // The attributes have the width of the panel, for they may be many.
    panel.append(elements.traits);
    this._fill(elements, this.keptRow);
  }

  // ---------------------------------------------------------------------------------------- several faces

  select(rows) {
    this.selected = rows;
    const panel = at("selection");
    const hint = at("selection-hint");
    panel.replaceChildren(hint);
    hint.hidden = rows !== null;
    if (rows === null) return;
    const head = made("div", "panel-head");
    const title = made("h2", "", `${faces(rows.length)} selected`);
    title.setAttribute("aria-live", "polite");
    const clear = made("button", "", "Clear");
    clear.type = "button";
    clear.addEventListener("click", () => this.map.clearSelection());
    head.append(title, clear);
    panel.append(head);
    if (this.traits !== null) panel.append(this._standingOut(rows));
    const buttons = made("div", "buttons");
    const save = made("button", "primary", "Save their names");
    save.type = "button";
    save.id = "save";
    save.addEventListener("click", () => this._save(rows));
    buttons.append(save);
    panel.append(buttons);
    // Where the panels scroll, the one that is new comes into view; the page itself stays where it is.
    const side = panel.parentElement;
    side.scrollTop = Math.max(side.scrollTop, panel.offsetTop - side.offsetTop + panel.offsetHeight - side.clientHeight);
  }

  /** The attributes whose share among those rows differs most from that among all. */
  _standingOut(rows) {
    const shares = this.traits.names.map((name, attribute) => ({
      name,
      here: this.traits.counted(attribute, rows) / rows.length,
      all: this.traits.counted(attribute) / this.names.length,
    }));
    shares.sort((a, b) => Math.abs(b.here - b.all) - Math.abs(a.here - a.all));
    const table = made("table", "standing-out");
    const titles = table.createTHead().insertRow();
    for (const [text, className] of [["stands out", ""], ["here", "figure"], ["all", "figure"]]) titles.append(made("th", className, text));
    const body = table.createTBody();
    for (const { name, here, all } of shares.slice(0, STANDING_OUT)) {
      const line = body.insertRow();
      const what = made("td", "what", spoken(name));
      const bar = made("span", "bar");
      bar.style.setProperty("--here", percent(here).replace(" ", ""));
      bar.style.setProperty("--all", percent(all).replace(" ", ""));
      what.append(bar);
      line.append(what, made("td", "figure", percent(here)), made("td", "figure", percent(all)));
    }
    return table;
  }

  _save(rows) {
    const lines = Array.from(rows, (row) => [...fileName(this.names[row].replace(/[\r\n]+/g, " ")), "\n"]);
    const link = made("a");
    link.href = URL.createObjectURL(new Blob(lines.flat(), { type: "text/plain" }));
    link.download = "selected-faces.txt";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  // ---------------------------------------------------------------------------------------- controls

  _listen() {
    const tools = { pan: at("pan"), lasso: at("lasso") };
    for (const [tool, button] of Object.entries(tools)) {
      button.addEventListener("click", () => {
        this.map.setTool(tool);
        for (const [name, other] of Object.entries(tools)) other.setAttribute("aria-pressed", String(name === tool));
      });
    }
    at("fit").addEventListener("click", () => this.map.fit());
    at("zoom-in").addEventListener("click", () => this.map.zoomBy(1.6));
    at("zoom-out").addEventListener("click", () => this.map.zoomBy(1 / 1.6));
    // The map's own Escape clears the selection; the kept face goes when there is none.
    at("map").addEventListener("keydown", (event) => event.key === "Escape" && this.selected === null && this.keep(null), true);
    at("find").addEventListener("input", () => this.find(at("find").value));
    at("find").addEventListener("keydown", (event) => this._fromSearch(event));
    at("found").addEventListener("keydown", (event) => this._amongFound(event));
    addEventListener("resize", () => this._placeCard());
    addEventListener("themechange", () => this.map.refreshTheme());
  }

  /** The rows whose name is that text, or begins with it, or has it in it, in this order. */
  matches(text) {
    this._folded ??= this.names.map((name) => name.toLowerCase());
    const wanted = text.toLowerCase();
    const ranks = [[], [], []];
    this._folded.forEach((name, row) => {
      const place = name.indexOf(wanted);
      if (place >= 0) ranks[name === wanted ? 0 : place === 0 ? 1 : 2].push(row);
    });
    return ranks.flat();
  }

  find(text) {
    const rows = text.trim() === "" ? [] : this.matches(text.trim());
    const buttons = rows.slice(0, FOUND).map((row) => {
      const item = made("li");
      const button = made("button", "plain");
      button.type = "button";
      button.append(made("bdi", "name", this.names[row]));
      button.addEventListener("click", () => this.goTo(row));
      item.append(button);
      return item;
    });
    at("found").replaceChildren(...buttons);
    const count = at("found-count");
    count.hidden = text.trim() === "";
    if (rows.length === 0) count.textContent = "No face has this in its name.";
    else count.textContent = rows.length > FOUND ? `${FOUND} of ${faces(rows.length)}: type more of the name` : faces(rows.length);
  }

  /** Show a face that was found: the list has done its part, and arrow keys go on from its dot, which is in the middle. */
  goTo(row) {
    at("found").replaceChildren();
    at("found-count").hidden = true;
    this.map.zoomTo(row);
    this.map.focus();
    this.keep(row);
  }

  _fromSearch(event) {
    const first = at("found").querySelector("button");
    if (event.key === "Enter") first?.click();
    else if (event.key === "ArrowDown") first?.focus();
    else return;
    event.preventDefault();
  }

  _amongFound(event) {
    const buttons = [...at("found").querySelectorAll("button")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined) return;
    const next = buttons.indexOf(document.activeElement) + step;
    (next < 0 ? at("find") : buttons[Math.min(next, buttons.length - 1)]).focus();
    event.preventDefault();
  }
}

/** The button of the theme: it says what a click would make of it. */
function switchThemes() {
  const root = document.documentElement;
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ?? (prefersDark.matches ? "dark" : "light")) === "dark";
  const show = () => (at("theme").textContent = isDark() ? "Light" : "Dark");
  at("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    show();
    dispatchEvent(new Event("themechange"));
  });
  prefersDark.addEventListener("change", show);
  show();
}

async function load() {
  const page = await parsed("data-page");
  const [names, numbers, traits] = await Promise.all([
    parsed("data-names"),
    inflated("data-points"),
    page.attributes.length > 0 ? inflated("data-traits") : null,
  ]);
  const { x, y, stepX, stepY } = page.frame;
  const places = new DataView(numbers);
  const points = new Float32Array(numbers.byteLength / 2);
  for (let i = 0; i < points.length; i += 2) {
    points[i] = x + places.getUint16(2 * i, true) * stepX;
    points[i + 1] = y + places.getUint16(2 * i + 2, true) * stepY;
  }
  return new Page({ page, names, points, traits: traits && new Uint8Array(traits) });
}

function fail(error) {
  const message = at("message");
  message.hidden = false;
  message.classList.add("failed");
  const old = typeof DecompressionStream === "undefined";
  message.textContent = old ? "This map needs a newer browser: one of 2023 or later." : `The map could not be shown: ${error.message}`;
}

switchThemes();
load().then(
  (page) => {
    at("message").hidden = true;
    // For tests and for the curious.
    window.mapPage = page;
  },
  fail,
);
