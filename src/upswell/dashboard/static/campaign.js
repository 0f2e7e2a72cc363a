// Campaign, for campaign managers: what was sent and when, who is close to a threshold, why a customer was notified or not.

import { explain, get } from "./ask.js";
import { columns, line } from "./charts.js";
import { picker } from "./days.js";
import { OLD, card, empty, figures, filled, h, shower, table, sentence, turns } from "./parts.js";
import { count, day, moment, plural, shortDay, size, words } from "./words.js";

const AGAIN_MS = 10000; // counting a day's notifications takes a while
const SECONDS_SHOWN_MS = 600000; // on shorter axes, labels have seconds
const VERDICTS_SHOWN = 6, TOTALS_SHOWN = 4; // a customer may have lines on every day

export function campaign(root) {
  const counts = h("div", { class: "figures" });
  const pick = picker("campaign-day", () => refresh());
  const hours = card("Notifications by application and hour");
  const days = card("Day by day", { className: "half" });
  const near = card("Close to a threshold", { className: "half", aside: "open days" });
  const one = card("One customer");
  const story = h("div", { class: "story", "aria-live": "polite" });
  const history = card("Rules, segment and policies", { className: "half" });
  const reports = card("What-if reports", { className: "half" });
  const show = shower(), turn = turns();

  root.replaceChildren(
    h("div", { class: "head" }, h("div", {}, h("h1", {}, "Campaign"), h("p", {}, "Who was notified, when, and who came close?")), pick.element),
    h("div", { class: "grid" }, counts, hours.element, days.element, near.element, one.element, history.element, reports.element));

  const about = h("select", { id: "about" }, h("option", { value: "" }, "all applications"));
  get("/api/access").then(({ possible, whole }) => {
    if (whole) return one.show([askForm(about, story), story], "recomputed from the kept files and compared with the state");
    return one.show([empty(possible
      ? "Looking up a customer requires the token: choose Show MSISDNs and enter it."
      : "Looking up customers is turned off. To turn it on, start this page with --token-file.")]);
  }, () => one.show([empty("The server did not say if look-ups are allowed: reload the page.")]));
  near.show([
    h("p", { class: "empty" }, "Customers who came closest to a threshold without exceeding it. Loading them takes about as long as starting a run."),
    h("button", { type: "button", "data-focus": "near", onclick: (event) => look(event.target) }, "Load now"),
  ]);

  async function look(button) {
    button.disabled = true;
    button.textContent = "Loading…";
    try {
      const found = await get("/api/near");
      near.show([
        found.nearest.length ? nearTable(found.nearest) : empty("No customer is close to a threshold on an open day."),
        h("p", { class: "empty" }, h("button", { type: "button", class: "quiet", "data-focus": "near", onclick: (event) => look(event.target) }, "Load again")),
      ], `as of batch ${count(found.batch)}`);
    } catch (error) { near.fail(error); }
  }

  async function refresh() {
    const fresh = turn();
    const found = fresh(get(`/api/campaign${pick.day ? `?day=${pick.day}` : ""}`));
    await Promise.all([
      found.then((each) => {
        pick.offer(each.days.map((one) => one.day).reverse());
        counts.replaceChildren(...figures(dayFigures(each)));
        offerNames(each.applications.map((one) => one.name));
      }).catch((error) => { if (error !== OLD) counts.replaceChildren(); }),
      show(hours, found, (each) => [drawHours(each), each.day ? `${day(each.day)}, hours in ${each.timezone}` : ""]),
      show(days, found, (each) => [drawDays(each), "notifications, all applications"]),
      show(history, get("/api/history"), (each) => [drawHistory(each)]),
      show(reports, get("/api/reports"), (each) => [drawReports(each)]),
    ]);
  }

  function offerNames(names) {
    const chosen = about.value;
    about.replaceChildren(h("option", { value: "" }, "all applications"), ...names.map((name) => h("option", { value: name }, name)));
    about.value = names.includes(chosen) ? chosen : "";
  }
  return { refresh, againMs: AGAIN_MS };
}

const sum = (numbers) => numbers.reduce((total, n) => total + n, 0);

