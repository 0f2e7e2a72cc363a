// Charts in SVG: axes with units, a tooltip for pointer, touch and arrow keys, and a table for users who cannot see them.

import { h, s, table, point, unpoint } from "./parts.js";
import { compact, count } from "./words.js";

const LEFT = 46, RIGHT = 10, TOP = 22, BOTTOM = 24;
const CHARACTER = 7; // approximate width of one, in pixels

/** Return the ticks of an axis of counts, from 0 to at least `most`, in steps of 1, 2 or 5 times a power of ten. */
function ticks(most, wanted) {
  if (!(most > 0)) return [0, 1];
  const raw = most / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max([1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw), 1);
  const found = [];
  for (let at = 0; at < most + step; at += step) found.push(at);
  return found;
}

/** Return a figure that is as wide as its container, and drawn again when that changes. */
function drawn(height, label, draw, places, focus) {
  const svg = s("svg", { role: "img", "aria-label": label, tabindex: "0", "data-focus": focus });
  const figure = h("figure", { class: "chart" }, svg);
  let at = -1, wide = 0, shown = { place: () => 0 };
  const render = () => {
    wide = Math.max(figure.clientWidth, 200);
    svg.setAttribute("viewBox", `0 0 ${wide} ${height}`);
    svg.setAttribute("height", height);
    shown = draw(svg, wide);
  };
  const mark = (index, aloud) => {
    at = index;
    svg.querySelector(".here")?.remove();
    const [left, width] = shown.extent(index);
    svg.append(s("rect", { class: "here", x: left, y: TOP, width, height: height - TOP - BOTTOM }));
    const box = svg.getBoundingClientRect();
    point(places[index], box.left + left + width / 2, box.top + height / 2, aloud);
  };
  const leave = () => { svg.querySelector(".here")?.remove(); unpoint(); };
  svg.addEventListener("pointermove", (event) => {
    const x = event.clientX - svg.getBoundingClientRect().left;
    const index = shown.nearest(x);
    if (index >= 0) mark(index, false); else leave();
  });
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("blur", leave);
  svg.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -places.length, End: places.length };
    if (!(event.key in steps) || !places.length) return;
    event.preventDefault();
    mark(Math.max(0, Math.min(places.length - 1, at + steps[event.key])), true);
  });
  new ResizeObserver(() => { if (Math.abs(figure.clientWidth - wide) > 1) render(); }).observe(figure);
  return figure;
}

function axes(svg, wide, height, most, unit) {
  const marks = ticks(most, 3), top = marks.at(-1);
  const y = (value) => height - BOTTOM - (value / top) * (height - TOP - BOTTOM);
  const lines = marks.map((mark) => s("g", {},
    s("line", { class: mark ? "rule" : "base", x1: LEFT, x2: wide - RIGHT, y1: y(mark), y2: y(mark) }),
    s("text", { x: LEFT - 7, y: y(mark) + 4, "text-anchor": "end" }, compact(mark))));
  return { y, parts: [...lines, s("text", { x: 2, y: 12 }, unit)] };
}

/**
 * Return a column chart.
 * rows: [{label, value, usual, past, tip}]; every: label every nth column, or fewer if there is no room;
 * windows: shaded ranges [[from, to]], in columns.
 */
