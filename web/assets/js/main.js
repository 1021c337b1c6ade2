// What every page has: forms that GET and links marked data-swap replace <main> without a new page, and text can be
// copied. Without this file the same forms and links load the same pages.
const policy = window.trustedTypes?.createPolicy("gigarouter", { createHTML: (html) => html });
const live = () => document.getElementById("live");
let request = null;
// The page that <main> is of. A place within it, as the link past the head leads to, is no other page.
const page = () => location.pathname + location.search;
let shown = page();

export function parse(html) {
  return new DOMParser().parseFromString(policy ? policy.createHTML(html) : html, "text/html");
}

// Replaces <main> by that of another address; an older request is aborted, focus and caret stay where they were.
async function swap(address, push) {
  request?.abort();
  const mine = (request = new AbortController());
  const main = document.querySelector("main");
  main.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(address, { signal: mine.signal, headers: { accept: "text/html" } });
    const fresh = parse(await answer.text());
    const next = fresh.querySelector("main");
    if (!next || answer.redirected) return location.assign(answer.url);
    const focus = remember();
    if (push) history.pushState({ swap: true }, "", address);
    shown = page();
    main.replaceWith(document.adoptNode(next));
    document.title = fresh.title;
    restore(focus);
    prepare(next);
    live().textContent = next.querySelector("caption, h1")?.textContent ?? "";
    document.dispatchEvent(new CustomEvent("swapped"));
  } catch (fault) {
    if (fault.name !== "AbortError") location.assign(address);
  }
}

function remember() {
  const at = document.activeElement;
  if (!at?.closest("main") || !(at.id || at.getAttribute("href"))) return null;
  let caret = null;
  try {
    caret = at.selectionStart === undefined ? null : [at.selectionStart, at.selectionEnd];
  } catch { /* an input of numbers has no caret to read */ }
  return { id: at.id, href: at.getAttribute("href"), value: at.value, caret, text: at.textContent };
}

function restore(focus) {
  if (!focus) return;
  const links = [...document.querySelectorAll("main a")];
  const at = focus.id ? document.getElementById(focus.id) : links.find((one) => one.textContent === focus.text);
  at?.focus({ preventScroll: true });
  if (at && focus.id && "value" in at && at.type !== "checkbox") {
    at.value = focus.value;
    if (focus.caret?.[0] != null) at.setSelectionRange(...focus.caret);
  }
}

function addressOf(form) {
  const fields = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
  const query = fields.toString();
  return form.action.split("?")[0] + (query ? "?" + query : "");
}

// A button that copies stands at each text that is for copying.
function prepare(root) {
  if (!navigator.clipboard) return;
  for (const place of root.querySelectorAll("[data-copy]")) {
    const code = place.querySelector("code");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    const what = place.localName === "span" ? code.textContent : place.getAttribute("aria-label");
    if (what) button.setAttribute("aria-label", `Copy ${what}`);
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
      live().textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
    place.append(button);
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "get" || !form.closest("main") || form.hasAttribute("data-whole")) return;
  event.preventDefault();
  swap(addressOf(form), true);
});
document.addEventListener("input", (event) => {
  const form = event.target.form;
  if (form?.hasAttribute("data-typing")) {
    clearTimeout(form.timer);
    form.timer = setTimeout(() => form.requestSubmit(), 200);
  }
});
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-swap]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  swap(link.href, true);
});
addEventListener("popstate", () => page() === shown || swap(location.href, false));
// What few readers use is loaded when they do.
const palette = async () => (await import("./palette.js")).open();
document.addEventListener("keydown", (event) => {
  if (event.key === "k" && (event.ctrlKey || event.metaKey) && !event.altKey) {
    event.preventDefault();
    palette();
  }
});
// Keys of one letter, which /shortcuts lists and turns off: g and a letter follow the link that has it.
let going = -Infinity;
document.addEventListener("keydown", (event) => {
  if (!document.documentElement.hasAttribute("data-shortcuts") || event.defaultPrevented) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.key === "Shift") return;
  if (event.target.closest?.("input, textarea, select, dialog, [contenteditable]")) return;
  const goes = event.timeStamp - going < 2000;
  going = event.key === "g" && !goes ? event.timeStamp : -Infinity;
  const link = goes && document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
  if (!goes && event.key === "?") location.assign("/shortcuts");
  else if (!goes && event.key === "/") palette();
  else if (link) link.click();
  else return;
  event.preventDefault();
});
document.addEventListener("click", (event) => {
  if (!event.target.closest?.("[data-palette]") || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  palette();
});
document.addEventListener("pointerover", async (event) => {
  const figure = event.target.closest?.("[data-chart]");
  if (!figure || figure.hasAttribute("data-read")) return;
  figure.setAttribute("data-read", "");
  (await import("./chart.js")).read(figure);
});
prepare(document);