function dayFigures(found) {
  const { applications: every, usual_days: before } = found;
  const total = sum(every.map((each) => each.total)), usual = sum(every.map((each) => each.usual_total));
  const best = [...every].sort((a, b) => b.total - a.total)[0];
  // A day that is not over is compared with other days up to the same hour: the hours that are over in the data.
  const until = found.hours_over;
  const [now, then] = ["hours", "usual_hours"].map((name) => sum(every.flatMap((each) => each[name].slice(0, until))));
  const change = then ? `${now >= then ? "+" : "−"}${Math.abs(Math.round((100 * (now - then)) / then))}%` : "–";
  return [
    { name: "Notified on this day", value: count(total), note: found.day ? day(found.day) : "no notifications yet" },
    { name: "Usual day", value: before.length ? count(Math.round(usual)) : "–", note: before.length ? `mean of the ${plural(before.length, "day")} before` : "no earlier day" },
    { name: "Compared with usual", value: change, note: !then ? "nothing to compare with" : until < 24 ? `up to ${until}:00` : "full day" },
    { name: "Most notified", value: best?.total ? best.name : "–", note: best?.total ? `${count(best.total)} on this day` : "" },
    { name: "Applications", value: count(every.length), note: plural(sum(every.map((each) => each.rules.length)), "rule") },
    ...(found.control ? [{ name: "Control group", value: count(found.control), note: "withheld on this day" }] : []),
  ];
}

function windows(rules) {
  return rules.flatMap((rule) => {
    const [from, to] = [rule.start_min / 60, rule.end_min / 60];
    return from < to ? [[from, to]] : [[from, 24], [0, to]];
  });
}

function drawHours(found) {
  if (!found.applications.length) return empty("No rules yet.");
  if (found.pruned) return empty("The notifications of this day are no longer kept (keep_notifications_days), only their number. Hours are not available.");
  const past = found.usual_days.length > 0;
  const charts = found.applications.map((each) => {
    const rows = each.hours.map((value, hour) => ({
      label: `${String(hour).padStart(2, "0")}:00`, value, usual: each.usual_hours[hour],
      tip: `${hour}:00 to ${hour + 1}:00\n${plural(value, "notification")}${past ? `\n${count(each.usual_hours[hour])} on a usual day` : ""}`,
    }));
    const ruled = each.rules.map((rule) => `more than ${count(rule.threshold)} in ${rule.window}`).join(", ") || "no active rule";
    return h("article", { class: "app" },
      h("header", {}, h("h3", {}, each.name), h("span", { class: "total" }, count(each.total), past ? h("small", {}, `usual ${count(Math.round(each.usual_total))}`) : null)),
      h("p", {}, ruled),
      columns({
        label: `${each.name}: ${plural(each.total, "notification")} by hour`, unit: "notifications", rows, every: 6, height: 150,
        windows: windows(each.rules), heads: past ? ["Hour", "Notifications", "Usual"] : ["Hour", "Notifications"], focus: `hours of ${each.name}`,
      }));
  });
  return [h("div", { class: "apps" }, charts), h("ul", { class: "key" },
    h("li", {}, h("span", { class: "swatch bar" }), "this day"),
    past ? h("li", {}, h("span", { class: "swatch usual" }), "usual day") : null,
    h("li", {}, h("span", { class: "swatch window" }), "hours of the rule"))];
}

function drawDays(found) {
  if (!found.days.length) return empty("No notifications yet.");
  const rows = found.days.map((each) => {
    const value = sum(Object.values(each.notifications));
    const parts = Object.entries(each.notifications).sort((a, b) => b[1] - a[1]).slice(0, 6).map(([name, n]) => `${name} ${count(n)}`);
    return { label: shortDay(each.day), long: day(each.day), value, past: each.day !== found.day, tip: `${day(each.day)}\n${plural(value, "notification")}\n${parts.join("\n")}` };
  });
  return columns({ label: "Notifications by day", unit: "notifications", rows, every: Math.ceil(rows.length / 5), height: 220, heads: ["Day", "Notifications"], focus: "days" });
}

