// Where the dots of a map are: the order to draw them in, which dot is near a place, and which lie inside a lasso.
// Places are "unit" coordinates: the map's longer side goes from -1 to 1, y up.

/** A fixed, well mixed order of n rows, so that any first part of it is a fair sample of the whole. */
export function shuffledOrder(n) {
  const order = new Uint32Array(n);
  for (let i = 0; i < n; i++) order[i] = i;
  let state = 0x9e3779b9;
  for (let i = n - 1; i > 0; i--) {
    // xorshift32: no more is asked of these random numbers than to look mixed.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const j = (state >>> 0) % (i + 1);
    const kept = order[i];
    order[i] = order[j];
    order[j] = kept;
  }
  return order;
}

/** The frame of some coordinates: unit = (data - centre) * scale, and how far the dots reach from the centre in units. */
export function frameOf(xy) {
  let left = Infinity, right = -Infinity, bottom = Infinity, top = -Infinity;
  for (let i = 0; i < xy.length; i += 2) {
    if (xy[i] < left) left = xy[i];
    if (xy[i] > right) right = xy[i];
    if (xy[i + 1] < bottom) bottom = xy[i + 1];
    if (xy[i + 1] > top) top = xy[i + 1];
  }
  if (!(right >= left)) left = right = bottom = top = 0;
  const half = Math.max(right - left, top - bottom) / 2;
  const scale = half > 0 ? 1 / half : 1;
  return {
    x: (left + right) / 2,
    y: (bottom + top) / 2,
    scale,
    // One dot, or all in a line, still need a window of some size.
    reachX: Math.max(((right - left) / 2) * scale, 0.2),
    reachY: Math.max(((top - bottom) / 2) * scale, 0.2),
  };
}

/** Those coordinates in units. */
export function toUnits(xy, frame) {
  const units = new Float32Array(xy.length);
  for (let i = 0; i < xy.length; i += 2) {
    units[i] = (xy[i] - frame.x) * frame.scale;
    units[i + 1] = (xy[i + 1] - frame.y) * frame.scale;
  }
  return units;
}

/** The rows, sorted into the cells of a grid over the square from -1 to 1. */
export class GridIndex {
  constructor(units) {
    this.units = units;
    const count = units.length / 2;
    this.side = Math.max(1, Math.min(1024, Math.round(Math.sqrt(count / 2))));
    this.cell = 2 / this.side;
    const cells = new Uint32Array(count);
    this.starts = new Uint32Array(this.side * this.side + 1);
    for (let row = 0; row < count; row++) {
      cells[row] = this._along(units[2 * row + 1]) * this.side + this._along(units[2 * row]);
      this.starts[cells[row] + 1]++;
    }
    for (let i = 0; i < this.side * this.side; i++) this.starts[i + 1] += this.starts[i];
    const next = this.starts.slice(0, -1);
    this.rows = new Uint32Array(count);
    for (let row = 0; row < count; row++) this.rows[next[cells[row]]++] = row;
  }

  _along(value) {
    return Math.max(0, Math.min(this.side - 1, Math.floor(((value + 1) / 2) * this.side)));
  }

  /** The row nearest to a place, at most `radius` away, or null. */
  nearest(x, y, radius) {
    const [left, right] = [this._along(x - radius), this._along(x + radius)];
    let found = null;
    let best = radius * radius;
    for (let line = this._along(y - radius); line <= this._along(y + radius); line++) {
      // The cells of a line are neighbours in `rows` as well.
      const stop = this.starts[line * this.side + right + 1];
      for (let i = this.starts[line * this.side + left]; i < stop; i++) {
        const row = this.rows[i];
        const dx = this.units[2 * row] - x;
        const dy = this.units[2 * row + 1] - y;
        const distance = dx * dx + dy * dy;
        if (distance <= best) {
          best = distance;
          found = row;
        }
      }
    }
    return found;
  }

  /**
   * The nearest row in the quarter around a direction, (1, 0), (-1, 0), (0, 1) or (0, -1), at least `least` away, or null.
   * One that is off to the side counts as further away.
   */
  towards(x, y, dx, dy, least) {
    const column = this._along(x);
    const line = this._along(y);
    let found = null;
    let best = Infinity;
    const look = (row) => {
      const vx = this.units[2 * row] - x;
      const vy = this.units[2 * row + 1] - y;
      const along = vx * dx + vy * dy;
      const across = Math.abs(vx * dy) + Math.abs(vy * dx);
      if (along <= 0 || across > along || along * along + across * across < least * least) return;
      const distance = along * along + 2 * across * across;
      if (distance < best) {
        best = distance;
        found = row;
      }
    };
    for (let ring = 0; ring < this.side; ring++) {
      this._onRing(column, line, ring, look);
      // Whatever is in a further ring is further away than this.
      if (best <= (ring * this.cell) ** 2) break;
    }
    return found;
  }

  _onRing(column, line, ring, look) {
    for (let y = Math.max(0, line - ring); y <= Math.min(this.side - 1, line + ring); y++) {
      const whole = y === line - ring || y === line + ring;
      for (let x = column - ring; x <= column + ring; x += whole || ring === 0 ? 1 : 2 * ring) {
        if (x < 0 || x >= this.side) continue;
        const cell = y * this.side + x;
        for (let i = this.starts[cell]; i < this.starts[cell + 1]; i++) look(this.rows[i]);
      }
    }
  }
}

/** The rows inside a polygon [[x, y], ...]; where it crosses itself, what is inside an even number of times is outside. */
export function rowsInside(units, polygon) {
  const slabs = new Slabs(polygon);
  const rows = [];
  for (let row = 0; row < units.length / 2; row++) if (slabs.contains(units[2 * row], units[2 * row + 1])) rows.push(row);
  return Uint32Array.from(rows);
}

/** A polygon cut into level slabs, each with the few edges that pass it: of 200,000 dots none is compared with all edges. */
class Slabs {
  constructor(polygon) {
    const [xs, ys] = [polygon.map((corner) => corner[0]), polygon.map((corner) => corner[1])];
    [this.left, this.right] = [Math.min(...xs), Math.max(...xs)];
    [this.bottom, this.top] = [Math.min(...ys), Math.max(...ys)];
    this.edges = Array.from({ length: Math.max(1, Math.min(512, polygon.length)) }, () => []);
    polygon.forEach(([ax, ay], i) => {
      const [bx, by] = polygon[(i + 1) % polygon.length];
      if (ay === by) return;
      for (let slab = this._slab(Math.min(ay, by)); slab <= this._slab(Math.max(ay, by)); slab++) this.edges[slab].push(ax, ay, bx, by);
    });
  }

  _slab(y) {
    const share = (y - this.bottom) / (this.top - this.bottom || 1);
    return Math.max(0, Math.min(this.edges.length - 1, Math.floor(share * this.edges.length)));
  }

  contains(x, y) {
    if (x < this.left || x > this.right || y < this.bottom || y > this.top) return false;
    const edges = this.edges[this._slab(y)];
    let inside = false;
    for (let i = 0; i < edges.length; i += 4) {
      const [ax, ay, bx, by] = [edges[i], edges[i + 1], edges[i + 2], edges[i + 3]];
      if (ay > y !== by > y && x < ax + ((y - ay) / (by - ay)) * (bx - ax)) inside = !inside;
    }
    return inside;
  }
}
