// A photo of one's own: chosen, dropped anywhere on the page, or pasted.

import { LostServer, ServerError, api } from "./explorer-api.js";
import { byId, element } from "./explorer-dom.js";
import { toast, toastFault } from "./explorer-notices.js";

const LARGEST = 64 * 1024 * 1024;

export class Photos {
  #turn = 0;

  constructor(store, state) {
    this.store = store;
    this.align = state.align;
    byId("photo").addEventListener("click", () => byId("photo-file").click());
    byId("photo-file").addEventListener("change", () => {
      const [file] = byId("photo-file").files;
      byId("photo-file").value = "";
      if (file) this.send(file);
    });
    this.#listenToDrops();
    document.addEventListener("paste", (event) => {
      const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
      if (!file) return;
      event.preventDefault();
      this.send(file);
    });
    store.on("face", () => {
      if (!this.faces?.some(({ face }) => face === store.face.face)) this.#offer([]);
      else this.#markChosen();
    });
  }

  #listenToDrops() {
    let depth = 0; // the pointer enters and leaves every element it passes
    const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
    const show = (shown) => (byId("drop").hidden = !shown);
    window.addEventListener("dragenter", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      depth += 1;
      show(true);
    });
    window.addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
    window.addEventListener("dragleave", (event) => {
      if (!holdsFiles(event)) return;
      depth = Math.max(0, depth - 1);
      show(depth > 0);
    });
    window.addEventListener("drop", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      depth = 0;
      show(false);
      const [file, ...others] = event.dataTransfer.files;
      if (file) this.send(file);
      if (others.length) toast(`One photo at a time: ${file.name} was taken.`);
    });
  }

  async send(file, align = this.align) {
    if (file.size > LARGEST) {
      toast(`${file.name} is larger than 64 MB: choose a smaller picture.`, { alert: true });
      return;
    }
    const turn = ++this.#turn;
    byId("busy").textContent = align ? `Looking for faces in ${file.name} …` : `Reading ${file.name} …`;
    byId("busy").hidden = false;
    try {
      const { faces, notices } = await api.photo(file, align);
      if (turn !== this.#turn) return; // another photo was given meanwhile
      for (const notice of notices) toast(notice);
      this.#offer(faces);
      if (faces.length) this.store.pick(faces[0]);
    } catch (error) {
      this.#fault(error, file, align);
    } finally {
      if (turn === this.#turn) byId("busy").hidden = true;
    }
  }

  #fault(error, file, align) {
    if (error instanceof LostServer) return;
    // A picture that is cropped as the faces trained on are may have no face for the finder, and is good all the same.
    const whole = align && error instanceof ServerError && error.status === 422 && error.message.startsWith("No face");
    toastFault(error, whole ? { action: { label: "Take the whole picture", run: () => this.send(file, false) } } : {});
  }

  #offer(faces) {
    this.faces = faces;
    const box = byId("photo-faces");
    box.hidden = faces.length < 2;
    if (faces.length < 2) {
      box.replaceChildren();
      return;
    }
    const buttons = faces.map((face, index) => {
      const image = element("img", { alt: "", src: api.pictureAddress(face.face, "original"), width: "40", height: "40" });
      const label = `Face ${index + 1} of ${faces.length}, from the largest`;
      return element("button", { type: "button", "aria-label": label, title: label, "data-face": face.face, onClick: () => this.store.pick(face) }, image);
    });
    box.replaceChildren(element("p", { text: `${faces.length} faces` }), element("div", {}, ...buttons));
    this.#markChosen();
  }

  #markChosen() {
    for (const button of byId("photo-faces").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.face === this.store.face?.face));
    }
  }
}
