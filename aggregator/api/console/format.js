// Numbers with their units, and what is missing as missing.

import { el } from "./dom.js";
import { language, locale, t } from "./words.js";

export const AMOUNTS = {
  energy_kwh: ["kWh", 1],
  reactive_energy_kvarh: ["kvarh", 1],
  volume_m3: ["m³", 1],
  mass_t: ["t", 3],
  heat_gj: ["GJ", 2],
};
const CHANNEL_UNITS = { energy: "kWh", reactive: "kvarh", volume: "m³", mass: "t", heat: "GJ" };
const MYRIAD = 10_000;
const TARGET_SHARE = 0.9;

export const isMissing = (value) => value === null || value === undefined;

export function number(value, digits) {
  return new Intl.NumberFormat(locale(), {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  }).format(value);
}

export function missing() {
  return el("span", { class: "missing" }, t("none"));
}

export function figure(value, digits) {
  return isMissing(value) ? missing() : number(value, digits);
}

// A large figure: [digits, unit]; Chinese counts large amounts in 万.
export function headline(value, unit, digits) {
  if (isMissing(value)) return [missing(), ""];
  if (language() === "zh" && Math.abs(value) >= 10 * MYRIAD) {
    return [number(value / MYRIAD, 2), `万${unit}`];
  }
  return [number(value, digits), unit];
}

// [field, value] of the one unit of an amount; undefined where there is none.
export function only(amounts) {
  return Object.entries(amounts ?? {}).find(([field]) => field in AMOUNTS);
}

export function amount(amounts) {
  const found = only(amounts);
  if (!found || isMissing(found[1])) return missing();
  const [unit, digits] = AMOUNTS[found[0]];
  return `${number(found[1], digits)} ${unit}`;
}

export function unitOf(channel) {
  const kind = Object.keys(CHANNEL_UNITS).find((start) => channel.startsWith(start));
  return CHANNEL_UNITS[kind] ?? "";
}

export function percent(value) {
  // 99.96 % is not all: never rounded up to 100.
  const shown = value < 1 ? Math.min(99.9, value * 100) : 100;
  return `${number(shown, 1)} %`;
}

export function share(value) {
  if (isMissing(value)) return missing();
  const grade = value >= TARGET_SHARE ? "good" : "watch";
  const bar = el("span", { class: `fill ${grade}`, "width%": Math.max(0, Math.min(1, value)) * 100 });
  return el(
    "span",
    { class: "share" },
    el("span", { class: "track", "aria-hidden": "true" }, bar),
    el("span", {}, percent(value)),
  );
}

export function clock(timeMs, withDate = true) {
  if (isMissing(timeMs)) return missing();
  const text = new Date(timeMs + 8 * 3_600_000).toISOString();
  return withDate ? `${text.slice(5, 10)} ${text.slice(11, 19)}` : text.slice(11, 16);
}

export function span(seconds) {
  if (isMissing(seconds)) return missing();
  const steps = [["day_s", 86_400], ["hour_s", 3_600], ["minute_s", 60], ["second_s", 1]];
  const [key, length] = steps.find(([, size]) => Math.abs(seconds) >= size) ?? steps[3];
  return `${number(seconds / length, length > 60 ? 1 : 0)} ${t(key)}`;
}

export function mark(grade, text) {
  return el("span", { class: `mark ${grade}` }, text);
}

export function sum(values) {
  const found = values.filter((value) => !isMissing(value));
  return { count: found.length, total: found.length ? found.reduce((a, b) => a + b, 0) : null };
}