export function columns({ label, unit, rows, every = 1, windows = [], height = 170, heads, focus }) {
  const most = Math.max(...rows.map((row) => Math.max(row.value, row.usual ?? 0)), 0);
  const figure = drawn(height, label, (svg, wide) => {
    const { y, parts } = axes(svg, wide, height, most, unit);
    const step = (wide - LEFT - RIGHT) / rows.length;
    const x = (at) => LEFT + at * step;
    const room = Math.max(...rows.map((row) => row.label.length)) * CHARACTER + 10;
    const beat = every * Math.max(1, Math.ceil(room / (every * step)));
    const usual = rows.some((row) => row.usual)
      ? rows.map((row, at) => `${at ? "L" : "M"}${x(at)} ${y(row.usual)}H${x(at + 1)}`).join("") : "";
    svg.replaceChildren(
      ...windows.map(([from, to]) => s("rect", { class: "window", x: x(from), y: TOP, width: (to - from) * step, height: height - TOP - BOTTOM })),
      ...parts,
      ...rows.map((row, at) => row.value > 0 && s("rect", {
        class: `bar ${row.past ? "past" : ""}`, x: x(at) + step * 0.14, width: step * 0.72, rx: Math.min(3, step / 6),
        y: Math.min(y(row.value), y(0) - 1.5), height: Math.max(y(0) - y(row.value), 1.5),
      })).filter(Boolean),
      ...(usual ? [s("path", { class: "usual", d: usual })] : []),
      ...rows.map((row, at) => at % beat === 0 && s("text", { x: x(at) + step / 2, y: height - 7, "text-anchor": "middle" }, row.label)).filter(Boolean));
    return {
      extent: (at) => [x(at), step],
      nearest: (px) => { const at = Math.floor((px - LEFT) / step); return at >= 0 && at < rows.length ? at : -1; },
    };
  }, rows.map((row) => row.tip), focus);
  figure.append(asTable(label, heads, rows.map((row) => [row.long ?? row.label, count(row.value), ...(heads.length > 2 ? [count(row.usual ?? 0)] : [])]), focus));
  return figure;
}

/** Return a line chart over time. points: [{t, value, kind, tip}] with t in ms; threshold: a horizontal line {value, words}. */
export function line({ label, unit, points, threshold, timeLabels, stepped = false, dots = true, height = 200, heads, cells, focus }) {
  const most = Math.max(...points.map((each) => each.value), threshold?.value ?? 0, 0) * 1.08;
  const from = Math.min(...points.map((each) => each.t)), until = Math.max(...points.map((each) => each.t));
  const figure = drawn(height, label, (svg, wide) => {
    const { y, parts } = axes(svg, wide, height, most, unit);
    const x = (t) => until > from ? LEFT + 8 + ((t - from) / (until - from)) * (wide - LEFT - RIGHT - 16) : (LEFT + wide - RIGHT) / 2;
    const d = points.map((each, at) => at === 0 ? `M${x(each.t)} ${y(each.value)}`
      : stepped ? `H${x(each.t)}V${y(each.value)}` : `L${x(each.t)} ${y(each.value)}`).join("");
    const under = `${d}V${y(0)}H${x(points[0].t)}Z`;
    const labels = timeLabels(from, until, Math.max(2, Math.floor(wide / 150)));
    svg.replaceChildren(
      ...parts,
      s("path", { class: "under", d: under }), s("path", { class: "curve", d }),
      ...(threshold ? [
        s("line", { class: "threshold", x1: LEFT, x2: wide - RIGHT, y1: y(threshold.value), y2: y(threshold.value) }),
        s("text", { class: "threshold", x: LEFT + 6, y: y(threshold.value) - 6 }, threshold.words)] : []),
      ...(dots ? points.map((each) => s("circle", { class: `dot ${each.kind ?? ""}`, cx: x(each.t), cy: y(each.value), r: each.kind === "notified" ? 6 : 4 })) : []),
      ...labels.map(([t, words], at) => s("text", { x: x(t), y: height - 7, "text-anchor": at === 0 ? "start" : at === labels.length - 1 ? "end" : "middle" }, words)));
    return {
      extent: (at) => [x(points[at].t) - 5, 10],
      nearest: (px) => {
        let best = -1;
        points.forEach((each, at) => { if (best < 0 || Math.abs(x(each.t) - px) < Math.abs(x(points[best].t) - px)) best = at; });
        return best;
      },
    };
  }, points.map((each) => each.tip), focus);
  if (heads) figure.append(asTable(label, heads, cells, focus));
  return figure;
}

function asTable(label, heads, rows, focus) {
  return h("details", { class: "extra", "data-focus": `table of ${focus}` }, h("summary", {}, "Show as a table"),
    table(`${label}, as a table`, heads.map((name, at) => ({ name, number: at > 0, cell: (row) => row[at] })), rows, { high: true }));
}
