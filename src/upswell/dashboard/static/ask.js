// Requests to the server that this page came from, and to no other. Owns the token: in memory, for this tab only.

let token = "";

/** An error reported by the server: what is wrong, and the next step. */
export class Fault extends Error {
  constructor(message, next, code) { super(message); this.next = next; this.code = code; }
}

async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, credentials: "omit", cache: "no-store" });
  } catch {
    throw new Fault("the server does not answer", "check that `upswell dashboard` is running", 0);
  }
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Fault(found.error ?? `the server returned status ${answer.status}`, found.next ?? "", answer.status);
  return found;
}

/** Return the JSON of a path. */
export const get = (path) => ask(path);

/** Return the explanation for one customer. The MSISDN is in the body, so that no log of URLs contains it. */
export const explain = (asked) =>
  ask("/api/explain", { method: "POST", body: JSON.stringify(asked), headers: { "Content-Type": "application/json" } });

/** Return true if the token is correct; keep it if so. */
export async function present(given) {
  const before = token;
  token = given;
  const { whole } = await ask("/api/access").catch(() => ({ whole: false }));
  if (!whole) token = before;
  return whole;
}

/** Drop the token, so that MSISDNs are masked again. */
export function forget() { token = ""; }
