// A scatter plot of up to some hundred thousand dots: pan, zoom, hover, pick and lasso, with mouse, touch and keyboard.
//
//   new Scatter(container, options)
//     container  an element with a size. The scatter fills it, follows its size, and takes its colours from its CSS properties:
//                --dot-without, --dot-with, --dot-only, --map-background, --ink, --focus (see theme.css).
//     options    all of them optional
//       label                          of the map, for screen readers
//       insets                         {top, right, bottom, left} in px: what of the container other things cover, where fit() puts no dot
//       onHover(row|null, {x, y}, byKeyboard)   another dot is hovered, at that place in px of the container
//       onPick(row)                    a dot was clicked, or Enter or Space pressed on it
//       onBackground()                 a click hit no dot
//       onSelect(rows|null)            Uint32Array of the rows in the lasso, in ascending order; null when nothing is selected any more
//       onView()                       the view changed, at most once a frame
//
//   setPoints(xy, {animate, beneath})  Float32Array 2N, any scale, y up. The whole map comes into view, and with `animate` (and as many dots
//                                      as before) the dots go from their old places to the new ones. `beneath`: Float32Array 2M of
//                                      further dots, grey, under the others, that are no rows: nothing hovers or picks them
//   setClasses(classes|null)           Uint8Array N of 0 and 1, or null for one colour
//   setDisks([{x, y, class, label}])   class means; x and y as in setPoints, here and below
//   setMarkers([{x, y, kind, label}])  kind: picked, photo, morph, second or neighbour. With `row` in place of x and y: at that dot
//   setLines([{from: {x, y}, to: {x, y}}])  thin dashed lines under the markers
//   setInsets(insets)                  as in the options
//   setTool("pan"|"lasso")             what dragging does; with Shift it is the lasso anyway
//   select(rows|null)                  as if a lasso had selected these; calls onSelect
//   clearSelection()                   the same as select(null)
//   fit()                              bring the whole map into view
//   zoomBy(factor)                     about the middle
//   zoomTo(row)                        bring a dot into the middle, and near
//   reveal(x, y)                       bring a place into view if it is not
//   hover(row|null)                    as if the pointer were there
//   rowAt(x, y)                        the dot within a few px of that place in the container, or null
//   screenOf(row), screenOfPoint(x, y) where that is in the container, in px
//   focus()                            of the keyboard
//   announce(text)                     say something to screen readers
//   refreshTheme()                     read the colours again. Called by itself when the system's theme changes
//   stats                              {renderer: "webgl2"|"2d", drawn, count, lastFrameMs, zoom}
//   destroy()
//
// Keys, while the map has the focus: arrows go from dot to dot, Shift with arrows moves the map, Enter or Space picks, + and - zoom,
// 0 shows the whole map, Escape clears the selection.
//
// While something moves, only as many dots are drawn as keep the frames even, and all of them as soon as it rests. They are drawn in
// a mixed order, so that any part of them looks like the whole.

import { FADED, PixelDots, WebGLDots } from "./scatter_draw.js";
import { GridIndex, frameOf, rowsInside, shuffledOrder, toUnits } from "./scatter_index.js";
import { drawOverlay } from "./scatter_overlay.js";

const SLOW_MS = 22;
const FIRST_MOVING = 60_000;
const FEWEST_MOVING = 20_000;
const REST_AFTER_MS = 140;
const POINTS_MS = 600;
const VIEW_MS = 280;
const MARGIN = 28;
const REACH = 7;
const STEP = 6;
const ONE_COLOUR = 2;
const BENEATH = 3;
const KEYS =
  "Arrow keys go from dot to dot, Enter picks one. Plus and minus zoom, 0 shows the whole map, Shift with an arrow key moves it. " +
  "Escape clears the selection.";

