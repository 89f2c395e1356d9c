// Small things that every part of the page uses. Text goes in as text only, never as markup.

export const byId = (id) => document.getElementById(id);

/** An element with properties (`class`, `text`, `data-*` and other attributes, `onX` listeners) and children. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2).toLowerCase(), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Names of attributes as people read them. */
export const spaced = (name) => name.replaceAll("_", " ");

/** A number of steps with its sign: "+1.5", "−0.05" (with a true minus), "0". */
export function signed(number) {
  const size = String(Math.round(Math.abs(number) * 100) / 100);
  return number > 0 ? `+${size}` : number < 0 ? `\u2212${size}` : "0";
}

export const grouped = (number) => number.toLocaleString("en");

/** A file's name without its ending, as captions have room for. */
export const stem = (name) => name.replace(/\.(jpe?g|png|webp|bmp|tiff?|gif|avif|heic|heif)$/i, "");

export const reducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length ? sorted[sorted.length >> 1] : 0;
}

/** What the browser remembers for the next visit; null where it refuses. */
export function remembered(key) {
  try {
    return localStorage.getItem(`facevae-${key}`);
  } catch {
    return null;
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(`facevae-${key}`, value);
  } catch {
    // then it holds for this visit
  }
}

/** Say something to a screen reader. */
export function announce(text) {
  byId("live").textContent = text;
}

/** Offer bytes as a download. */
export function download(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = element("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** A file name of letters, digits and . _ - only, not longer than 96 characters. */
export function fileName(parts, ending) {
  const safe = parts
    .map((part) => part.normalize("NFKD").replace(/[^A-Za-z0-9.-]+/g, "_").replace(/^[._]+|[._]+$/g, ""))
    .filter(Boolean)
    .join("_")
    .slice(0, 96 - ending.length);
  return `${safe || "face"}${ending}`;
}
