// The picked face: its name, what it has, original and reconstruction, and where new faces come from.

import { api } from "./explorer-api.js";
import { fewChips } from "./explorer-attributes.js";
import { announce, byId, element, remember, remembered } from "./explorer-dom.js";
import { toastFault } from "./explorer-notices.js";
import { Picture } from "./explorer-picture.js";

const CHIPS = 6;

export class FacePanel {
  constructor(store, map, morph, state) {
    this.store = store;
    this.map = map;
    this.state = state;
    this.original = new Picture(byId("original"));
    this.reconstruction = new Picture(byId("reconstruction"));
    this.pictures = [this.original, this.reconstruction, morph.picture];
    store.on("face", () => this.#show());
    store.on("edit", () => this.#showButtons());
    store.on("display", () => this.#showDisplay());
    byId("random").addEventListener("click", () => this.random());
    byId("reset").addEventListener("click", () => this.#reset());
    this.#listenToTemperature();
    this.#offerDisplays();
    new ResizeObserver(() => this.#fitTags()).observe(byId("face-about"));
  }

  // ------------------------------------------------------------------------------------------------ how pictures are enlarged

  #offerDisplays() {
    const upscales = this.state.upscale.includes(3);
    const radio = (value) => document.querySelector(`#display input[value="${value}"]`);
    radio("vdsr").closest("label").hidden = !upscales;
    const wanted = remembered("display") ?? (upscales ? "vdsr" : "smooth");
    const display = wanted === "vdsr" && !upscales ? "smooth" : wanted;
    const choice = radio(display) ?? radio("smooth");
    choice.checked = true;
    this.store.setDisplay(choice.value);
    byId("display").addEventListener("change", (event) => {
      remember("display", event.target.value);
      this.store.setDisplay(event.target.value);
    });
  }

  #showDisplay() {
    const squares = this.store.display === "pixels";
    document.documentElement.dataset.display = this.store.display;
    for (const picture of this.pictures) picture.squares = squares;
    if (this.store.face) this.#showPictures();
  }

  // ------------------------------------------------------------------------------------------------ the face

  #show() {
    const { face } = this.store;
    byId("face-name").textContent = face.name;
    byId("face-name").title = face.name;
    this.#showAbout(face);
    this.#showPictures();
    this.#showButtons();
    document.title = `${face.name} · facevae explorer`;
    const words = face.attributes ? this.map.attributes.sorted(face.attributes) : [];
    announce([`Picked ${face.name}`, ...words.slice(0, CHIPS)].join(", "));
  }

  #showAbout(face) {
    const words = face.attributes ? this.map.attributes.sorted(face.attributes) : [];
    const split = face.split ? [element("span", { class: "split", text: `${face.split} · ` })] : [];
    const kind = this.#aboutKind(face.face);
    this.tags = element("ul", { class: "tags", "aria-label": "Attributes" });
    byId("face-about").replaceChildren(...split, words.length ? this.tags : element("span", { text: kind, title: kind }));
    this.words = words;
    this.#fitTags();
  }

  /** As many attributes as one line has room for, and how many more there are. */
  #fitTags() {
    if (!this.words?.length) return;
    let shown = this.words.length;
    do this.tags.replaceChildren(...fewChips(this.words, shown, element));
    while (this.tags.scrollHeight > this.tags.clientHeight && --shown > 0);
  }

  #aboutKind(reference) {
    const kind = reference.split("/")[0];
    return { photo: "your photo", random: `drawn from the prior, temperature ${reference.split("/")[2]}`, mean: "the mean latent of a selection" }[kind] ?? "";
  }

  #showPictures() {
    const { face, upscale } = this.store;
    const reference = face.face;
    const show = (picture, kind) => picture.load(api.picture(reference, kind, upscale)).catch(toastFault);
    show(this.reconstruction, "reconstruction");
    if (face.original) {
      show(this.original, "original");
    } else {
      this.original.put(null);
      byId("original-none").textContent = this.#whyNoOriginal(reference);
    }
  }

  #whyNoOriginal(reference) {
    const kind = reference.split("/")[0];
    if (kind === "random") return "None: drawn from the prior.";
    if (kind === "mean") return "None: this face is a mean.";
    return this.state.faces.kind === "random" ? "None: drawn from the prior." : this.state.faces.why_no_originals ?? "There is no original.";
  }

  #showButtons() {
    const { face, moves, keep } = this.store;
    byId("reset").disabled = moves.size === 0 && keep.size === 0;
    byId("hold").disabled = !face;
    byId("save").disabled = !face;
    byId("morph-caption").textContent = face && moves.size === 0 ? "Nothing moved yet" : "Morph";
  }

  #reset() {
    this.store.setEdit();
    announce("All attributes are back at 0.");
    byId("slider-search").focus({ preventScroll: true }); // the button is disabled now, and would lose the focus to nowhere
  }

  // ------------------------------------------------------------------------------------------------ random faces

  #listenToTemperature() {
    const slider = byId("temperature");
    const shown = () => (byId("temperature-shown").textContent = Number(slider.value).toFixed(2));
    slider.addEventListener("input", shown);
    slider.addEventListener("change", () => {
      // The same draw, more ordinary or more exaggerated.
      const [kind, seed] = this.store.face?.face.split("/") ?? [];
      if (kind === "random") this.random(Number(seed));
    });
  }

  random(seed = null) {
    return this.store.choose(api.random(Number(byId("temperature").value), seed)).catch(toastFault);
  }
}
