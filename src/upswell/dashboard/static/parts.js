// The building blocks of the page: elements made from text, never from markup, so that no text from RULES or a file name is HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.setAttribute("class", value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Return an element with attributes and children; strings become text nodes. */
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** The same for an SVG element. */
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** Return an element whose width is a share of its container. */
export function filled(className, part, all) {
  const element = h("div", { class: className });
  element.style.width = `${all ? Math.min(100, (100 * part) / all) : 0}%`;
  return element;
}

/** Return a card with a title, an aside and a replaceable body. */
export function card(title, { className = "", aside = "", level = "h2" } = {}) {
  const note = h("p", {}, aside);
  const body = h("div", {}, h("p", { class: "empty" }, "Loading…"));
  const element = h("section", { class: `card ${className}` }, h("header", {}, h(level, {}, title), note), body);
  return {
    element,
    /** Replace body and aside. Focus, scroll positions and opened details are kept where they exist again. */
    show(content, words) {
      const focused = body.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
      const scrolled = [...body.querySelectorAll(".scroll")].map((each) => [each.scrollLeft, each.scrollTop]);
      const open = new Set([...body.querySelectorAll("details[open]")].map((each) => each.dataset.focus));
      body.replaceChildren(...[content].flat(Infinity).filter(Boolean));
      if (words !== undefined) note.textContent = words;
      for (const each of body.querySelectorAll("details")) if (open.has(each.dataset.focus)) each.open = true;
      [...body.querySelectorAll(".scroll")].forEach((each, at) => {
        if (scrolled[at]) [each.scrollLeft, each.scrollTop] = scrolled[at];
      });
      if (focused) body.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    },
    /** Show why there is no content. A state without data yet, or a busy server, is not shown as a fault. */
    fail(error) {
      note.textContent = aside;
      body.replaceChildren(h("p", { class: [400, 429].includes(error.code) ? "empty" : "fault", "data-why": sentence(error) }));
      sayOnce();
    },
  };
}

/** Show a message that several cards share only in the first of them. */
function sayOnce() {
  const said = new Set();
  for (const each of document.querySelectorAll("[data-why]")) {
    const { why } = each.dataset;
    each.textContent = !said.has(why) ? why : each.classList.contains("fault") ? "Not available, for the same reason." : "No data yet.";
    said.add(why);
  }
}

/** The error for an answer that was requested before the last turn: another day may have been chosen since. */
export const OLD = new Error("an answer to an outdated request");

/** Return a source of turns: `const fresh = turn()` begins one, and `fresh(promise)` throws OLD once another has begun. */
export function turns() {
  let now = 0;
  return () => {
    const mine = ++now;
    const check = () => { if (mine !== now) throw OLD; };
    return (promise) => promise.then((found) => { check(); return found; }, (error) => { check(); throw error; });
  };
}

/**
 * Return a function that puts an answer into a card, unless the card shows that answer already, to keep its scroll position.
 * `show(card, promise, draw)`: draw returns [content, aside], and is called only for a new answer.
 */
export function shower() {
  const seen = new Map();
  return async (one, promise, draw) => {
    try {
      const found = await promise;
      const text = JSON.stringify(found);
      if (seen.get(one) === text) return;
      one.show(...draw(found));
      seen.set(one, text);
    } catch (error) {
      if (error === OLD) return;
      seen.delete(one);
      one.fail(error);
    }
  };
}

/** Return an error as a sentence: what is wrong, and the next step. */
export function sentence(error) {
  const words = error.message[0].toUpperCase() + error.message.slice(1);
  return error.next ? `${words}. Next: ${error.next}.` : `${words}.`;
}

/** Return a row of figures: [{name, value, unit, note, level}]. */
export function figures(list) {
  return list.map(({ name, value, unit, note, level }) =>
    h("dl", { class: `figure ${level ?? ""}` },
      h("dt", {}, name),
      h("dd", { class: /[0-9]/.test(value) || value.length < 4 ? "" : "text" }, value, unit ? h("span", { class: "unit" }, unit) : null),
      note ? h("dd", { class: "note" }, note) : null));
}

/** Return a table: columns [{name, number, cell(row)}] over rows. */
export function table(label, columns, rows, { high = false } = {}) {
  return h("div", { class: `scroll ${high ? "high" : ""}`, tabindex: "0", role: "region", "aria-label": label, "data-focus": label },
    h("table", {},
      h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col", class: column.number ? "n" : "" }, column.name)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, columns.map((column) =>
        h("td", { class: `${column.number ? "n" : ""} ${column.className ?? ""}` }, column.cell(row))))))));
}

/** Return a paragraph to show instead of content. */
export const empty = (text) => h("p", { class: "empty" }, text);

const tip = document.getElementById("tip");

/** Show a tooltip at a position of the window; aloud: also announce it to screen readers. */
export function point(text, x, y, aloud) {
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - box.width - 8))}px`;
  tip.style.top = `${y + 18 + box.height > innerHeight ? Math.max(8, y - box.height - 12) : y + 18}px`;
  if (aloud) document.getElementById("said").textContent = text.replaceAll("\n", ", ");
}

/** Hide the tooltip. */
export function unpoint() { tip.hidden = true; }
addEventListener("scroll", unpoint, { passive: true, capture: true });
addEventListener("keydown", (event) => { if (event.key === "Escape") unpoint(); });
