// Questions to the server that this page came from, and to nobody else. Owns the token: in memory, for this tab alone.

let token = "";

/** An error as the server tells it: what is wrong, and the next step. */
export class Fault extends Error {
  constructor(message, next, code) { super(message); this.next = next; this.code = code; }
}

async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, credentials: "omit", cache: "no-store" });
  } catch {
    throw new Fault("the page's server does not answer", "see whether `upswell dashboard` still runs", 0);
  }
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Fault(found.error ?? `the server answered ${answer.status}`, found.next ?? "", answer.status);
  return found;
}

/** The JSON of a path. */
export const get = (path) => ask(path);

/** The story of one customer. The dial is in the body, so that no log of addresses holds it. */
export const explain = (asked) =>
  ask("/api/explain", { method: "POST", body: JSON.stringify(asked), headers: { "Content-Type": "application/json" } });

/** Whether the token is the right one; it is kept when it is. */
export async function present(given) {
  const before = token;
  token = given;
  const { whole } = await ask("/api/access").catch(() => ({ whole: false }));
  if (!whole) token = before;
  return whole;
}

/** Mask dials again. */
export function forget() { token = ""; }
