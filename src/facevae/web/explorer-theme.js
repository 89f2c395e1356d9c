// A classic script in the head, so that a page that is set to dark is never light at first.
(() => {
  "use strict";
  const root = document.documentElement;

  function read(key) {
    try {
      return localStorage.getItem(key);
    } catch {
      return null; // a browser may refuse its storage
    }
  }

  function apply(theme) {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
    window.dispatchEvent(new Event("facevae-theme"));
  }

  apply(read("facevae-theme"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => window.dispatchEvent(new Event("facevae-theme")));

  document.addEventListener("DOMContentLoaded", () => {
    const choice = document.querySelector(`#theme input[value="${root.dataset.theme ?? "auto"}"]`);
    if (choice) choice.checked = true;
    document.getElementById("theme").addEventListener("change", (event) => {
      apply(event.target.value);
      try {
        localStorage.setItem("facevae-theme", event.target.value);
      } catch {
        // then it holds for this visit
      }
    });
  });
})();
