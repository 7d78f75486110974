// The one place that speaks to the API: relative addresses, the token of this tab, refusals.

const BASE = "api/v1/";
const KEPT = "nenghao-token";
const DAY_MS = 86_400_000;
const BEIJING_MS = 8 * 3_600_000;

export class Refused extends Error {
  constructor(status, reason) {
    super(reason);
    this.status = status;
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEPT) ?? "",
  set: (secret) => sessionStorage.setItem(KEPT, secret),
  clear: () => sessionStorage.removeItem(KEPT),
};

export function address(path, parameters = {}) {
  const query = new URLSearchParams(
    Object.entries(parameters).filter(([, value]) => value !== undefined && value !== ""),
  ).toString();
  return `${BASE}${path}${query && `?${query}`}`;
}

async function ask(url) {
  const headers = token.get() ? { Authorization: `Bearer ${token.get()}` } : {};
  const answer = await fetch(url, { headers, cache: "no-store" });
  if (answer.ok) return answer;
  let reason = answer.statusText;
  try {
    reason = (await answer.json()).error.reason;
  } catch {
    // a proxy's own page says nothing that could be shown
  }
  throw new Refused(answer.status, `${answer.status}: ${reason}`);
}

export async function get(path, parameters) {
  return (await ask(address(path, parameters))).json();
}

// A plain link cannot carry the token, so the table is fetched and handed over as a file.
export async function download(url, name) {
  const file = URL.createObjectURL(await (await ask(url)).blob());
  const link = document.createElement("a");
  link.href = file;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(file), 10_000);
}

export function dayStart(timeMs) {
  return Math.floor((timeMs + BEIJING_MS) / DAY_MS) * DAY_MS - BEIJING_MS;
}

export function monthStart(timeMs) {
  const beijing = new Date(timeMs + BEIJING_MS);
  return Date.UTC(beijing.getUTCFullYear(), beijing.getUTCMonth(), 1) - BEIJING_MS;
}