export class Scatter {
  constructor(container, options = {}) {
    this._container = container;
    this._options = options;
    this._frame = { x: 0, y: 0, scale: 1, reachX: 1, reachY: 1 };
    this._units = this._oldUnits = new Float32Array(0);
    this._order = new Uint32Array(0);
    this._count = 0;
    this._classes = null;
    this._selected = null;
    this._disks = [];
    this._markers = [];
    this._lines = [];
    this._lasso = [];
    this._tool = "pan";
    this._hovered = null;
    this._byKeyboard = false;
    this._view = { x: 0, y: 0, scale: 1 };
    this._fitted = true;
    this._moves = null; // an animation of the view
    this._mixing = null; // an animation of the dots
    [this._budget, this._ceiling, this._even] = [FIRST_MOVING, Infinity, 0];
    this._timed = null; // when the last frame with dots began, and how many it had
    this._stats = { drawn: 0, lastFrameMs: 0 };
    this._listeners = new AbortController();
    this._build();
    this._listen();
    this.refreshTheme();
    this._resize();
  }

  // ---------------------------------------------------------------------------------------- what is shown

  setPoints(xy, { animate = false, beneath = null } = {}) {
    const all = beneath === null ? xy : joined(xy, beneath);
    const same = xy.length === 2 * this._count && all.length === this._units.length && xy.length > 0;
    const old = same ? this._placesNow() : null;
    this._count = xy.length / 2;
    this._frame = frameOf(all);
    this._units = toUnits(all, this._frame);
    this._index = new GridIndex(this._rowUnits());
    if (!same) {
      // What lies beneath comes last: while something moves, it is what is left out.
      const below = shuffledOrder(all.length / 2 - this._count).map((row) => row + this._count);
      this._order = joined(shuffledOrder(this._count), below);
      this._classes = null;
      this._selected = null;
    }
    this._setHovered(null, false);
    const moving = animate && same && !this._still();
    this._oldUnits = moving ? old : this._units;
    this._mixing = moving ? { started: performance.now() } : null;
    this._sendPoints();
    if (!same) this._sendStates();
    this._goTo(this._whole(), { animated: moving, lasting: POINTS_MS });
    this._fitted = true;
    this._changed();
  }

  setClasses(classes) {
    this._classes = classes;
    this._sendStates();
    this._invalidate();
  }

  setDisks(disks) {
    this._disks = disks;
    this._invalidateOverlay();
  }

  setMarkers(markers) {
    this._markers = markers;
    this._invalidateOverlay();
  }

  setLines(lines) {
    this._lines = lines;
    this._invalidateOverlay();
  }

  setInsets(insets) {
    this._options = { ...this._options, insets };
    this._resize();
  }

  setTool(tool) {
    this._tool = tool;
    this._showCursor();
  }

  select(rows) {
    const nothing = rows === null || rows.length === 0;
    if (nothing && this._selected === null) return;
    this._selected = nothing ? null : rows;
    this._sendStates();
    this._invalidate();
    this._options.onSelect?.(this._selected);
  }

  clearSelection() {
    this.select(null);
  }

  hover(row) {
    this._setHovered(row, false);
  }

  focus() {
    this._overlay.focus({ preventScroll: true });
  }

  announce(text) {
    this._live.textContent = text;
  }

  // ---------------------------------------------------------------------------------------- the view

  fit() {
    this._goTo(this._whole(), { animated: true });
    this._fitted = true;
  }

  zoomBy(factor) {
    const middle = this._middle();
    this._goTo(this._zoomed(factor, middle.x, middle.y, this._moves?.to ?? this._view), { animated: true });
  }

  zoomTo(row) {
    // So near that some twenty dots share the width of the map, or nearer, where the view is already.
    const near = Math.max(1, Math.min(12, Math.sqrt(this._order.length) / 20));
    const scale = Math.max(this._view.scale, this._whole().scale * near);
    this._goTo(this._centred(this._units[2 * row], this._units[2 * row + 1], scale), { animated: true });
  }

  reveal(x, y) {
    const place = this.screenOfPoint(x, y);
    const { top, right, bottom, left } = this._room(24);
    if (place.x >= left && place.x <= right && place.y >= top && place.y <= bottom) return;
    const [unitX, unitY] = this._unit({ x, y });
    const shift = { x: clamp(place.x, left, right) - place.x, y: clamp(place.y, top, bottom) - place.y };
    const shifted = { ...this._view, x: this._view.x - shift.x / this._view.scale, y: this._view.y + shift.y / this._view.scale };
    // A view cannot leave the map for good: then the whole comes into view.
    const kept = this._kept(shifted);
    const reached = Math.abs(kept.x - shifted.x) + Math.abs(kept.y - shifted.y) < 1e-9;
    this._goTo(reached ? shifted : this._including(unitX, unitY), { animated: true });
  }