function nearTable(rows) {
  return table("Customers close to a threshold", [
    { name: "Customer", className: "name", cell: (row) => row.msisdn },
    { name: "Application", className: "words", cell: (row) => [row.application, h("span", { class: "why" }, `${row.window}, ${day(row.day)}`)] },
    { name: "Total", number: true, cell: (row) => `${count(row.total)} of ${count(row.threshold)}` },
    { name: "", cell: (row) => h("div", { class: "meter", role: "img", "aria-label": `${Math.floor((100 * row.total) / (row.threshold || 1))}% of the threshold` }, filled("", row.total, row.threshold || 1)) },
  ], rows, { high: true });
}

function askForm(about, story) {
  const msisdn = h("input", { id: "msisdn", required: true, inputmode: "tel", autocomplete: "off", spellcheck: "false", pattern: "\\+?[0-9]{5,15}", title: "5 to 15 digits", placeholder: "0126545098" });
  const when = h("input", { id: "when", type: "date" });
  const button = h("button", { type: "submit" }, "Explain");
  return h("form", {
    class: "ask",
    onsubmit: async (event) => {
      event.preventDefault();
      button.disabled = true;
      story.replaceChildren(empty("Reading the kept files…"));
      try {
        story.replaceChildren(...drawStory(await explain({ msisdn: msisdn.value, about: about.value, day: when.value })));
      } catch (error) {
        story.replaceChildren(h("p", { class: "fault" }, sentence(error)));
      }
      button.disabled = false;
    },
  },
  h("div", {}, h("label", { for: "msisdn" }, "Customer (MSISDN)"), msisdn),
  h("div", {}, h("label", { for: "about" }, "Application"), about),
  h("div", {}, h("label", { for: "when" }, "Day"), when), button);
}

function drawStory(found) {
  const member = found.segment.length ? found.segment.map((each) => `${each.in_segment ? "in" : "not in"} the segment since batch ${count(each.first_batch)}`).join(", then ") : "no segment has been used yet";
  const parts = [h("p", {}, h("b", {}, found.msisdn), `: ${member}. `, plural(found.lines.length, "line"), " in the kept files.")];
  const verdicts = [...found.verdicts].sort((a, b) => b.day - a.day || sent(b) - sent(a));
  parts.push(...some(verdicts, VERDICTS_SHOWN, "result", (few) => h("ul", { class: "verdicts" }, few.map((each) =>
    h("li", { class: sent(each) ? "good" : "" }, h("b", {}, `${day(each.day)}, ${each.about}: `), each.why)))));
  parts.push(...some(drawTotals(found.lines), TOTALS_SHOWN, "running total", (few) => h("div", { class: "totals" }, few)));
  if (found.lines.length) parts.push(h("h3", {}, "All lines"), lineTable(found.lines));
  if (found.not_taken.length) {
    parts.push(h("h3", {}, "Not processed"), h("ul", {}, found.not_taken.map((each) =>
      h("li", {}, `${each.file}: ${each.lines === null ? "" : `${plural(each.lines, "line")} with this number, `}${each.why}`))));
  }
  const proof = [...found.differences.map((each) => `The state differs: ${each}`), ...found.unproven.map((each) => `Not proven: ${each}`)];
  parts.push(h("p", { class: proof.length ? "fault" : "empty" }, proof.length ? proof.join(" ") : "The state agrees."));
  return parts;
}

const sent = (verdict) => Number(verdict.why.includes("sent to"));

/** Draw the first few, and the others behind a summary. */
function some(list, most, noun, draw) {
  const rest = list.slice(most);
  return [list.length ? draw(list.slice(0, most)) : null,
    rest.length ? h("details", { class: "extra" }, h("summary", {}, plural(rest.length, `more ${noun}`)), draw(rest)) : null].filter(Boolean);
}

