// Keeps a page up to date with what the server sends of it again. Every page works without this, and then stands still.
"use strict";

const $ = (id) => document.getElementById(id);

// Makes `old` like `fresh` and touches only what differs: focus, scroll and selection stay where they are.
function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) return void old.replaceWith(fresh);
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  if (old.nodeName === "TIME") return tell(old); // what it says is our own
  if (old.nodeName === "INPUT" || old.nodeName === "TEXTAREA" || old.nodeName === "SELECT") return; // what it says is the user's
  morphChildren(old, fresh);
}

function morphChildren(old, fresh) {
  const keyed = new Map();
  for (const child of old.children) if (child.id) keyed.set(child.id, child);
  let here = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    const same = next.id ? keyed.get(next.id) : undefined;
    if (same) {
      keyed.delete(next.id);
      if (same === here) here = here.nextSibling;
      else old.insertBefore(same, here);
      morph(same, next);
    } else if (here && !next.id && !here.id && here.nodeName === next.nodeName) {
      const following = here.nextSibling;
      morph(here, next);
      here = following;
    } else {
      old.insertBefore(next, here);
    }
  }
  while (here) {
    const following = here.nextSibling;
    if (!here.id || keyed.has(here.id)) here.remove();
    here = following;
  }
  for (const left of keyed.values()) if (left.parentNode === old) left.remove();
}

function parsed(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild;
}

function show(parts) {
  const focused = document.activeElement;
  for (const [id, html] of Object.entries(parts)) {
    const old = $(id);
    if (old) morph(old, parsed(html));
  }
  if (focused && !focused.isConnected) $("main").focus({ preventScroll: true }); // what had it is gone: do not begin at the top again
  tellAll();
}

// Times, in the reader's own clock; how long ago something was goes on without the server.
const UNITS = [["d", 86400, "h", 3600], ["h", 3600, "min", 60], ["min", 60, "s", 1]];
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

function lasted(seconds) {
  for (const [large, size, small, unit] of UNITS) {
    if (seconds >= size) {
      const rest = Math.floor((seconds % size) / unit);
      return `${Math.floor(seconds / size)} ${large}${rest ? ` ${rest} ${small}` : ""}`;
    }
  }
  return `${Math.max(0, Math.floor(seconds))} s`;
}

function tell(time) {
  const at = new Date(time.dateTime);
  const text = "ago" in time.dataset ? time.dataset.ago + lasted((Date.now() - at) / 1000) : CLOCK.format(at);
  if (time.textContent !== text) time.textContent = text;
}

function tellAll() {
  for (const time of document.querySelectorAll("time")) tell(time);
}

// News of this page.
let source = null;

function live(yes, text) {
  const sign = $("live");
  if (!sign || sign.dataset.live === (yes ? "yes" : "no")) return;
  sign.dataset.live = yes ? "yes" : "no";
  sign.textContent = text;
}

function follow() {
  source?.close();
  source = null;
  const address = document.body.dataset.events;
  if (!address || document.hidden) return;
  source = new EventSource(address);
  source.onopen = () => live(true, "live");
  source.onmessage = (event) => show(JSON.parse(event.data));
  source.onerror = () => {
    live(false, "reconnecting");
    if (source?.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 2000); // the key is wanted again, for one
  };
}

// Forms that change one job stay on the page; the news show what came of it.
async function post(form, button) {
  button.disabled = true;
  try {
    const answer = await fetch(form.action, { method: "POST", headers: { "X-Quiet": "1" } });
    const { said, href } = await answer.json();
    say(said, answer.ok && href !== location.pathname ? href : null);
  } catch {
    say("The server does not answer.", null);
  }
  button.disabled = false;
}

function say(text, href) {
  const place = $("said");
  place.replaceChildren(text);
  if (href) {
    const link = document.createElement("a");
    link.href = href;
    link.textContent = "Show it";
    place.append(" ", link);
  }
  place.classList.add("shown");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => place.classList.remove("shown"), 8000);
}

// A filter works while it is typed.
async function filter(form) {
  const asked = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  const address = form.getAttribute("action") + (asked.size ? `?${asked}` : "");
  const number = (filter.number = (filter.number ?? 0) + 1);
  const answer = await fetch(address);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (number !== filter.number || !answer.ok || !page.body.dataset.events) return;
  history.replaceState(null, "", address);
  document.body.dataset.events = page.body.dataset.events;
  show(Object.fromEntries(["states", "jobs"].map((id) => [id, page.getElementById(id).outerHTML])));
  follow();
}

// Light, dark, or as the system has it. The server reads the cookie, so that no page begins in the wrong one.
const THEMES = ["", "light", "dark"];

function theme(chosen) {
  if (chosen) document.documentElement.dataset.theme = chosen;
  else delete document.documentElement.dataset.theme;
  document.cookie = `mlx_theme=${chosen}; path=/dashboard; max-age=${chosen ? 31536000 : 0}; samesite=strict`;
  $("theme").textContent = `Theme: ${chosen || "auto"}`;
}

$("theme").hidden = false;
theme(document.documentElement.dataset.theme ?? "");
$("theme").addEventListener("click", () => {
  theme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "") + 1) % THEMES.length]);
});
document.addEventListener("submit", (event) => {
  const form = event.target;
  if ("quiet" in form.dataset) post(form, event.submitter ?? form.querySelector("button"));
  else if ("filter" in form.dataset) filter(form);
  else return;
  event.preventDefault();
});
document.addEventListener("input", (event) => {
  const form = event.target.form;
  if (!form || !("filter" in form.dataset)) return;
  clearTimeout(filter.timer);
  filter.timer = setTimeout(() => filter(form), 200);
});
document.addEventListener("mouseover", (event) => {
  const time = event.target.closest?.("time");
  if (time) time.title = new Date(time.dateTime).toLocaleString();
});
document.addEventListener("visibilitychange", follow); // a page that nobody sees costs nothing
setInterval(tellAll, 1000);
tellAll();
follow();