  rowAt(x, y) {
    if (this._index === undefined || this._mixing !== null) return null;
    const [unitX, unitY] = this._unitAt(x, y);
    return this._index.nearest(unitX, unitY, (this._dotSize() / 2 + REACH) / this._view.scale);
  }

  screenOf(row) {
    const places = this._mixing === null ? this._units : this._placesNow(row);
    const at = this._mixing === null ? 2 * row : 0;
    return this._screen(places[at], places[at + 1]);
  }

  screenOfPoint(x, y) {
    return this._screen(...this._unit({ x, y }));
  }

  refreshTheme() {
    const style = getComputedStyle(this._container);
    const read = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise;
    const without = read("--dot-without", "#0072b2");
    this._colours = {
      ink: read("--ink", "#1a1d21"),
      background: read("--map-background", "#ffffff"),
      focus: read("--focus", "#00659e"),
      classes: [without, read("--dot-with", "#d55e00"), read("--dot-only", without), read("--ink", "#1a1d21")],
    };
    this._font = style.fontFamily;
    this._parts = { background: partsOf(this._colours.background), classes: this._colours.classes.map(partsOf) };
    this._invalidate();
  }

  get stats() {
    const zoom = this._view.scale / this._whole().scale;
    return { renderer: this._dots.name, count: this._count, zoom, ...this._stats };
  }

  destroy() {
    this._destroyed = true;
    this._listeners.abort();
    this._sizes.disconnect();
    clearTimeout(this._resting);
    cancelAnimationFrame(this._frameRequest);
    this._dots.destroy();
    this._root.remove();
  }

  // ---------------------------------------------------------------------------------------- elements

  _build() {
    this._root = element("div", "scatter", { position: "absolute", inset: "0", overflow: "hidden", borderRadius: "inherit" });
    if (getComputedStyle(this._container).position === "static") this._container.style.position = "relative";
    const over = { position: "absolute", inset: "0", width: "100%", height: "100%", touchAction: "none", outlineOffset: "-3px" };
    this._overlay = element("canvas", "scatter-overlay", over);
    this._overlay.tabIndex = 0;
    this._overlay.setAttribute("role", "application");
    this._overlay.setAttribute("aria-label", this._options.label ?? "Map");
    this._overlay.setAttribute("aria-roledescription", "scatter plot");
    const help = element("p", "visually-hidden", {});
    help.id = `scatter-keys-${Math.random().toString(36).slice(2)}`;
    help.textContent = KEYS;
    this._overlay.setAttribute("aria-describedby", help.id);
    this._live = element("p", "visually-hidden", {});
    this._live.setAttribute("aria-live", "polite");
    this._root.append(this._overlay, help, this._live);
    this._container.append(this._root);
    this._context = this._overlay.getContext("2d");
    this._useCanvas();
    this._showCursor();
  }

  /** Put a canvas beneath the overlay and draw on it: with WebGL, and without where that is impossible or was lost. */
  _useCanvas({ withWebGL = true } = {}) {
    const canvas = () => element("canvas", "scatter-dots", { position: "absolute", inset: "0", width: "100%", height: "100%" });
    this._canvas?.remove();
    this._canvas = canvas();
    this._dots = withWebGL ? WebGLDots.on(this._canvas) : null;
    if (this._dots === null) {
      // A canvas that was asked for WebGL may give nothing else any more.
      this._canvas = canvas();
      this._dots = new PixelDots(this._canvas);
    } else {
      this._canvas.addEventListener("webglcontextlost", () => this._lose(this._dots), { once: true });
    }
    [this._budget, this._ceiling, this._even] = [FIRST_MOVING, Infinity, 0];
    this._root.prepend(this._canvas);
    this._sendPoints();
    this._sendStates();
  }

  _lose(dots) {
    if (this._destroyed || this._dots !== dots) return;
    this._useCanvas({ withWebGL: false });
    this._resize();
    // The graphics processor may be back in a moment, after a crash of its driver or the computer's sleep.
    setTimeout(() => {
      if (this._destroyed || this._dots.name !== "2d") return;
      this._useCanvas();
      this._resize();
    }, 3000);
  }

