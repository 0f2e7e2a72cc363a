// Flow, for data engineers: are all files in, what happened to their lines, what was rejected.

import { get } from "./ask.js";
import { picker } from "./days.js";
import { OLD, card, empty, figures, filled, h, point, shower, table, turns, unpoint } from "./parts.js";
import { clock, count, day, daysBetween, moment, plural, share, size, span, words } from "./words.js";

const TAGS = { done: "good", held: "bad", gone: "bad", missing: "bad", waiting: "accent", reading: "accent" };
const KEYS = [
  ["done", ["done"], "done"], ["late", ["late"], "late"], ["missing", ["missing"], "missing"], ["held", ["held", "gone"], "held or gone"],
  ["waiting", ["waiting", "reading"], "being read"], ["duplicate", ["duplicate", "skipped", "continued"], "duplicate, skipped or continued"],
];
const SHOWN_MAX = 200;
const MISSING_DAYS = 7; // days in which missing files are detected

export function flow(root) {
  const counts = h("div", { class: "figures" });
  const pick = picker("flow-day", () => refresh());
  const minutes = card("Minutes of the day", { className: "" });
  const funnel = card("From line to notification", { className: "half" });
  const rejects = card("Rejected lines", { className: "half" });
  const files = card("Files");
  const only = h("select", { id: "flow-state", "data-focus": "flow-state" });
  only.addEventListener("change", () => files.show(...drawFiles()));
  const show = shower(), turn = turns(), here = { stamp: "" };
  let listed = null, states = "";

  root.replaceChildren(
    h("div", { class: "head" }, h("div", {}, h("h1", {}, "Flow"), h("p", {}, "Are all files in, and what happened to their lines?")), pick.element),
    h("div", { class: "grid" }, counts, minutes.element, funnel.element, rejects.element, files.element));

  const drawFiles = () => {
    const found = [...new Set(listed.files.map((file) => file.state))].sort();
    if (found.join() !== states) {
      states = found.join();
      const chosen = only.value;
      only.replaceChildren(h("option", { value: "" }, "all states"), ...found.map((each) => h("option", { value: each }, each)));
      only.value = found.includes(chosen) ? chosen : "";
    }
    const rows = listed.files.filter((file) => !only.value || file.state === only.value);
    const shown = rows.slice(0, SHOWN_MAX);
    return [[
      h("div", { class: "pick" }, h("label", { for: "flow-state" }, "Show"), only),
      rows.length ? fileTable(shown) : empty("No files for this day yet."),
      rows.length > shown.length ? empty(`and ${plural(rows.length - shown.length, "older file")}: see upswell status --files`) : null,
    ], `${plural(rows.length, "file")} of ${day(listed.day)}`];
  };

  async function refresh() {
    const asked = pick.day ? `?day=${pick.day}` : "";
    const fresh = turn();
    const status = fresh(get("/api/status")), shown = fresh(get(`/api/minutes${asked}`));
    const none = (error) => { if (error === OLD) throw error; return null; };
    await Promise.all([
      status.then((found) => pick.offer(found.days)).catch(() => null),
      Promise.all([status, shown.catch(none)]).then(([found, one]) => counts.replaceChildren(...figures(fileFigures(found, one))))
        .catch((error) => { if (error !== OLD) counts.replaceChildren(); }),
      show(funnel, shown.then((found) => ({ day: found.day, stages: found.funnel })), ({ day: of, stages }) =>
        [stages[0].lines ? drawFunnel(stages) : empty("No lines read yet. Files are read as they arrive in DATA."), day(of)]),
      show(minutes, shown, (found) => [drawMinutes(found, here), minutesNote(found)]),
      show(rejects, fresh(get(`/api/rejects${asked}`)), (found) => [drawRejects(found), day(found.day)]),
      show(files, fresh(get(`/api/files${asked}`)), (found) => { listed = found; return drawFiles(); }),
    ]);
  }
  return { refresh };
}

const arrived = (files) => Object.entries(files).reduce((sum, [state, n]) => sum + (state === "ignored" ? 0 : n), 0);

