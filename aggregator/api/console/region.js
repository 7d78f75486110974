// One screen for the region: how much, how well measured, and its largest sites.

import { get, monthStart } from "./api.js";
import { draw, steps } from "./chart.js";
import { el } from "./dom.js";
import { figure, isMissing, mark, number, share, sum } from "./format.js";
import { card, exportLink, headlines, table } from "./parts.js";
import { carrierName, named, t } from "./words.js";

export const EVERY_S = 30;
const DAY_MS = 86_400_000;
const SITES = 100; // with so many rows the page stays quick; the export has them all
const DRAWN_SITES = 6;
const COLORS = ["#2f6fb5", "#c4561a", "#2c8a5b", "#8a5fbf", "#b08900", "#5b6b7c"];

export async function region() {
  const { regions, sites: rows, time_ms: timeMs } = await get("regions", { limit: SITES });
  const from = monthStart(timeMs);
  const drawn = await loads(rows, timeMs);
  const plot = el("div", { class: "plot", role: "img", "aria-label": t("region_load") });
  const all = sum(regions.map((row) => row.sites)).total ?? 0;
  const more = all > rows.length ? ` · ${t("largest")} ${rows.length} / ${all}` : "";
  const nodes = [
    headlines(summary(regions)),
    card("sites", t("sites_table"), `${t("energy_note")}${more}`, exports(from), table("sites", t("sites_table"), columns(), rows)),
    el(
      "div",
      { class: "columns wide-left stretch" },
      card("region-load", t("region_load"), t("region_load_note"), [], plot),
      carriersCard(regions),
    ),
  ];
  return { nodes, timeMs, after: () => draw(plot, drawn, timeMs - DAY_MS, timeMs) };
}

async function loads(rows, nowMs) {
  const largest = [...rows].sort((a, b) => (b.power_kw ?? -1) - (a.power_kw ?? -1)).slice(0, DRAWN_SITES);
  const answers = await Promise.all(largest.map((row) => get("load", { site: row.site, from: nowMs - DAY_MS, to: nowMs })));
  return largest.map((row, at) => ({
    label: named(row, row.site),
    unit: "kW",
    color: COLORS[at],
    stepped: true,
    points: steps(answers[at]),
  }));
}

function exports(from) {
  return [
    exportLink("sites", `${t("csv")} · ${t("sites_table")}`, "regions", {}, "sites.csv"),
    exportLink("sites-today", `${t("csv")} · ${t("today")}`, "consumption", {}, "consumption-today.csv"),
    exportLink("sites-month", `${t("csv")} · ${t("month")}`, "consumption", { from, level: "day" }, "consumption-month.csv"),
  ];
}

function summary(regions) {
  const told = (value) => sum(regions.map(value)).total;
  const all = told((row) => row.sites) ?? 0;
  const of = (count) => `${count ?? 0}/${all} ${t("with_figures")}`;
  // A site weighs as much as it has meters: times are added up, not shares.
  const measured = (period) => {
    const due = told((row) => row[period].due_ms);
    return due ? Math.min(1, told((row) => row[period].measured_ms) / due) : null;
  };
  const shares = { today: measured("today"), month: measured("month") };
  const total = (title, unit, period, name) => ({
    title,
    value: told((row) => row[period][name]),
    unit,
    digits: 2,
    share: shares[period],
    note: of(told((row) => row[period].sites_known)),
  });
  const edges = `${told((row) => row.edges_online) ?? 0} / ${told((row) => row.edges_total) ?? 0}`;
  const outbox = number(told((row) => row.outbox_depth_readings) ?? 0, 0);
  return [
    total(`${t("today")} · ${t("energy")}`, "tce", "today", "tce_calorific"),
    total(`${t("month")} · ${t("energy")}`, "tce", "month", "tce_calorific"),
    total(`${t("today")} · ${t("co2")}`, "tCO₂", "today", "co2_t"),
    total(`${t("month")} · ${t("co2")}`, "tCO₂", "month", "co2_t"),
    { title: t("power"), value: told((row) => row.power_kw), unit: "kW", digits: 0, note: of(told((row) => row.sites_with_power)) },
    { title: t("edges_online"), value: edges, unit: "", note: `${outbox} ${t("readings")} · ${t("outbox")}` },
  ];
}

function columns() {
  return [
    { title: t("name"), cell: (row) => el("a", { id: `go-${row.site}`, href: `#/site/${row.site}` }, named(row, row.site)) },
    { title: t("power"), unit: "kW", number: true, cell: (row) => figure(row.power_kw, 1) },
    { title: t("electricity"), unit: "kWh", group: t("today"), number: true, cell: (row) => figure(row.today.electricity_kwh, 0) },
    { title: t("energy"), unit: "tce", group: t("today"), number: true, cell: (row) => figure(row.today.tce_calorific, 3) },
    { title: "CO₂", unit: "t", group: t("today"), number: true, cell: (row) => figure(row.today.co2_t, 3) },
    { title: t("share"), group: t("today"), cell: (row) => share(row.today.measured_share) },
    { title: t("energy"), unit: "tce", group: t("month"), number: true, cell: (row) => figure(row.month.tce_calorific, 3) },
    { title: "CO₂", unit: "t", group: t("month"), number: true, cell: (row) => figure(row.month.co2_t, 3) },
    { title: t("share"), group: t("month"), cell: (row) => share(row.month.measured_share) },
    { title: t("edges"), number: true, cell: (row) => online(row) },
  ];
}

function online(row) {
  if (!row.edges_total) return mark("unknown", t("none"));
  return mark(row.edges_online === row.edges_total ? "good" : "bad", `${row.edges_online} / ${row.edges_total}`);
}

function carriersCard(regions) {
  const found = new Map();
  for (const carrier of regions.flatMap((row) => row.today.carriers)) {
    if (!carrier.counted) continue;
    const entry = found.get(carrier.carrier) ?? { carrier, parts: [] };
    entry.parts.push(carrier);
    found.set(carrier.carrier, entry);
  }
  const entries = [...found.values()]
    .map(({ carrier, parts }) => ({
      carrier,
      total: sum(parts.map((part) => part.tce_calorific)).total,
      count: sum(parts.map((part) => part.sites_known)).total,
      of: sum(parts.map((part) => part.sites)).total,
    }))
    .sort((a, b) => (b.total ?? 0) - (a.total ?? 0));
  const most = Math.max(...entries.map((entry) => Math.abs(entry.total ?? 0)), 1e-9);
  const lines = entries.map(({ carrier, total, count, of }) =>
    el(
      "li",
      {},
      el("span", { class: "bar-name" }, carrierName(carrier)),
      el("span", { class: "track", "aria-hidden": "true" }, el("span", { class: `fill carrier-${carrier.carrier}`, "width%": (Math.abs(total ?? 0) / most) * 100 })),
      el("span", { class: "bar-value" }, figure(total, 3), isMissing(total) ? null : " tce", count < of ? el("small", {}, ` ${count}/${of} ${t("with_figures")}`) : null),
    ),
  );
  return card("by-carrier", t("by_carrier"), t("by_carrier_note"), [], lines.length ? el("ul", { class: "bars" }, lines) : el("p", { class: "note" }, t("empty")));
}
