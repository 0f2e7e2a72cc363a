// The frame of the page: the selected view, the live connection, colours, and the token.

import { forget, get, present } from "./ask.js";
import { campaign } from "./campaign.js";
import { flow } from "./flow.js";
import { health } from "./health.js";
import { h } from "./parts.js";
import { moment, plural, span } from "./words.js";

const VIEWS = { flow: [flow, "Flow"], campaign: [campaign, "Campaign"], health: [health, "Health"] };
const AGAIN_MS = 2000; // between two requests of a view, unless it sets its own interval
const ANYWAY_MS = 15000; // ages and disk space change without a commit

const main = document.getElementById("main");
const pill = document.getElementById("pill");
const banner = document.getElementById("banner");
let view = null, asking = false, again = false, askedAt = 0, timer = 0, live = null;
let due = 0; // refreshes due after the last event: the first may still return a cached answer

async function refresh() {
  clearTimeout(timer);
  if (asking) { again = true; return; }
  const againMs = view.againMs ?? AGAIN_MS;
  const wait = askedAt + againMs - Date.now();
  if (wait > 0) { timer = setTimeout(refresh, wait); return; }
  asking = true;
  askedAt = Date.now();
  await Promise.allSettled([view.refresh(), showRun()]);
  asking = false;
  due = Math.max(0, due - 1);
  timer = setTimeout(refresh, again || due ? againMs : ANYWAY_MS);
  again = false;
}

async function showRun() {
  const found = await get("/api/health").catch((error) => error);
  if (found instanceof Error) {
    if (found.code >= 500) { pill.className = "pill bad"; pill.replaceChildren("State unreadable"); }
    return;
  }
  const urgent = found.needs.some((need) => need.level === "page");
  const age = found.commit_age_s === null ? "nothing committed yet" : `last commit ${span(found.commit_age_s).join(" ")} ago`;
  pill.className = `pill ${found.running ? (urgent ? "bad" : found.well ? "good" : "warn") : urgent ? "bad" : ""}`;
  // The text says the same as the colour, on every screen.
  pill.replaceChildren(found.running ? "Running" : "Not running",
    found.well ? h("span", { class: "more" }, `, ${age}`) : `, ${plural(found.needs.length, "alert")}`);
  pill.title = age;
  document.getElementById("foot").textContent = `As of ${moment(found.now)}. Read-only; MSISDNs are ${live?.whole ? "shown in full" : "masked"}.`;
}

function show() {
  const name = location.hash.replace("#/", "") in VIEWS ? location.hash.replace("#/", "") : "flow";
  const [make, title] = VIEWS[name];
  for (const each of Object.keys(VIEWS)) {
    const tab = document.getElementById(`tab-${each}`);
    if (each === name) tab.setAttribute("aria-current", "page"); else tab.removeAttribute("aria-current");
  }
  document.title = `${title} · Upswell`;
  view = make(main);
  askedAt = 0;
  refresh();
}

function listen() {
  const events = new EventSource("/api/events");
  events.addEventListener("change", () => { due = 2; refresh(); });
  events.addEventListener("open", () => { banner.hidden = true; refresh(); });
  events.addEventListener("error", () => {
    banner.textContent = "Not connected: the data below may be outdated. Reconnecting…";
    banner.hidden = false;
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
  });
}

function colours() {
  const button = document.getElementById("theme");
  const names = ["auto", "light", "dark"], words = { auto: "Auto", light: "Light", dark: "Dark" };
  let now = "auto";
  try { now = names.includes(localStorage.theme) ? localStorage.theme : "auto"; } catch { /* no storage: same as the system */ }
  const set = () => {
    if (now === "auto") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = now;
    button.textContent = words[now];
    button.setAttribute("aria-label", `Colours: ${now === "auto" ? "same as the system" : now}`);
  };
  button.addEventListener("click", () => {
    now = names[(names.indexOf(now) + 1) % names.length];
    try { localStorage.theme = now; } catch { /* then it applies to this visit only */ }
    set();
  });
  set();
}

async function masking() {
  const button = document.getElementById("whole"), dialog = document.getElementById("ask");
  const token = document.getElementById("token"), wrong = document.getElementById("ask-wrong");
  live = await get("/api/access").catch(() => ({ possible: false, whole: false }));
  button.hidden = !live.possible;
  const showWhole = (whole) => {
    live.whole = whole;
    button.textContent = whole ? "Mask MSISDNs" : "Show MSISDNs";
    show();
  };
  button.addEventListener("click", () => {
    if (live.whole) { forget(); showWhole(false); return; }
    wrong.textContent = "";
    token.value = "";
    dialog.showModal();
  });
  document.getElementById("ask-cancel").addEventListener("click", () => dialog.close());
  document.getElementById("ask-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (await present(token.value.trim())) { dialog.close(); showWhole(true); return; }
    wrong.textContent = "Wrong token.";
    token.select();
  });
}

// Fragments of the URL select views, so the skip link moves the focus by script.
document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
addEventListener("hashchange", () => { show(); main.focus({ preventScroll: true }); scrollTo(0, 0); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
colours();
show();
masking();
listen();