  _resize() {
    const { clientWidth: width, clientHeight: height } = this._root;
    const ratio = window.devicePixelRatio || 1;
    [this._width, this._height, this._ratio] = [width, height, ratio];
    for (const canvas of [this._canvas, this._overlay]) {
      const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
      if (canvas.width !== across || canvas.height !== down) [canvas.width, canvas.height] = [across, down];
    }
    this._moves = null;
    this._view = this._fitted ? this._whole() : this._kept(this._view);
    // A canvas that got another size is empty: drawn at once, it never shows that.
    this._dirty = this._overlayDirty = true;
    this._draw();
    this._options.onView?.();
  }

  // ---------------------------------------------------------------------------------------- places

  /** The places of those dots that are rows. */
  _rowUnits() {
    return this._units.subarray(0, 2 * this._count);
  }

  _unit({ x, y }) {
    return [(x - this._frame.x) * this._frame.scale, (y - this._frame.y) * this._frame.scale];
  }

  _unitAt(x, y) {
    const view = this._view;
    return [view.x + (x - this._width / 2) / view.scale, view.y - (y - this._height / 2) / view.scale];
  }

  _screen(unitX, unitY) {
    const view = this._view;
    return { x: this._width / 2 + (unitX - view.x) * view.scale, y: this._height / 2 - (unitY - view.y) * view.scale };
  }

  /** Where the dots are at this moment, in units; with a row, where that one is. */
  _placesNow(row = null) {
    if (this._mixing === null) return row === null ? this._units : this._units.subarray(2 * row, 2 * row + 2);
    const mixing = this._mixed();
    const [from, to] = row === null ? [this._oldUnits, this._units] : [this._oldUnits, this._units].map((units) => units.subarray(2 * row, 2 * row + 2));
    return to.map((place, i) => from[i] + (place - from[i]) * mixing);
  }

  _mixed() {
    if (this._mixing === null) return 1;
    return eased(Math.min(1, (performance.now() - this._mixing.started) / POINTS_MS));
  }

  /** What of the container is free, less a margin: as its four sides in px. */
  _room(margin) {
    const { top = 0, right = 0, bottom = 0, left = 0 } = this._options.insets ?? {};
    const sides = { top: top + margin, right: this._width - right - margin, bottom: this._height - bottom - margin, left: left + margin };
    // In a container that is all covered there is still a window of some size.
    if (sides.right < sides.left + 40) [sides.left, sides.right] = [0, Math.max(this._width, 40)];
    if (sides.bottom < sides.top + 40) [sides.top, sides.bottom] = [0, Math.max(this._height, 40)];
    return sides;
  }

  _middle() {
    const { top, right, bottom, left } = this._room(0);
    return { x: (left + right) / 2, y: (top + bottom) / 2 };
  }

  _whole() {
    const { top, right, bottom, left } = this._room(MARGIN);
    const scale = Math.min((right - left) / (2 * this._frame.reachX), (bottom - top) / (2 * this._frame.reachY));
    return this._centred(0, 0, scale);
  }

  _including(x, y) {
    const whole = this._whole();
    const out = Math.max(1, Math.abs(x) / this._frame.reachX, Math.abs(y) / this._frame.reachY);
    return this._centred(0, 0, whole.scale / out);
  }

  /** The view that has a place in the middle of what is free. */
  _centred(x, y, scale) {
    const middle = this._middle();
    return { x: x - (middle.x - this._width / 2) / scale, y: y + (middle.y - this._height / 2) / scale, scale };
  }

  /** A view with another zoom that leaves what is at a place of the container there. */
  _zoomed(factor, x, y, view = this._view) {
    const whole = this._whole().scale;
    const scale = clamp(view.scale * factor, 0.5 * whole, Math.max(4, 2 * Math.sqrt(this._order.length)) * whole);
    const across = x - this._width / 2;
    const up = this._height / 2 - y;
    return { x: view.x + across / view.scale - across / scale, y: view.y + up / view.scale - up / scale, scale };
  }

