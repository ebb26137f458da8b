// Keeps the page up to date and works out the sliders. Nothing on a page needs it to be read.
"use strict";

const EVERY_MS = 5000;
const state = document.getElementById("live");
let tag = null;

function report(text, failed) {
  if (!state || state.textContent === text) return;
  state.textContent = text;
  state.classList.toggle("failed", failed);
}

// Puts the parts that have changed in the place of the old ones, but for one that is in use.
function replace(fresh) {
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(part.id);
    const inUse = part.contains(document.activeElement) || part.querySelector("details[open]");
    if (!next || inUse || next.innerHTML === part.innerHTML) continue;
    const scrolled = [...part.querySelectorAll(".wide")].map((each) => each.scrollLeft);
    part.replaceChildren(...next.childNodes);
    part.querySelectorAll(".wide").forEach((each, at) => { each.scrollLeft = scrolled[at] || 0; });
  }
}

async function refresh() {
  if (document.hidden) return;
  try {
    const headers = tag ? { "If-None-Match": tag } : {};
    const answer = await fetch(location.href, { headers, cache: "no-store" });
    if (new URL(answer.url).pathname === "/login") { location.assign("/login"); return; }
    if (answer.status !== 304) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (!answer.ok) throw new Error(fresh.getElementById("error")?.textContent.trim() || answer.statusText);
      tag = answer.headers.get("ETag");
      replace(fresh);
    }
    report("live", false);
  } catch (error) {
    report(`not updated: ${error.message}`, true);
  }
}

function sliders(form) {
  const text = document.getElementById("what-if-text");
  let waiting = null;
  let asked = 0;

  function shown(input) {
    const off = input.name !== "cost_weight" && input.value === input.min;
    return off ? "none" : input.value;
  }

  async function work() {
    const query = new URLSearchParams({ name: form.elements.name.value });
    for (const input of form.querySelectorAll("input[type=range]:not(:disabled)")) {
      query.set(input.name, shown(input) === "none" ? "0" : input.value);
    }
    const mine = ++asked;
    let said;
    try {
      const answer = await fetch(`/api/what-if?${query}`, { cache: "no-store" });
      const found = await answer.json();
      said = found.text || found.error;
    } catch (error) {
      said = `This could not be worked out: ${error.message}`;
    }
    if (mine === asked) text.textContent = said;
  }

  form.addEventListener("input", (event) => {
    event.target.parentElement.querySelector("output").value = shown(event.target);
    clearTimeout(waiting);
    waiting = setTimeout(work, 150);
  });
  form.addEventListener("submit", (event) => { event.preventDefault(); work(); });
}

document.addEventListener("keydown", (event) => {
  const search = document.getElementById("search");
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
  if (event.key === "/" && search && !typing) { event.preventDefault(); search.focus(); }
});

const form = document.getElementById("what-if");
if (form) sliders(form);
if (document.querySelector("[data-live]")) setInterval(refresh, EVERY_MS);
