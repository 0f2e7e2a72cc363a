// Health, for whoever is on call: does anything need attention, how far behind is the run, and why was it restarted.

import { get } from "./ask.js";
import { columns } from "./charts.js";
import { card, empty, figures, h, shower, table } from "./parts.js";
import { compact, moment, plural, size, span, stamp } from "./words.js";

export function health(root) {
  const needs = card("Alerts");
  const counts = h("div", { class: "figures" });
  const rate = card("Lines per minute", { className: "wide" });
  const place = card("The run", { className: "third" });
  const runs = card("Recent runs", { className: "half" });
  const versions = card("Active reference and settings", { className: "half" });
  const show = shower();
  root.replaceChildren(
    h("div", { class: "head" }, h("div", {}, h("h1", {}, "Health"), h("p", {}, "Does anything need attention, and what should be done?"))),
    h("div", { class: "grid" }, needs.element, counts, rate.element, place.element, runs.element, versions.element));

  async function refresh() {
    const found = get("/api/health");
    await Promise.all([
      found.then((each) => counts.replaceChildren(...figures(runFigures(each)))).catch(() => counts.replaceChildren()),
      show(needs, found.then((each) => each.needs), (each) => [drawNeeds(each)]),
      show(place, found, (each) => [drawPlace(each)]),
      show(runs, found.then((each) => each.runs), (each) => [drawRuns(each)]),
      show(rate, found.then((each) => each.rate), (each) => [drawRate(each), each.length ? `last hour, up to ${moment(`${each.at(-1).minute}:00`)}` : ""]),
      show(versions, get("/api/status"), (each) => [drawVersions(each)]),
    ]);
  }
  return { refresh };
}

function drawNeeds(needs) {
  if (!needs.length) return h("ul", { class: "needs" }, h("li", { class: "well" }, h("span", { class: "tag" }, "ok"), h("b", {}, "Nothing needs attention."), h("span", { class: "next" }, "A run is active, no file has been waiting for long, and none is held.")));
  return h("ul", { class: "needs" }, needs.map((need) => h("li", { class: need.level },
    h("span", { class: "tag" }, need.level === "page" ? "now" : "soon"), h("b", {}, need.words), h("span", { class: "next" }, `${need.next} (${need.alert} in docs/operations.md)`))));
}

function runFigures(found) {
  const age = found.commit_age_s === null ? ["–", ""] : span(found.commit_age_s);
  const waits = found.oldest_waiting_s ? span(found.oldest_waiting_s) : ["0", "s"];
  const backlog = size(found.backlog_bytes);
  const minute = new Date(Date.parse(found.now) - 60000).toISOString().slice(0, 16); // the last full minute
  const lines = found.rate.find((each) => each.minute === minute)?.lines ?? 0;
  const state = size(Object.values(found.state_bytes).reduce((sum, n) => sum + n, 0));
  const free = Object.values(found.disk_free_bytes).length ? size(Math.min(...Object.values(found.disk_free_bytes))) : ["–", ""];
  const memory = found.memory_bytes ? size(found.memory_bytes.now) : ["–", ""];
  return [
    { name: "Last commit", value: age[0], unit: age[1] && `${age[1]} ago`, note: found.newest_stamp ? `newest stamp ${stamp(found.newest_stamp)}` : "nothing committed yet" },
    { name: "Oldest waiting", value: waits[0], unit: waits[1], level: found.oldest_waiting_s > 600 ? "bad" : "", note: found.backlog_files ? "since its last change" : "no files waiting" },
    { name: "Backlog", value: backlog[0], unit: backlog[1], note: plural(found.backlog_files, "file") },
    { name: "Lines/s", value: compact(Math.round(lines / 60)), note: `in minute ${minute.slice(11)} UTC` },
    { name: "Memory", value: memory[0], unit: memory[1], note: found.memory_bytes ? `peak ${size(found.memory_bytes.peak).join(" ")}` : found.running ? "on another host or of another user" : "no active run" },
    { name: "State", value: state[0], unit: state[1], note: `including ${size(found.state_bytes.rejects).join(" ")} of rejects` },
    { name: "Disk free", value: free[0], unit: free[1], level: Object.values(found.disk_free_bytes).some((n) => n < 2e9) ? "bad" : "", note: "for state and OUTPUT" },
  ];
}

function drawRate(rate) {
  if (!rate.length) return empty("Nothing committed yet.");
  const rows = rate.map((each) => ({
    label: each.minute.slice(11), long: each.minute.replace("T", " "), value: each.lines,
    tip: `${each.minute.slice(11)} UTC\n${plural(each.lines, "line")}\n${size(each.bytes).join(" ")}\n${plural(each.batches, "commit")}`,
  }));
  return columns({ label: "Lines committed in each minute of the last hour", unit: "lines per minute", rows, every: 15, height: 220, heads: ["Minute", "Lines"], focus: "rate" });
}

const pairs = (rows) => h("dl", { class: "pairs" }, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));

function drawPlace(found) {
  return pairs([
    ["Active run", found.running ? found.holder : "none"],
    ["Ready", found.running ? (found.needs.some((need) => need.level === "page") ? "yes, but see the alerts" : "yes") : "no"],
    ["Database", size(found.state_bytes.database).join(" ")],
    ["Rejects", size(found.state_bytes.rejects).join(" ")],
    ...Object.entries(found.disk_free_bytes).map(([name, n]) => [`Free, ${name}`, size(n).join(" ")]),
    ["As of", moment(found.now)],
  ]);
}

function drawRuns(runs) {
  if (!runs.length) return empty("No runs recorded yet.");
  return table("Runs", [
    { name: "Started", className: "name", cell: (run) => moment(run.began) },
    { name: "Result", className: "words", cell: (run) => (run.why
      ? [h("span", { class: `tag ${run.code === 0 ? "good" : "bad"}` }, run.code === null ? "killed" : `exit ${run.code}`), h("span", { class: "why" }, run.why)]
      : h("span", { class: "tag accent" }, "active")) },
    { name: "Ended", className: "moment", cell: (run) => (run.ended ? moment(run.ended) : run.why ? "unknown" : "active") },
  ], runs, { high: true });
}

function drawVersions(found) {
  const settings = found.settings;
  return pairs([
    ...found.reference.map((each) => [`${each.kind} version`, `${each.version.slice(0, 12)}, since ${moment(each.taken_at)}`]),
    ...["data", "segment", "rules", "output", "data_timezone", "rules_timezone", "measure"].filter((name) => settings[name]).map((name) => [name.replaceAll("_", " "), settings[name]]),
  ]);
}