  /** That view, moved so that there is something of the map in it. */
  _kept(view) {
    const middle = this._middle();
    const off = { x: (middle.x - this._width / 2) / view.scale, y: (this._height / 2 - middle.y) / view.scale };
    const { reachX, reachY } = this._frame;
    return { ...view, x: clamp(view.x + off.x, -reachX, reachX) - off.x, y: clamp(view.y + off.y, -reachY, reachY) - off.y };
  }

  /** How wide a dot is, in CSS pixels: the smaller the more there are, and wider when the view is near. */
  _dotSize(count = this._count) {
    const share = (this._width * this._height) / Math.max(1, count);
    const zoom = Math.max(1, this._view.scale / this._whole().scale);
    return clamp(clamp(0.62 * Math.sqrt(share), 2, 8) * zoom ** 0.45, 2, 12);
  }

  // ---------------------------------------------------------------------------------------- moving

  _still() {
    return matchMedia("(prefers-reduced-motion: reduce)").matches;
  }

  _goTo(view, { animated, lasting = VIEW_MS }) {
    this._fitted = false;
    const to = view;
    if (!animated || this._still()) {
      this._moves = null;
      this._view = to;
    } else {
      this._moves = { from: this._view, to, started: performance.now(), lasting };
    }
    this._changed();
  }

  _advance() {
    const now = performance.now();
    if (this._moves !== null) {
      const { from, to, started, lasting } = this._moves;
      const passed = Math.min(1, (now - started) / lasting);
      this._view = passed === 1 ? to : between(from, to, eased(passed));
      if (passed === 1) this._moves = null;
      this._changed();
    }
    if (this._mixing !== null) {
      if (now - this._mixing.started >= POINTS_MS) {
        this._mixing = null;
        this._oldUnits = this._units;
        this._sendPoints();
      }
      this._changed();
    }
  }

  /** The view or the places changed: draw a part of the dots, and all of them when nothing has changed for a moment. */
  _changed() {
    this._moving = true;
    this._viewChanged = true;
    clearTimeout(this._resting);
    this._resting = setTimeout(() => {
      this._moving = false;
      if (this._stats.drawn < this._order.length) this._invalidate();
      this._hoverAgain();
    }, REST_AFTER_MS);
    this._invalidate();
  }

  _invalidate() {
    this._dirty = true;
    this._invalidateOverlay();
  }

  _invalidateOverlay() {
    this._overlayDirty = true;
    if (this._frameRequest || this._destroyed) return;
    this._requestFrame();
  }

  _requestFrame() {
    this._frameRequest = requestAnimationFrame((now) => {
      this._frameRequest = 0;
      this._learn(now);
      this._advance();
      const viewChanged = this._viewChanged;
      this._viewChanged = false;
      const timed = this._dirty && this._moving;
      this._draw();
      if (viewChanged) this._options.onView?.();
      this._timed = timed ? { now, drawn: this._stats.drawn } : null;
      // The next frame tells how long this one took, even if it has nothing else to do.
      if (timed && !this._frameRequest) this._requestFrame();
    });
  }

  // ---------------------------------------------------------------------------------------- drawing

  _sendPoints() {
    const shuffled = (units) => {
      const places = new Float32Array(units.length);
      for (let i = 0; i < this._order.length; i++) {
        places[2 * i] = units[2 * this._order[i]];
        places[2 * i + 1] = units[2 * this._order[i] + 1];
      }
      return places;
    };
    this._dots.setPoints(shuffled(this._units), this._mixing === null ? null : shuffled(this._oldUnits));
  }

  _sendStates() {
    const order = this._order;
    const states = new Uint8Array(order.length);
    for (let i = 0; i < order.length; i++) states[i] = order[i] < this._count ? this._classOf(order[i]) : BENEATH | FADED;
    if (this._selected !== null) {
      const faded = new Uint8Array(order.length).fill(FADED);
      for (const row of this._selected) faded[row] = 0;
      for (let i = 0; i < order.length; i++) states[i] |= faded[order[i]];
    }
    this._dots.setStates(states);
  }

