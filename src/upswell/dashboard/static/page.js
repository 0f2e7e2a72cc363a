// The frame: which view is shown, whether the page is live, colours, and the token.

import { forget, get, present } from "./ask.js";
import { campaign } from "./campaign.js";
import { flow } from "./flow.js";
import { health } from "./health.js";
import { h } from "./parts.js";
import { moment, plural, span } from "./words.js";

const VIEWS = { flow: [flow, "Flow"], campaign: [campaign, "Campaign"], health: [health, "Health"] };
const AGAIN_MS = 2000; // however often there is news, a view asks no more often, unless it says so itself
const ANYWAY_MS = 15000; // ages and disks change without a commit

const main = document.getElementById("main");
const pill = document.getElementById("pill");
const banner = document.getElementById("banner");
let view = null, asking = false, again = false, askedAt = 0, timer = 0, live = null;
let due = 0; // looks that the last news is worth: what answers the first may be of the moment before

async function refresh() {
  clearTimeout(timer);
  if (asking) { again = true; return; }
  const againMs = view.againMs ?? AGAIN_MS;
  const wait = askedAt + againMs - Date.now();
  if (wait > 0) { timer = setTimeout(refresh, wait); return; }
  asking = true;
  askedAt = Date.now();
  await Promise.allSettled([view.refresh(), tellRun()]);
  asking = false;
  due = Math.max(0, due - 1);
  timer = setTimeout(refresh, again || due ? againMs : ANYWAY_MS);
  again = false;
}

async function tellRun() {
  const found = await get("/api/health").catch((error) => error);
  if (found instanceof Error) {
    if (found.code >= 500) { pill.className = "pill bad"; pill.replaceChildren("State unreadable"); }
    return;
  }
  const urgent = found.needs.some((need) => need.level === "page");
  const age = found.commit_age_s === null ? "nothing committed yet" : `last commit ${span(found.commit_age_s).join(" ")} ago`;
  pill.className = `pill ${found.running ? (urgent ? "bad" : found.well ? "good" : "warn") : urgent ? "bad" : ""}`;
  // What the colour says is said in words, too, on any screen.
  pill.replaceChildren(found.running ? "Running" : "Not running",
    found.well ? h("span", { class: "more" }, `, ${age}`) : `, ${plural(found.needs.length, "alert")}`);
  pill.title = age;
  document.getElementById("foot").textContent = `As of ${moment(found.now)}. Read-only; dials are ${live?.whole ? "whole" : "masked"}.`;
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
    banner.textContent = "Not connected: the figures below are the last ones that came. Trying again…";
    banner.hidden = false;
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
  });
}

function colours() {
  const button = document.getElementById("theme");
  const names = ["auto", "light", "dark"], words = { auto: "Auto", light: "Light", dark: "Dark" };
  let now = "auto";
  try { now = names.includes(localStorage.theme) ? localStorage.theme : "auto"; } catch { /* no storage: as the system has it */ }
  const set = () => {
    if (now === "auto") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = now;
    button.textContent = words[now];
    button.setAttribute("aria-label", `Colours: ${now === "auto" ? "as the system has them" : now}`);
  };
  button.addEventListener("click", () => {
    now = names[(names.indexOf(now) + 1) % names.length];
    try { localStorage.theme = now; } catch { /* it holds for this page alone */ }
    set();
  });
  set();
}

async function dials() {
  const button = document.getElementById("whole"), dialog = document.getElementById("ask");
  const token = document.getElementById("token"), wrong = document.getElementById("ask-wrong");
  live = await get("/api/access").catch(() => ({ possible: false, whole: false }));
  button.hidden = !live.possible;
  const told = (whole) => {
    live.whole = whole;
    button.textContent = whole ? "Mask dials" : "Show dials";
    show();
  };
  button.addEventListener("click", () => {
    if (live.whole) { forget(); told(false); return; }
    wrong.textContent = "";
    token.value = "";
    dialog.showModal();
  });
  document.getElementById("ask-cancel").addEventListener("click", () => dialog.close());
  document.getElementById("ask-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (await present(token.value.trim())) { dialog.close(); told(true); return; }
    wrong.textContent = "That is not the token.";
    token.select();
  });
}

// The page's own addresses are views, so the skip link moves the focus itself.
document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
addEventListener("hashchange", () => { show(); main.focus({ preventScroll: true }); scrollTo(0, 0); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
colours();
show();
dials();
listen();
