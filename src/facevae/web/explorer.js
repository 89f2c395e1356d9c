// The explorer's page: asks the server what there is, builds the parts, and connects them.

import { Address } from "./explorer-address.js";
import { api, connection } from "./explorer-api.js";
import { Between } from "./explorer-between.js";
import { byId, element, grouped, remember, remembered } from "./explorer-dom.js";
import { FacePanel } from "./explorer-face.js";
import { Find } from "./explorer-find.js";
import { FaceMap } from "./explorer-map.js";
import { LiveMorph } from "./explorer-morph.js";
import { Neighbours } from "./explorer-neighbours.js";
import { toast, toastFault, watchConnection } from "./explorer-notices.js";
import { Photos } from "./explorer-photo.js";
import { Save } from "./explorer-save.js";
import { Sliders } from "./explorer-sliders.js";
import { Store } from "./explorer-store.js";

const page = document.documentElement;

function describe({ id, faces, weights, notices, version }) {
  const file = faces.path?.split(/[\\/]/).pop();
  const what = { latents: `${grouped(faces.count)} faces of ${file}`, random: `${grouped(faces.count)} random faces`, none: "no faces on the map" }[faces.kind];
  byId("summary").textContent = `${what} · ${weights}`;
  byId("version").textContent = `facevae ${version}`;
  byId("notices").hidden = notices.length === 0;
  byId("notice-list").replaceChildren(...notices.map((text) => element("li", { text })));
  tellOnce(id, notices);
}

/** A reload is no reason to say again what the server said once. */
function tellOnce(id, notices) {
  const told = (remembered("told") ?? "").split("\n");
  const fresh = notices.filter((text) => !told.includes(`${id} ${text}`));
  if (fresh.length) toast(fresh.join("\n"));
  remember("told", notices.map((text) => `${id} ${text}`).join("\n"));
}

function openDialogs() {
  byId("help-open").addEventListener("click", () => byId("help").showModal());
  for (const dialog of document.querySelectorAll("dialog")) {
    // A click beside it closes a dialog: only there the dialog itself is what was clicked.
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }
  for (const button of document.querySelectorAll("[data-skip]")) {
    button.addEventListener("click", () => byId(button.dataset.skip).focus());
  }
}

async function firstState() {
  for (;;) {
    try {
      return await api.state();
    } catch (error) {
      page.dataset.state = "failed";
      byId("map-message").replaceChildren(element("p", { text: error.message }));
      const retry = element("button", { type: "button", class: "primary", text: "Retry" });
      byId("map-message").append(retry);
      await new Promise((resolve) => retry.addEventListener("click", resolve, { once: true }));
    }
  }
}

/** What makes two servers the same to this page. */
const sameServer = (a, b) => JSON.stringify([a.weights, a.faces, a.attributes, a.sliders]) === JSON.stringify([b.weights, b.faces, b.attributes, b.sliders]);

async function start() {
  openDialogs();
  watchConnection();
  const state = await firstState();
  describe(state);

  const store = new Store();
  const pick = (reference) => store.choose(api.face(reference)).catch(toastFault);

  const map = new FaceMap(store, pick);
  const morph = new LiveMorph(store);
  const sliders = new Sliders(store, state);
  const neighbours = new Neighbours(store, map, pick, state);
  const between = new Between(store);
  new FacePanel(store, map, morph, state);
  new Photos(store, state);
  new Save(store, state);
  new Find(pick);
  const address = new Address(store, map, sliders);

  morph.onFault = () => {
    // Rather let go of what is kept than stand still with an edit that the server cannot make.
    if (store.keep.size) store.setEdit(Object.fromEntries(store.moves));
  };
  map.onMoved = async () => {
    if (!store.face) return;
    const face = await api.face(store.face.face).catch(() => null);
    if (face) store.repoint(face);
    neighbours.again();
  };

  const view = address.read();
  map.wantedColour = view.colour;
  await map.load(state);

  const apply = async ({ face, colour, moves, keep }) => {
    if (colour !== null && map.scatter && colour !== map.colour) map.setColour(state.attributes.includes(colour) ? colour : "");
    if (face && face !== store.face?.face) await pick(face);
    store.setEdit(moves, keep);
  };
  if (view.face) await apply(view);
  address.follow(apply);

  connection.addEventListener("back", async ({ detail }) => {
    if (!sameServer(state, detail)) {
      location.reload();
      return;
    }
    await map.update(detail);
    map.follow();
    morph.again();
    neighbours.again();
    between.again();
  });
  window.facevaeStats = Object.assign(morph.stats, { readyMs: performance.now(), scatter: () => map.scatter?.stats ?? null });
  window.facevaeMap = map; // for those who look inside, and for the tests
  page.dataset.state = "ready";
  map.follow();
}

start().catch((error) => {
  page.dataset.state = "failed";
  if (!error.shown) toastFault(error);
});
