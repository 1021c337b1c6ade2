// The search page in a dialog: Ctrl-K or the link "Search" opens it, arrows move, Enter goes, Escape closes.
import { parse } from "./main.js";

let dialog, input, list, request;

function build() {
  dialog = document.createElement("dialog");
  dialog.className = "palette";
  dialog.setAttribute("aria-label", "Search");
  input = document.createElement("input");
  input.type = "search";
  input.setAttribute("aria-label", "Search pages, models and documentation");
  list = document.createElement("ul");
  list.className = "results";
  dialog.append(input, list);
  document.body.append(dialog);
  input.addEventListener("input", find);
  dialog.addEventListener("keydown", move);
  dialog.addEventListener("click", (event) => event.target === dialog && shut());
}

async function find() {
  request?.abort();
  const mine = (request = new AbortController());
  try {
    const answer = await fetch("/search?q=" + encodeURIComponent(input.value), { signal: mine.signal });
    const found = parse(await answer.text()).querySelectorAll("#results > li");
    // Results that come while one is chosen leave it chosen: the same one, else the first.
    const chosen = list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    list.replaceChildren(...[...found].map((one) => document.adoptNode(one)));
    const links = [...list.querySelectorAll("a")];
    if (chosen) (links.find((link) => link.getAttribute("href") === chosen) ?? links[0] ?? input).focus();
  } catch (fault) {
    if (fault.name !== "AbortError") throw fault;
  }
}

// What a closed dialog had in focus keeps it until the next frame: a key pressed before then would be taken as typed.
function shut() {
  document.activeElement.blur();
  dialog.close();
}

function move(event) {
  const links = [...list.querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  if (event.key === "Enter" && event.target === input) links[0]?.click();
  else if (event.key === "ArrowDown") (links[at + 1] ?? links[0])?.focus();
  else if (event.key === "ArrowUp") (links[at - 1] ?? input).focus();
  else if (event.key === "Escape") shut();
  else return;
  event.preventDefault();
}

export function open() {
  if (!dialog) build();
  if (!dialog.open) dialog.showModal();
  input.select();
  find();
}
