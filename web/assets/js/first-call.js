// Waits on the page of a new key for the account's first call: asks every two seconds, for ten minutes, and shows what
// became of it. Without this file a link leads to the same page.
import { parse } from "./main.js";

const place = document.querySelector("[data-poll]");

async function look() {
  const answer = await fetch(place.dataset.poll, { headers: { accept: "text/html" } });
  if (!answer.ok || answer.redirected) return true;
  const found = parse(await answer.text()).getElementById("first-call");
  if (!found?.querySelector("dl")) return false;
  place.replaceChildren(...[...found.childNodes].map((one) => document.adoptNode(one)));
  document.getElementById("live").textContent = "Your first call has arrived.";
  return true;
}

async function wait(left) {
  if (left && !(document.visibilityState === "visible" && (await look().catch(() => false)))) {
    setTimeout(wait, 2000, left - 1);
  }
}

if (place) {
  place.querySelector("p").textContent = "Waiting for your first call…";
  wait(300);
}
