// Who has which attribute: one bit for each face on the map, as the server sends them.

import { spaced } from "./explorer-dom.js";

export class Attributes {
  #bits;
  #width;

  /** `bits`: for each name ceil(count / 8) bytes, little bit order. */
  constructor(names, bits, count) {
    this.names = names;
    this.count = count;
    this.#bits = bits;
    this.#width = Math.ceil(count / 8);
    this.totals = names.map((_, index) => this.countOf(index));
  }

  has(index, row) {
    return (this.#bits[index * this.#width + (row >> 3)] >> (row & 7)) & 1;
  }

  countOf(index) {
    let total = 0;
    for (let row = 0; row < this.count; row += 1) total += this.has(index, row);
    return total;
  }

  /** 0 or 1 for each row. */
  classes(index) {
    const classes = new Uint8Array(this.count);
    for (let row = 0; row < this.count; row += 1) classes[row] = this.has(index, row);
    return classes;
  }

  /** What a face has, the rarest first, for that says most about it. */
  ofRow(row) {
    const has = this.names.map((_, index) => index).filter((index) => this.has(index, row));
    return this.#rarestFirst(has);
  }

  /** The same order for names that came with a face. */
  sorted(names) {
    const known = names.map((name) => this.names.indexOf(name)).filter((index) => index >= 0);
    return this.#rarestFirst(known);
  }

  #rarestFirst(indices) {
    return indices.sort((a, b) => this.totals[a] - this.totals[b]).map((index) => spaced(this.names[index]));
  }

  /** The attributes whose share in a selection differs most from that in all, in standard deviations of one face. */
  standingOut(rows, limit) {
    const found = this.names.map((name, index) => {
      const all = this.totals[index] / this.count;
      let inside = 0;
      for (const row of rows) inside += this.has(index, row);
      const share = inside / rows.length;
      return { name: spaced(name), share, all, score: Math.abs(share - all) / Math.sqrt(Math.max(all * (1 - all), 1e-4)) };
    });
    return found.sort((a, b) => b.score - a.score).slice(0, limit);
  }
}

/** At most `limit` chips of words, and how many more there are. */
export function fewChips(words, limit, element) {
  const chips = words.slice(0, limit).map((text) => element("li", { text }));
  if (words.length > limit) chips.push(element("li", { class: "more", text: `+${words.length - limit}`, title: words.slice(limit).join(", ") }));
  return chips;
}