  /** From how long the frame before took, decide how many dots the next may have. */
  _learn(now) {
    if (this._timed === null) return;
    const ms = now - this._timed.now;
    this._stats.lastFrameMs = ms;
    // A page in the background has no frames at all.
    if (ms <= 0 || ms > 1000) return;
    const { drawn } = this._timed;
    if (ms > SLOW_MS) {
      this._ceiling = 0.85 * drawn;
      this._budget = 0.75 * drawn;
      this._even = 0;
    } else {
      // Up to where it was slow quickly, and no further for a while: each slow frame is seen.
      this._even++;
      if (this._even > 45) this._ceiling = Infinity;
      this._budget = drawn * (drawn < this._ceiling ? 1.08 : 1);
    }
    this._budget = clamp(this._budget, FEWEST_MOVING, Math.max(FEWEST_MOVING, this._order.length));
  }

  _draw() {
    if (this._dirty) this._drawDots();
    if (this._overlayDirty) this._drawOver();
    this._dirty = this._overlayDirty = false;
  }

  _drawDots() {
    const all = this._order.length;
    const count = this._moving ? Math.min(all, Math.round(this._budget)) : all;
    const { _view: view, _ratio: ratio } = this;
    const zoom = Math.max(1, view.scale / this._whole().scale);
    const full = clamp(clamp(6000 / Math.max(1, this._count), 0.45, 0.85) * zoom ** 0.25, 0, 0.9);
    // Fewer dots, each more opaque, look as dense as all.
    const alpha = Math.min(0.95, 1 - (1 - full) ** (all / Math.max(1, count)));
    this._dots.draw({
      a: { x: view.scale * ratio, y: -view.scale * ratio },
      b: { x: (this._width / 2 - view.x * view.scale) * ratio, y: (this._height / 2 + view.y * view.scale) * ratio },
      mixing: this._mixed(),
      count,
      size: this._dotSize() * ratio,
      fadedSize: this._dotSize(all) * ratio,
      alpha: this._selected === null ? alpha : Math.max(alpha, 0.8),
      fadedAlpha: 0.25 * alpha,
      anyFaded: this._selected !== null || this._count < all,
      colours: this._parts.classes,
      background: this._parts.background,
    });
    this._stats.drawn = count;
  }

  _drawOver() {
    const settled = this._mixing === null;
    this._context.setTransform(this._ratio, 0, 0, this._ratio, 0, 0);
    const at = (place) => (place.row === undefined ? this.screenOfPoint(place.x, place.y) : this.screenOf(place.row));
    drawOverlay(this._context, {
      width: this._width,
      height: this._height,
      font: this._font,
      colours: this._colours,
      // While the dots are on their way, nobody knows where their means are.
      disks: settled ? this._disks.map((disk) => ({ ...disk, ...at(disk) })) : [],
      lines: settled ? this._lines.map(({ from, to }) => ({ from: at(from), to: at(to) })) : [],
      markers: settled ? this._markers.map((marker) => ({ ...marker, ...at(marker) })) : [],
      hovered: this._hovered === null ? null : { ...this.screenOf(this._hovered), radius: this._dotSize() / 2, colour: this._colours.classes[this._classOf(this._hovered)] },
      lasso: this._lasso,
    });
  }

  _classOf(row) {
    return this._classes === null ? ONE_COLOUR : this._classes[row] ? 1 : 0;
  }

  // ---------------------------------------------------------------------------------------- pointer

  _listen() {
    const on = (target, name, call, more = {}) => target.addEventListener(name, call, { ...more, signal: this._listeners.signal });
    const canvas = this._overlay;
    this._pointers = new Map();
    on(canvas, "pointerdown", (event) => this._down(event));
    on(canvas, "pointermove", (event) => this._move(event));
    on(canvas, "pointerup", (event) => this._up(event, true));
    on(canvas, "pointercancel", (event) => this._up(event, false));
    on(canvas, "pointerleave", (event) => this._leave(event));
    on(canvas, "wheel", (event) => this._wheel(event), { passive: false });
    on(canvas, "dblclick", (event) => this._goTo(this._zoomed(2.5, event.offsetX, event.offsetY), { animated: true }));
    on(canvas, "keydown", (event) => this._key(event));
    on(canvas, "blur", () => this._byKeyboard && this._setHovered(null, true));
    on(matchMedia("(prefers-color-scheme: dark)"), "change", () => this.refreshTheme());
    this._sizes = new ResizeObserver(() => this._resize());
    this._sizes.observe(this._root);
    this._watchRatio(on);
  }

