// Registers against the ledger, per channel: it closes, or by how much it does not.

import { dayStart, get, monthStart } from "./api.js";
import { el } from "./dom.js";
import { figure, isMissing, mark, number, unitOf } from "./format.js";
import { card, choice, exportLink, headlines, table } from "./parts.js";
import { named, t } from "./words.js";

export const EVERY_S = 60;
const MICRO = 1e6;
const DIGITS = 3;

const PERIODS = { all: () => undefined, month: monthStart, day: dayStart };

export async function proof(id, period) {
  const [sites, health] = await Promise.all([get("sites"), get("health")]);
  const known = sites.some((row) => row.site === id) ? id : "";
  const chosen = period in PERIODS ? period : "all";
  const parameters = { site: known, from: PERIODS[chosen](health.time_ms) };
  const { channels } = await get("proof", parameters);
  const register = new Map(sites.map((row) => [row.site, row]));
  const go = (site, span) => {
    location.hash = `#/proof/${site || "all"}/${span}`;
  };
  const tools = [
    choice("proof-site", t("choose_site"), known, [["", t("all_sites")], ...sites.map((row) => [row.site, named(row, row.site)])], (site) => go(site, chosen)),
    choice("proof-period", t("period"), chosen, [["all", t("since_first")], ["month", t("month")], ["day", t("today")]], (span) => go(known, span)),
    exportLink("proof", t("csv"), "proof", parameters, "proof.csv"),
  ];
  const closing = channels.filter((row) => row.closes).length;
  const slots = (name) => channels.reduce((total, row) => total + row[name], 0);
  const nodes = [
    headlines([
      { title: t("closing_channels"), value: `${closing} / ${channels.length}`, unit: "", note: closing === channels.length ? t("all_close") : t("not_all") },
      { title: t("received"), value: slots("slots_expected") ? (slots("slots_received") / slots("slots_expected")) * 100 : null, unit: "%", digits: 1, note: `${number(slots("slots_received"), 0)} / ${number(slots("slots_expected"), 0)}` },
    ]),
    card("proof", t("proof_table"), t("proof_note"), tools, table("proof", t("proof_table"), columns(register), channels)),
  ];
  return { nodes, timeMs: health.time_ms };
}

function columns(register) {
  const micro = (name) => (row) => (isMissing(row[name]) ? figure(null) : number(row[name] / MICRO, DIGITS));
  // A difference is shown to the micro-unit, since one is enough not to close.
  return [
    { title: t("meter"), cell: (row) => row.meter },
    { title: t("site"), cell: (row) => el("a", { id: `p-${row.site}-${row.meter}-${row.channel}`, href: `#/site/${row.site}` }, named(register.get(row.site) ?? {}, row.site)) },
    { title: t("channel"), cell: (row) => row.channel },
    { title: t("unit"), cell: (row) => unitOf(row.channel) },
    { title: t("start"), number: true, cell: micro("register_start_micro") },
    { title: t("end"), number: true, cell: micro("register_end_micro") },
    { title: t("multiplier"), number: true, cell: (row) => number(row.multiplier, 0) },
    { title: t("events"), number: true, cell: micro("events_micro") },
    { title: t("booked"), number: true, cell: micro("booked_micro") },
    { title: t("held"), number: true, cell: micro("held_micro") },
    { title: t("difference"), number: true, cell: (row) => (row.difference_micro ? number(row.difference_micro / MICRO, 6) : "0") },
    { title: t("received"), number: true, cell: (row) => `${number(row.slots_received, 0)} / ${number(row.slots_expected, 0)}` },
    { title: t("closes"), cell: (row) => (row.closes ? mark("good", t("yes")) : mark("bad", t("no"))) },
  ];
}
