// Formats of numbers, times and sizes. Nothing here touches the page.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const dayForm = new Intl.DateTimeFormat("en-GB", {
  weekday: "short", day: "numeric", month: "short", year: "numeric", timeZone: "UTC",
});

/** 1234567 is "1,234,567". */
export const count = (n) => whole.format(n);

/** Format a number for an axis: 12000 is "12K". */
export const compact = (n) => (n < 10000 ? whole.format(n) : short.format(n));

/** Format a share: "12.3%", "<0.1%". */
export function share(part, all) {
  if (!all || !part) return "0%";
  const percent = (100 * part) / all;
  if (percent < 0.1) return "<0.1%";
  if (percent > 99 && part < all) return `${(Math.floor(percent * 10) / 10).toFixed(1)}%`; // never rounded up to 100%
  return `${percent.toFixed(percent < 10 ? 1 : 0)}%`;
}

/** Return [number, unit]: 1536 is ["1.5", "KiB"]. */
export function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (bytes >= 1024 && at < units.length - 1) { bytes /= 1024; at += 1; }
  return [at === 0 || bytes >= 100 ? whole.format(Math.round(bytes)) : bytes.toFixed(1), units[at]];
}

/** Return [number, unit] of a duration: 0.4 s, 12 s, 3 min, 2.2 h, 4 d. */
export function span(seconds) {
  if (seconds < 10) return [seconds.toFixed(1), "s"];
  if (seconds < 120) return [String(Math.round(seconds)), "s"];
  if (seconds < 7200) return [String(Math.round(seconds / 60)), "min"];
  if (seconds < 172800) return [(seconds / 3600).toFixed(1), "h"];
  return [whole.format(Math.round(seconds / 86400)), "d"];
}

const midnight = (number) => Date.UTC(Math.floor(number / 10000), (Math.floor(number / 100) % 100) - 1, number % 100);

/** 20200417 is "Fri, 17 Apr 2020". */
export const day = (number) => dayForm.format(midnight(number));

/** Count the days between two dates: from 20200228 to 20200301 it is 2. */
export const daysBetween = (from, to) => (midnight(to) - midnight(from)) / 86400000;

/** 20200417 is "17 Apr". */
export const shortDay = (number) => day(number).split(" ").slice(1, 3).join(" ");

/** "202004171937" is "19:37". */
export const clock = (stamp) => `${stamp.slice(8, 10)}:${stamp.slice(10, 12)}`;

/** "202004171937" is "2020-04-17 19:37". */
export const stamp = (text) => `${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6, 8)} ${clock(text)}`;

/** Format an ISO time in UTC: "2020-04-17 19:37:43 UTC". */
export const moment = (iso) => (iso ? `${iso.slice(0, 19).replace("T", " ")} UTC` : "");

/** "1 file", "2 files", "3 batches". */
export function plural(n, noun) {
  if (n === 1) return `1 ${noun}`;
  return `${count(n)} ${noun}${noun.endsWith("ch") ? "es" : "s"}`;
}

/** Write a slug such as not_in_segment in words. */
export const words = (slug) => slug.replaceAll("_", " ");
