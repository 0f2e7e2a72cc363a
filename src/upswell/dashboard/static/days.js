// A day picker: a list, and buttons for the previous and the next day.

import { h } from "./parts.js";
import { day } from "./words.js";

/** Return a picker of days, newest first. `chosen(day)` is called with the day as a number, or null to follow the newest day. */
export function picker(id, chosen) {
  const list = h("select", { id });
  const before = h("button", { type: "button", class: "quiet", "aria-label": "Previous day" }, "‹");
  const after = h("button", { type: "button", class: "quiet", "aria-label": "Next day" }, "›");
  let days = [], current = null;
  const step = (by) => choose(days[days.indexOf(current ?? days[0]) + by]);
  const choose = (wanted) => { current = wanted === days[0] ? null : wanted; show(); chosen(current); };
  const show = () => {
    element.hidden = !days.length;
    list.replaceChildren(...days.map((each, at) => h("option", { value: each }, `${day(each)}${at === 0 ? ", newest" : ""}`)));
    list.value = String(current ?? days[0] ?? "");
    const at = days.indexOf(current ?? days[0]);
    before.disabled = at < 0 || at === days.length - 1;
    after.disabled = at <= 0;
  };
  const element = h("div", { class: "pick", hidden: true }, h("label", { for: id }, "Day"), before, list, after);
  list.addEventListener("change", () => choose(Number(list.value)));
  before.addEventListener("click", () => step(1));
  after.addEventListener("click", () => step(-1));
  return {
    element,
    get day() { return current; },
    offer(found) {
      if (found.join() === days.join()) return;
      days = found;
      if (current !== null && !days.includes(current)) days = [...days, current].sort((a, b) => b - a);
      show();
    },
  };
}