/** Return the figures of one day's files, with those of all days as notes. one: null if no file has arrived. */
function fileFigures(status, one) {
  const { files: all, cadence, archive } = status;
  const files = one?.files ?? Object.fromEntries(Object.keys(all).map((state) => [state, 0]));
  const came = arrived(files), held = files.held + files.gone, stuck = all.held + all.gone;
  const ofAll = (n) => `${count(n)} on all days`;
  const missing = one?.counts.missing ?? 0;
  // On older days, missing files are not detected; on a day without files, only those found are known.
  const ago = one ? daysBetween(one.day, status.days[0]) : 0;
  const looked = !one || (ago >= 0 && ago < MISSING_DAYS && (missing > 0 || status.days.includes(one.day)));
  return [
    { name: "Arrived", value: count(came), note: ofAll(arrived(all)) + (all.ignored ? `; ${plural(all.ignored, "other name")} ignored` : "") },
    { name: "Done", value: count(files.done), note: came ? `${share(files.done, came)} of the day's` : "" },
    { name: "Waiting", value: count(files.waiting + files.reading), note: files.reading ? "read up to their current end" : files.waiting ? "not ready to be read" : "no files waiting" },
    { name: "Late", value: count(one?.late_files ?? 0), level: one?.late_files ? "warn" : "", note: `after a newer file; ${ofAll(status.late_files)}` },
    { name: "Missing", value: looked ? count(missing) : "–", level: looked && missing ? "bad" : "", note: `${count(cadence.missing_files)} in the last ${MISSING_DAYS} days` },
    { name: files.gone ? "Held or gone" : "Held", value: count(held), level: held ? "bad" : "", note: `${ofAll(stuck)}${stuck ? " need attention" : ""}` },
    ...(archive.held.length ? [{ name: "Not archived", value: count(archive.held.length), level: "warn", note: "need manual action: see upswell status" }] : []),
  ];
}

function minutesNote(found) {
  const every = found.cadence_s ? `one file every ${span(found.cadence_s).join(" ")}` : "no fixed interval";
  return `${day(found.day)}, ${every}, times in ${found.timezone}`;
}

/** Draw the minutes. here: the stamp selected by keyboard, kept while the day grows. */
function drawMinutes(found, here) {
  if (!found.cells.length) return empty("No files for this day yet.");
  const step = Math.min(60, Math.max(1, (found.cadence_s || 60) / 60));
  const wide = Math.round(60 / step);
  const hours = found.cells.map((cell) => Number(cell.stamp.slice(8, 10)));
  const [first, last] = [Math.min(...hours), Math.max(...hours)];
  const by = new Map(found.cells.map((cell) => [`${Number(cell.stamp.slice(8, 10))}:${Math.floor(Number(cell.stamp.slice(10)) / step)}`, cell]));
  const cells = [];
  const rows = [];
  for (let hour = first; hour <= last; hour += 1) {
    const row = h("div", { class: "cells" });
    row.style.gridTemplateColumns = `repeat(${wide}, minmax(0, 1fr))`;
    for (let at = 0; at < wide; at += 1) {
      const cell = by.get(`${hour}:${at}`);
      const refused = cell && cell.lines && cell.rejected > cell.lines / 100;
      const box = h("div", { class: `cell ${cell?.state ?? ""} ${refused ? "rejects" : ""}` });
      if (cell) { box.dataset.at = cells.length; cells.push([box, cell]); }
      row.append(box);
    }
    rows.push(h("div", { class: "hour" }, String(hour).padStart(2, "0")), row);
  }
  // The axis: a mark every ten minutes.
  const marks = h("div", { class: "marks" }, [0, 10, 20, 30, 40, 50].map((minute) => h("span", {}, `:${String(minute).padStart(2, "0")}`)));
  rows.push(h("div", { class: "hour" }, "hour"), marks);
  const counts = Object.entries(found.counts).map(([state, n]) => `${count(n)} ${state}`).join(", ");
  const grid = h("div", { class: "minutes", tabindex: "0", role: "img", "aria-label": `Minutes of ${day(found.day)}: ${counts}. Use the arrow keys to read each.`, "data-focus": "minutes" }, rows);
  const at = () => cells.findIndex(([, cell]) => cell.stamp === here.stamp);
  const mark = (index, aloud) => {
    leave();
    const [box, cell] = cells[index];
    here.stamp = cell.stamp;
    box.classList.add("here");
    const place = box.getBoundingClientRect();
    point(minuteText(cell), place.left, place.top, aloud);
  };
  const leave = () => { grid.querySelector(".here")?.classList.remove("here"); unpoint(); };
  grid.addEventListener("pointerover", (event) => { if (event.target.dataset.at) mark(Number(event.target.dataset.at), false); else leave(); });
  grid.addEventListener("pointerleave", leave);
  grid.addEventListener("blur", leave);
  grid.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: wide, ArrowUp: -wide, Home: -cells.length, End: cells.length };
    if (!(event.key in steps)) return;
    event.preventDefault();
    mark(Math.max(0, Math.min(cells.length - 1, at() + steps[event.key])), true);
  });
  const keys = KEYS.map(([state, states, name]) => [state, name, states.reduce((sum, each) => sum + (found.counts[each] ?? 0), 0)])
    .filter(([state, , n]) => n || state !== "duplicate")
    .map(([state, name, n]) => h("li", {}, h("span", { class: `cell ${state}` }), name, h("b", {}, count(n))));
  if (cells.some(([box]) => box.classList.contains("rejects"))) keys.push(h("li", {}, h("span", { class: "cell done rejects" }), "more than 1% of its lines rejected"));
  return [grid, h("ul", { class: "key" }, keys)];
}

