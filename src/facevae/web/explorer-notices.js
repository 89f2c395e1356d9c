// What went wrong or is worth knowing: toasts that do not block, and the banner of a lost server.

import { LostServer, connection } from "./explorer-api.js";
import { byId, element } from "./explorer-dom.js";

const SHOWN_MS = 10_000;

/** Show a sentence. `alert` interrupts a screen reader; `action` is {label, run}. */
export function toast(text, { alert = false, action = null } = {}) {
  for (const old of byId("toasts").children) if (old.dataset.text === text) old.remove();
  const close = () => made.remove();
  const made = element(
    "div",
    { class: alert ? "toast fault" : "toast", role: alert ? "alert" : "status", "data-text": text },
    element("p", { text }),
    action && element("button", { type: "button", text: action.label, onClick: () => (close(), action.run()) }),
    element("button", { type: "button", class: "round", text: "\u00d7", "aria-label": "Dismiss", onClick: close }),
  );
  overDialogs();
  byId("toasts").append(made);
  // What is only worth knowing gives way to work.
  if (!alert && !action) document.querySelector("main").addEventListener("pointerdown", close, { once: true });
  let timer = setTimeout(close, SHOWN_MS);
  const hold = () => clearTimeout(timer);
  const release = () => {
    clearTimeout(timer);
    timer = setTimeout(close, SHOWN_MS / 2);
  };
  made.addEventListener("pointerenter", hold);
  made.addEventListener("focusin", hold);
  made.addEventListener("pointerleave", release);
  made.addEventListener("focusout", release);
  return made;
}

/** What lies outside an open dialog can neither be seen nor pressed: while there is one, it holds the toasts. */
function overDialogs() {
  const dialog = document.querySelector("dialog[open]");
  (dialog ?? document.body).append(byId("toasts"));
  dialog?.addEventListener("close", overDialogs, { once: true });
}

/** Show why something failed. A lost server has its banner, and what was broken off on purpose needs no words. */
export function toastFault(error, options = {}) {
  if (error instanceof LostServer || error?.name === "AbortError") return;
  toast(error.message, { alert: true, ...options });
}

export function watchConnection() {
  connection.addEventListener("lost", () => {
    const command = element("code", { text: "facevae explore" });
    byId("lost").replaceChildren("The explorer is not running any more: start ", command, " again.");
    byId("lost").hidden = false;
  });
  connection.addEventListener("back", () => {
    byId("lost").hidden = true;
    toast("The explorer is running again.");
  });
}
