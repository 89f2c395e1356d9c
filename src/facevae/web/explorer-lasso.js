// What a lasso has caught: how many, what stands out among them, their mean face, their names.

import { api } from "./explorer-api.js";
import { announce, byId, download, element, fileName, grouped } from "./explorer-dom.js";
import { toastFault } from "./explorer-notices.js";

const STANDING_OUT = 5;
const percent = (share) => `${Math.round(100 * share)}%`;

export class LassoPanel {
  constructor(panel, map) {
    this.panel = panel;
    this.map = map;
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.defaultPrevented || panel.hidden || document.querySelector("dialog[open]")) return;
      const inside = panel.contains(document.activeElement);
      map.scatter.clearSelection();
      if (inside) byId("map").querySelector("[tabindex]").focus();
    });
  }

  show(rows) {
    this.panel.hidden = rows === null;
    if (rows === null) {
      this.panel.replaceChildren();
      return;
    }
    const count = `${grouped(rows.length)} ${rows.length === 1 ? "face" : "faces"}`;
    const clear = () => this.map.scatter.clearSelection();
    this.panel.replaceChildren(
      element(
        "header",
        {},
        element("h2", { text: `${count} selected` }),
        element("button", { type: "button", class: "round", text: "\u00d7", "aria-label": "Clear the selection", onClick: clear }),
      ),
      ...this.#bars(rows),
      element(
        "footer",
        {},
        element("button", { type: "button", class: "primary", text: "Mean face", onClick: () => this.#mean(rows) }),
        element("button", { type: "button", text: "Save names", onClick: () => this.#names(rows) }),
      ),
    );
    announce(`${count} selected.`);
  }

  #bars(rows) {
    const found = this.map.attributes.standingOut(rows, STANDING_OUT);
    if (found.length === 0) return [];
    const bars = found.map(({ name, share, all }) => {
      const inside = element("span", { class: "here" });
      const outside = element("span", { class: "all" });
      inside.style.width = percent(share);
      outside.style.left = percent(all);
      return element(
        "li",
        { title: `${name}: ${percent(share)} of the selected faces, ${percent(all)} of all` },
        element("span", { text: name }),
        element("span", { class: "figures", text: percent(share) }),
        element("span", { class: "bar", "aria-hidden": "true" }, inside, outside),
        element("span", { class: "visually-hidden", text: `, of all faces ${percent(all)}` }),
      );
    });
    return [element("p", { class: "hint", text: "What stands out; the mark is the share in all" }), element("ul", { class: "bars" }, ...bars)];
  }

  #mean(rows) {
    this.map.store.choose(api.mean(rows)).catch(toastFault);
  }

  async #names(rows) {
    try {
      download(await api.names(rows), fileName(["faces", String(rows.length)], ".txt"));
    } catch (error) {
      toastFault(error);
    }
  }
}
