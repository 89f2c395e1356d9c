// Save: the picture, the strip of the edit, and the command that makes the same.

import { api } from "./explorer-api.js";
import { announce, byId, download, element, fileName, stem } from "./explorer-dom.js";
import { toastFault } from "./explorer-notices.js";
import { Picture } from "./explorer-picture.js";

export class Save {
  #strip = null;

  constructor(store, state) {
    this.store = store;
    this.size = state.image_size;
    this.dialog = byId("save-dialog");
    this.preview = new Picture(byId("save-preview"));
    byId("save").addEventListener("click", () => this.#open());
    byId("save-picture").addEventListener("click", () => this.#savePicture());
    byId("save-strip").addEventListener("click", () => this.#saveStrip());
    for (const button of this.dialog.querySelectorAll("[data-copy]")) button.addEventListener("click", () => this.#copy(button));
    this.dialog.addEventListener("close", () => this.#release());
  }

  /** The name of a file: the face, then what was moved. */
  #file(ending, extra = []) {
    const moves = [...this.store.moves].map(([name, value]) => `${name}${value}`);
    return fileName([stem(this.store.face.name), ...moves, ...extra], ending);
  }

  #open() {
    const side = this.size * (this.store.upscale || 1);
    const how = this.store.upscale ? ", enlarged three times by VDSR" : "";
    byId("save-picture-about").textContent = `PNG, ${side} × ${side} pixels${how}.`;
    const first = this.store.face.original ? "The original, then the" : "The";
    byId("save-strip-about").textContent = `${first} edit at 0, ¼, ½, ¾ and all of it.`;
    this.preview.squares = this.store.display === "pixels";
    this.dialog.showModal();
    const edit = this.store.edit();
    this.picture = api.decode(edit, this.store.upscale);
    this.preview.load(this.picture).catch(toastFault);
    this.#showStrip(edit);
    this.#showCommand(edit);
  }

  async #showStrip(edit) {
    byId("save-strip").disabled = true;
    if (Object.keys(edit.moves).length === 0) {
      byId("strip-frame").replaceChildren(element("p", { class: "hint", text: "Nothing is moved yet: a strip needs a slider that is not 0." }));
      return;
    }
    byId("strip-frame").replaceChildren(element("p", { class: "hint", text: "Drawing the strip …" }));
    try {
      this.strip = await api.strip(edit, this.store.upscale);
      this.#strip = URL.createObjectURL(this.strip);
      byId("strip-frame").replaceChildren(element("img", { src: this.#strip, alt: "The strip of this edit" }));
      byId("save-strip").disabled = false;
    } catch (error) {
      byId("strip-frame").replaceChildren(element("p", { class: "hint", text: error.message }));
    }
  }

  async #showCommand(edit) {
    const show = (name, text) => {
      byId(`command-${name}`).textContent = text ?? "";
      byId(`command-${name}-box`).hidden = !text;
    };
    show("picture", null);
    show("strip", null);
    try {
      const { picture, strip, note } = await api.command(edit, this.store.upscale);
      show("picture", picture);
      show("strip", strip);
      byId("command-note").textContent = note ?? "";
    } catch (error) {
      byId("command-note").textContent = error.message;
    }
  }

  async #savePicture() {
    try {
      download(await this.picture, this.#file(".png"));
    } catch (error) {
      toastFault(error);
    }
  }

  #saveStrip() {
    download(this.strip, this.#file(".png", ["strip"]));
  }

  async #copy(button) {
    const code = byId(button.dataset.copy);
    const range = document.createRange();
    range.selectNodeContents(code);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      document.execCommand("copy"); // a page that is not from this machine may not write the clipboard directly
    }
    button.textContent = "Copied";
    announce("Copied.");
    setTimeout(() => (button.textContent = "Copy"), 1500);
  }

  #release() {
    if (this.#strip) URL.revokeObjectURL(this.#strip);
    this.#strip = null;
    this.preview.put(null);
  }
}