function minuteText(cell) {
  if (cell.state === "missing") return `${clock(cell.stamp)} missing`;
  return `${clock(cell.stamp)} ${cell.state}\n${plural(cell.lines, "line")}\n${count(cell.rejected)} rejected\n${count(cell.notified)} notified`;
}

function drawFunnel(stages) {
  const all = stages[0].lines;
  return h("ul", { class: "bars" }, stages.map((stage) => {
    const lost = Object.entries(stage.lost).filter(([, n]) => n);
    return h("li", {}, h("div", { class: "line" },
      h("span", {}, stage.name),
      h("div", { class: "track" }, filled("fill", stage.lines, all)),
      h("span", { class: "much" }, count(stage.lines), h("small", {}, share(stage.lines, all))),
      lost.length ? h("span", { class: "less" }, lost.map(([name, n]) => `−${count(n)} ${words(name)}`).join("   ")) : null));
  }));
}

function drawRejects(found) {
  const reasons = Object.entries(found.reasons).sort((a, b) => b[1] - a[1]);
  const late = found.late ? empty(`${plural(found.late, "record")} arrived after their day was closed (late-arriving, not malformed).`) : null;
  if (!reasons.length) return [empty("No lines were rejected on this day."), late];
  return [h("ul", { class: "bars" }, reasons.map(([reason, n]) => h("li", {},
    h("div", { class: "line" },
      h("span", {}, words(reason)),
      h("div", { class: "track" }, filled("fill bad", n, reasons[0][1])),
      h("span", { class: "much" }, count(n), h("small", {}, share(n, found.lines)))),
    found.samples[reason] ? h("details", { "data-focus": `samples of ${reason}` }, h("summary", { "data-focus": `summary of ${reason}` }, "Samples"),
      found.samples[reason].map((sample) => h("p", { class: "sample" }, h("span", {}, `${sample.file}:${sample.line}`), sample.raw || "(empty)"))) : null))), late];
}

function fileTable(rows) {
  const dash = (n) => (n ? count(n) : "–");
  return table("Files of the day", [
    { name: "File", className: "name", cell: (file) => [file.name, file.detail && file.state !== "done" && file.state !== "reading" ? h("span", { class: "why" }, file.detail) : null] },
    { name: "State", cell: (file) => [h("span", { class: `tag ${TAGS[file.state] ?? ""}` }, file.state), file.late ? [" ", h("span", { class: "tag warn" }, "late")] : null] },
    { name: "Lines", number: true, cell: (file) => dash(file.lines) },
    { name: "Rejects", number: true, cell: (file) => dash(file.rejected) },
    { name: "Notified", number: true, cell: (file) => dash(file.notified) },
    { name: "Size", number: true, cell: (file) => (file.bytes ? size(file.bytes).join(" ") : "–") },
    { name: "Time taken", number: true, cell: (file) => (file.took_s === null ? "–" : h("span", { title: `from its last change to its commit at ${moment(file.taken_at)}` }, span(file.took_s).join(" "))) },
  ], rows, { high: true });
}