  _watchRatio(on) {
    on(matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`), "change", () => {
      this._resize();
      this._watchRatio(on);
    }, { once: true });
  }

  _down(event) {
    if (event.pointerType === "mouse" && event.button !== 0) return;
    this._overlay.setPointerCapture(event.pointerId);
    const place = { x: event.offsetX, y: event.offsetY };
    this._pointers.set(event.pointerId, place);
    if (this._pointers.size === 2) {
      // The second finger makes a pinch of whatever the first one began.
      this._gesture = "pinch";
      this._lasso = [];
      return;
    }
    if (this._pointers.size > 2) return;
    this._moves = null;
    this._gesture = "press";
    this._start = { ...place, slack: event.pointerType === "mouse" ? 4 : 10, lasso: this._tool === "lasso" || event.shiftKey };
  }

  _move(event) {
    const place = { x: event.offsetX, y: event.offsetY };
    const before = this._pointers.get(event.pointerId);
    this._pointer = event.pointerType === "mouse" ? place : null;
    if (before === undefined) {
      if (!this._moves && !this._mixing) this._setHovered(this.rowAt(place.x, place.y), false);
      return;
    }
    if (this._gesture === "pinch") this._pinch(event.pointerId, place);
    if (this._gesture === "press" && Math.hypot(place.x - this._start.x, place.y - this._start.y) > this._start.slack) {
      this._gesture = this._start.lasso ? "lasso" : "drag";
      this._lasso = this._start.lasso ? [[this._start.x, this._start.y]] : [];
      this._setHovered(null, false);
      this._showCursor();
    }
    if (this._gesture === "drag") this._panBy(place.x - before.x, place.y - before.y);
    if (this._gesture === "lasso") this._lassoTo(place);
    // A press keeps where it began, so that its first pixels are not lost to the drag.
    if (this._gesture !== "press") this._pointers.set(event.pointerId, place);
  }

  _pinch(id, place) {
    const other = [...this._pointers].find(([key]) => key !== id)?.[1];
    const before = this._pointers.get(id);
    if (other === undefined) return;
    const spread = (one) => Math.max(1, Math.hypot(one.x - other.x, one.y - other.y));
    const view = this._zoomed(spread(place) / spread(before), (place.x + other.x) / 2, (place.y + other.y) / 2);
    this._goTo(view, { animated: false });
    this._panBy((place.x - before.x) / 2, (place.y - before.y) / 2);
  }

  _panBy(dx, dy) {
    const view = this._view;
    this._goTo(this._kept({ ...view, x: view.x - dx / view.scale, y: view.y + dy / view.scale }), { animated: false });
  }

  _lassoTo(place) {
    const last = this._lasso[this._lasso.length - 1];
    if (Math.hypot(place.x - last[0], place.y - last[1]) < 2) return;
    this._lasso.push([place.x, place.y]);
    this._invalidateOverlay();
  }

  _up(event, done) {
    if (!this._pointers.delete(event.pointerId)) return;
    const gesture = this._gesture;
    // The finger that stays after a pinch goes on as a drag.
    this._gesture = this._pointers.size > 0 ? "drag" : null;
    if (gesture === "lasso") this._closeLasso(done);
    if (gesture === "press" && done) this._click(event);
    this._showCursor();
  }

  _closeLasso(done) {
    const corners = this._lasso;
    this._lasso = [];
    this._invalidateOverlay();
    if (!done || corners.length < 3) return;
    this.select(rowsInside(this._rowUnits(), corners.map(([x, y]) => this._unitAt(x, y))));
  }

  _click(event) {
    const row = this.rowAt(event.offsetX, event.offsetY);
    this._setHovered(row, false);
    if (row !== null) this._options.onPick?.(row);
    else this._options.onBackground?.();
  }

  _leave(event) {
    this._pointer = null;
    if (event.pointerType === "mouse" && !this._byKeyboard && this._pointers.size === 0) this._setHovered(null, false);
  }

  _wheel(event) {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === 1 ? 30 : event.deltaMode === 2 ? 300 : 1);
    // Browsers say that a pinch on a touch pad is a wheel with Ctrl, in smaller steps.
    const factor = Math.exp(-clamp(pixels, -240, 240) * (event.ctrlKey ? 0.01 : 0.0022));
    this._goTo(this._kept(this._zoomed(factor, event.offsetX, event.offsetY)), { animated: false });
  }

  /** The view came to rest: whatever is under the pointer now. */
  _hoverAgain() {
    if (this._pointer && this._pointers.size === 0 && !this._byKeyboard) this._setHovered(this.rowAt(this._pointer.x, this._pointer.y), false);
  }

  _setHovered(row, byKeyboard) {
    const same = row === this._hovered;
    this._byKeyboard = byKeyboard && row !== null;
    if (same) return;
    this._hovered = row;
    this._showCursor();
    this._invalidateOverlay();
    this._options.onHover?.(row, row === null ? null : this.screenOf(row), byKeyboard);
  }

  _showCursor() {
    const lasso = this._tool === "lasso" || this._gesture === "lasso";
    const cursor = this._gesture === "drag" ? "grabbing" : this._hovered !== null ? "pointer" : lasso ? "crosshair" : "grab";
    if (this._overlay.style.cursor !== cursor) this._overlay.style.cursor = cursor;
  }

  // ---------------------------------------------------------------------------------------- keyboard

  _key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (arrow !== undefined && event.shiftKey) this._panBy(-arrow[0] * 60, arrow[1] * 60);
    else if (arrow !== undefined) this._walk(...arrow);
    else if (event.key === "Enter" || event.key === " ") this._pickHovered();
    else if (event.key === "+" || event.key === "=") this.zoomBy(1.6);
    else if (event.key === "-" || event.key === "_") this.zoomBy(1 / 1.6);
    else if (event.key === "0") this.fit();
    else if (event.key === "Escape") this._escape();
    else return;
    // Escape may mean more to the page.
    if (event.key !== "Escape") event.preventDefault();
  }

  _pickHovered() {
    if (this._hovered !== null) this._options.onPick?.(this._hovered);
  }

  _escape() {
    if (this._gesture === "lasso") {
      this._gesture = "none";
      this._lasso = [];
      this._invalidateOverlay();
    } else this.clearSelection();
  }

  _walk(dx, dy) {
    if (this._index === undefined || this._count === 0 || this._mixing !== null) return;
    const row = this._hovered === null ? this._middlemost() : this._neighbour(this._hovered, dx, dy);
    if (row === null) return;
    this._bringIn(row);
    this._setHovered(row, true);
  }

  _middlemost() {
    const middle = this._middle();
    const [x, y] = this._unitAt(middle.x, middle.y);
    return this._index.nearest(x, y, 8);
  }

  _neighbour(row, dx, dy) {
    const [x, y] = [this._units[2 * row], this._units[2 * row + 1]];
    // Where the dots are dense, a step must be seen: the closest ones are for a nearer view.
    return this._index.towards(x, y, dx, dy, STEP / this._view.scale) ?? this._index.towards(x, y, dx, dy, 0);
  }

  _bringIn(row) {
    const place = this.screenOf(row);
    const { top, right, bottom, left } = this._room(40);
    const dx = clamp(place.x, left, right) - place.x;
    const dy = clamp(place.y, top, bottom) - place.y;
    if (dx !== 0 || dy !== 0) this._panBy(dx, dy);
  }
}

function element(name, className, style) {
  const made = document.createElement(name);
  made.className = className;
  Object.assign(made.style, style);
  return made;
}

function joined(first, second) {
  const both = new first.constructor(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

function clamp(value, low, high) {
  return Math.max(low, Math.min(high, value));
}

function eased(share) {
  return share < 0.5 ? 4 * share ** 3 : 1 - (-2 * share + 2) ** 3 / 2;
}

/** A view on the way from one to another: as the zoom changes, the place that stays put does. */
function between(from, to, share) {
  const scale = from.scale * (to.scale / from.scale) ** share;
  const moved = Math.abs(to.scale - from.scale) < 1e-9 * from.scale ? share : (1 / from.scale - 1 / scale) / (1 / from.scale - 1 / to.scale);
  return { x: from.x + (to.x - from.x) * moved, y: from.y + (to.y - from.y) * moved, scale };
}

/** The red, green and blue of any CSS colour, from 0 to 1. */
function partsOf(colour) {
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)].map((part) => part / 255);
}
