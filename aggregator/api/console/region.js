// One screen for the region: how much, how well measured, and every site.

import { get, monthStart } from "./api.js";
import { draw, steps } from "./chart.js";
import { el } from "./dom.js";
import { figure, isMissing, mark, number, share, sum } from "./format.js";
import { card, exportLink, headlines, table } from "./parts.js";
import { carrierName, named, t } from "./words.js";

export const EVERY_S = 30;
const DAY_MS = 86_400_000;
const DRAWN_SITES = 6;
const COLORS = ["#2f6fb5", "#c4561a", "#2c8a5b", "#8a5fbf", "#b08900", "#5b6b7c"];

export async function region() {
  const [live, sites] = await Promise.all([get("live"), get("sites")]);
  const from = monthStart(live.time_ms);
  const month = await get("consumption", { from, level: "day" });
  const register = new Map(sites.map((row) => [row.site, row]));
  const monthly = new Map(month.sites.map((row) => [row.site, row]));
  const rows = live.sites.map((row) => ({ ...row, known: register.get(row.site), month: monthly.get(row.site) }));
  const drawn = await loads(rows, live.time_ms);
  const plot = el("div", { class: "plot", role: "img", "aria-label": t("region_load") });
  const nodes = [
    headlines(summary(rows, live)),
    card("sites", t("sites_table"), t("energy_note"), exports(from), table("sites", t("sites_table"), columns(), rows)),
    el(
      "div",
      { class: "columns wide-left stretch" },
      card("region-load", t("region_load"), t("region_load_note"), [], plot),
      carriersCard(rows),
    ),
  ];
  return { nodes, timeMs: live.time_ms, after: () => draw(plot, drawn, live.time_ms - DAY_MS, live.time_ms) };
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
    exportLink("sites-today", `${t("csv")} · ${t("today")}`, "consumption", {}, "consumption-today.csv"),
    exportLink("sites-month", `${t("csv")} · ${t("month")}`, "consumption", { from, level: "day" }, "consumption-month.csv"),
  ];
}

function summary(rows, live) {
  const mean = (values) => {
    const { count, total } = sum(values);
    return count ? total / count : null;
  };
  const shares = { today: mean(rows.map((row) => row.today.measured_share)), month: mean(rows.map((row) => row.month?.measured_share)) };
  const total = (title, unit, digits, period, value) => {
    const { count, total: all } = sum(rows.map(value));
    return { title, value: all, unit, digits, share: shares[period], note: `${count}/${rows.length} ${t("with_figures")}` };
  };
  const power = sum(rows.map((row) => row.power_kw));
  return [
    total(`${t("today")} · ${t("energy")}`, "tce", 2, "today", (row) => row.today.total.tce_calorific),
    total(`${t("month")} · ${t("energy")}`, "tce", 2, "month", (row) => row.month?.total.tce_calorific),
    total(`${t("today")} · ${t("co2")}`, "tCO₂", 2, "today", (row) => row.today.total.co2_t),
    total(`${t("month")} · ${t("co2")}`, "tCO₂", 2, "month", (row) => row.month?.total.co2_t),
    { title: t("power"), value: power.total, unit: "kW", digits: 0, note: `${power.count}/${rows.length} ${t("with_figures")}` },
    { title: t("edges_online"), value: `${live.edges_online} / ${live.edges_total}`, unit: "", note: `${number(live.outbox_depth_readings, 0)} ${t("readings")} · ${t("outbox")}` },
  ];
}

function columns() {
  const electricity = (account) => account?.carriers.find((row) => row.carrier === "electricity")?.consumption.energy_kwh;
  return [
    { title: t("name"), cell: (row) => el("a", { id: `go-${row.site}`, href: `#/site/${row.site}` }, named(row, row.site)) },
    { title: t("power"), unit: "kW", number: true, cell: (row) => figure(row.power_kw, 1) },
    { title: t("electricity"), unit: "kWh", group: t("today"), number: true, cell: (row) => figure(electricity(row.today), 0) },
    { title: t("energy"), unit: "tce", group: t("today"), number: true, cell: (row) => figure(row.today.total.tce_calorific, 3) },
    { title: "CO₂", unit: "t", group: t("today"), number: true, cell: (row) => figure(row.today.total.co2_t, 3) },
    { title: t("share"), group: t("today"), cell: (row) => share(row.today.measured_share) },
    { title: t("energy"), unit: "tce", group: t("month"), number: true, cell: (row) => figure(row.month?.total.tce_calorific, 3) },
    { title: "CO₂", unit: "t", group: t("month"), number: true, cell: (row) => figure(row.month?.total.co2_t, 3) },
    { title: t("share"), group: t("month"), cell: (row) => share(row.month?.measured_share) },
    { title: t("edges"), number: true, cell: (row) => online(row) },
  ];
}

function online(row) {
  if (!row.edges_total) return mark("unknown", t("none"));
  return mark(row.edges_online === row.edges_total ? "good" : "bad", `${row.edges_online} / ${row.edges_total}`);
}

function carriersCard(rows) {
  const found = new Map();
  for (const carrier of rows.flatMap((row) => row.today.carriers)) {
    if (!carrier.counted) continue;
    const entry = found.get(carrier.carrier) ?? { carrier, values: [] };
    entry.values.push(isMissing(carrier.kgce_calorific) ? null : carrier.kgce_calorific / 1000);
    found.set(carrier.carrier, entry);
  }
  const entries = [...found.values()]
    .map(({ carrier, values }) => ({ carrier, ...sum(values), of: values.length }))
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