/** Draw a running total with its threshold, for each window and day in which something was counted. */
function drawTotals(lines) {
  const groups = new Map();
  for (const each of lines) {
    if (each.window === null || each.total === null) continue;
    const key = `${each.application}, ${each.window}, ${day(each.day)}`;
    groups.set(key, [...(groups.get(key) ?? []), each]);
  }
  const forms = [{}, { second: "2-digit" }].map((more) => new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", ...more, timeZone: "UTC" }));
  // Totals that led to a notification first, then the newest.
  const has = ([, some]) => Number(some.some((each) => each.outcome === "notified"));
  return [...groups].reverse().sort((a, b) => has(b) - has(a)).map(([title, some]) => {
    // A late-arriving record is drawn where it was added, since the total only grows.
    let reached = -Infinity;
    const points = some.map((each) => ({
      t: (reached = Math.max(reached, Date.parse(`${each.at}Z`))), value: each.total, kind: each.outcome,
      tip: `${each.at.slice(11)}  +${count(each.volume)}\ntotal ${count(each.total)} of ${count(each.threshold)}\n${words(each.outcome)}`,
    }));
    const form = forms[Number(points.at(-1).t - points[0].t < SECONDS_SHOWN_MS)];
    const { threshold } = some.at(-1);
    return h("section", {}, h("h3", {}, title), line({
      label: `Running total: ${title}, threshold ${count(threshold)}`, unit: "volume", points, stepped: true,
      threshold: { value: threshold, words: `threshold ${count(threshold)}` },
      timeLabels: (from, until, wanted) => until > from
        ? Array.from({ length: wanted }, (_, at) => from + ((until - from) * at) / (wanted - 1)).map((t) => [t, form.format(t)]) : [[from, form.format(from)]],
      heads: ["Time", "Volume", "Total"], cells: some.map((each) => [each.at.slice(11), count(each.volume), count(each.total)]), focus: `total of ${title}`,
    }));
  });
}

function lineTable(lines) {
  const kinds = { notified: "good", counted: "accent", rejected: "bad" };
  return table("All lines of the customer", [
    { name: "When", cell: (row) => (row.at ? row.at.replace("T", " ") : "–") },
    { name: "Service", cell: (row) => (row.service === null ? "–" : `${row.service}${row.application ? ` ${row.application}` : ""}`) },
    { name: "Volume", number: true, cell: (row) => (row.volume === null ? "–" : count(row.volume)) },
    { name: "Outcome", className: "words", cell: (row) => [h("span", { class: `tag ${kinds[row.outcome] ?? ""}` }, words(row.outcome)), h("span", { class: "why" }, row.why)] },
    { name: "Where", cell: (row) => `${row.file}:${row.line}` },
  ], lines, { high: true });
}

function drawHistory(found) {
  if (!found.edits.length && !found.refused) return empty("No version yet.");
  const edits = [...found.edits].reverse();
  const isOlder = (edit) => edit.counted_from > edit.first_batch;
  const of = (edit) => isOlder(edit) && !edit.batches ? "too old to be counted here; see upswell history" : `${isOlder(edit) ? "the newest " : ""}${plural(edit.batches, "batch")}, ${plural(edit.lines, "line")}, ${plural(edit.notifications, "notification")}`;
  const isFirst = (edit) => !found.older && edits.findLast((each) => each.kind === edit.kind) === edit;
  return h("ul", { class: "time" },
    found.refused ? h("li", { class: "refused" }, h("p", { class: "when" }, moment(found.refused.at), h("span", { class: "tag bad" }, "refused")), h("p", {}, found.refused.words)) : null,
    edits.map((edit) => h("li", {},
      h("p", { class: "when" }, moment(edit.at), h("span", { class: "tag" }, edit.kind), edit.in_force ? h("span", { class: "tag good" }, "active") : null),
      h("p", {}, edit.words || (isFirst(edit) ? `First ${{ suppress: "suppression list", zones: "tables of the time zones" }[edit.kind] ?? edit.kind}` : "No difference")),
      h("p", { class: "when" }, `${edit.version.slice(0, 12) || "off"} from batch ${count(edit.first_batch)}: ${of(edit)}`))),
    found.older ? h("li", {}, h("p", { class: "when" }, `${plural(found.older, "older change")}: see upswell history`)) : null);
}

function drawReports(found) {
  if (!found.place) return empty("To list reports here, start the page with --reports DIR and write them with `upswell whatif --report DIR/name.html`.");
  if (!found.reports.length) return empty("No reports yet. Create one with `upswell whatif --rules NEW --report …`.");
  return table("Reports", [
    { name: "Report", className: "name", cell: (row) => h("a", { href: `/reports/${encodeURIComponent(row.name)}`, target: "_blank", rel: "noopener" }, row.name) },
    { name: "Written", cell: (row) => moment(new Date(row.written_s * 1000).toISOString()) },
    { name: "Size", number: true, cell: (row) => size(row.bytes).join(" ") },
  ], found.reports);
}
