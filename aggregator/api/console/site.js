// One site: what it draws now, what it used, of what, where, and how good the data are.

import { get, monthStart } from "./api.js";
import { draw, steps } from "./chart.js";
import { el } from "./dom.js";
import { amount, clock, figure, isMissing, mark, number, only, percent, share, span } from "./format.js";
import { card, choice, exportLink, headlines, table } from "./parts.js";
import { carrierName, language, named, t } from "./words.js";

export const EVERY_S = 10;
const DAY_MS = 86_400_000;
const FRESH_S = 900;
const KEPT_POINTS = 2_000;
const SHOWN_CHANNELS = ["energy_import", "volume_standard", "heat", "mass", "volume"];

// kept: live power by site, [[ms, kW]], as long as the page is open
export async function site(id, kept) {
  const sites = await get("sites");
  if (!sites.length) return { nodes: [el("p", { class: "card" }, t("empty"))], timeMs: null };
  const row = sites.find((one) => one.site === id) ?? sites[0];
  const live = await get("live", { site: row.site });
  const nowMs = live.time_ms;
  const [from, dayBefore] = [monthStart(nowMs), nowMs - DAY_MS];
  const monthly = { site: row.site, from, level: "day" };
  const [load, month, balanceDay, balanceMonth, meters, figures] = await Promise.all([
    get("load", { site: row.site, from: dayBefore, to: nowMs }),
    get("consumption", monthly),
    get("balance", { site: row.site }),
    get("balance", monthly),
    get("meters", { site: row.site }),
    get("intervals", monthly),
  ]);
  const now = live.sites[0];
  const points = keep(kept, row.site, now);
  const pick = choice("site-choice", t("choose_site"), row.site, sites.map((one) => [one.site, named(one, one.site)]), (chosen) => {
    location.hash = `#/site/${chosen}`;
  });
  const plot = el("div", { class: "plot", role: "img", "aria-label": `${t("load")}: ${named(row, row.site)}` });
  const nodes = [
    el("div", { class: "title-row" }, el("h2", { class: "view-title" }, named(row, row.site)), pick),
    headlines(summary(now, month.sites[0])),
    el("div", { class: "columns wide-left stretch" }, loadCard(row.site, load, plot, dayBefore, nowMs), qualityCard(now, meters.meters, nowMs)),
    el("div", { class: "columns even" }, carriersCard(row.site, now.today, month.sites[0], balanceDay, balanceMonth, monthly), balanceCard(balanceMonth, monthly)),
    metersCard(row.site, meters.meters, byMeter(figures.intervals), from, nowMs),
  ];
  return { nodes, timeMs: nowMs, after: () => draw(plot, curves(load, points), dayBefore, nowMs) };
}

function keep(kept, id, now) {
  const points = kept.get(id) ?? [];
  const timeMs = now.power_time_ms;
  if (!isMissing(now.power_kw) && timeMs !== points.at(-1)?.[0]) points.push([timeMs, now.power_kw]);
  kept.set(id, points.slice(-KEPT_POINTS));
  return kept.get(id);
}

function summary(now, month) {
  const [today, monthShare] = [now.today, month.measured_share];
  return [
    { title: t("power"), value: now.power_kw, unit: "kW", digits: 1, note: isMissing(now.power_time_ms) ? "" : clock(now.power_time_ms) },
    { title: `${t("today")} · ${t("energy")}`, value: today.total.tce_calorific, unit: "tce", digits: 3, share: today.measured_share },
    { title: `${t("month")} · ${t("energy")}`, value: month.total.tce_calorific, unit: "tce", digits: 3, share: monthShare },
    { title: `${t("today")} · ${t("co2")}`, value: today.total.co2_t, unit: "tCO₂", digits: 3, share: today.measured_share },
    { title: `${t("month")} · ${t("co2")}`, value: month.total.co2_t, unit: "tCO₂", digits: 3, share: monthShare },
    { title: `${t("month")} · ${t("cost")}`, value: month.total.cost_cny, unit: language() === "zh" ? "元" : "CNY", digits: 0, share: monthShare },
    { title: t("edges_online"), value: `${now.edges_online} / ${now.edges_total}`, unit: "", note: `${number(now.outbox_depth_readings, 0)} ${t("readings")} · ${t("outbox")}` },
  ];
}

function curves(load, points) {
  return [
    { label: t("load_mean"), unit: "kW", color: "#2f6fb5", fill: "rgba(47,111,181,.12)", stepped: true, points: steps(load) },
    { label: t("load_live"), unit: "kW", color: "#c4561a", points },
  ];
}

function loadCard(id, load, plot, from, to) {
  const columns = [
    { title: t("time"), cell: (row) => clock(row.start_ms) },
    { title: t("load_mean"), unit: "kW", number: true, cell: (row) => figure(row.power_kw, 1) },
    { title: t("share"), cell: (row) => share(row.measured_share) },
  ];
  const rows = [...load.load].reverse();
  const details = el("details", { id: "load-table" }, el("summary", { id: "load-summary" }, t("as_table")), table("load", t("load"), columns, rows));
  return card("load", t("load"), t("load_note"), exportLink("load", t("csv"), "load", { site: id, from, to }, `load-${id}.csv`), plot, details);
}

function qualityCard(now, meters, nowMs) {
  const { today } = now;
  const held = today.carriers.filter((row) => only(row.held)?.[1]);
  const items = [
    ...[[t("silent"), today.meters_without_data], [t("silent_power"), now.power_missing]]
      .filter(([, ids]) => ids.length)
      .map(([text, ids]) => [mark("bad", text), ids.join(", ")]),
    ...held.map((row) => [mark("watch", t("held_today")), el("span", {}, `${carrierName(row)} `, amount(row.held))]),
    ...today.undetermined.map((row) => [mark("watch", t("undetermined")), `${row.carrier} · ${row.measure}: ${row.reason}`]),
  ];
  const list = items.length
    ? el("ul", { class: "findings" }, items.map(([head, text]) => el("li", {}, head, el("span", {}, text))))
    : el("p", {}, mark("good", t("fine")));
  const fresh = meters.filter((row) => (ageS(row, nowMs) ?? Infinity) <= FRESH_S).length;
  return card("quality", `${t("quality")} · ${t("today")}`, null, [], el("div", { class: "big-share" }, el("span", { class: "label" }, t("share")), share(today.measured_share)), el("div", { class: "big-share" }, el("span", { class: "label" }, t("fresh_meters")), mark(fresh === meters.length ? "good" : "bad", `${fresh} / ${meters.length}`)), list);
}

function carriersCard(id, today, month, balanceDay, balanceMonth, monthly) {
  const of = (balance, carrier) => balance.carriers.find((row) => row.carrier === carrier);
  const days = new Map(today.carriers.map((row) => [row.carrier, row]));
  const months = new Map(month.carriers.map((row) => [row.carrier, row]));
  const rows = [...new Map([...days, ...months]).values()].map((row) => ({
    ...row,
    day: days.get(row.carrier),
    month: months.get(row.carrier),
    dayShare: of(balanceDay, row.carrier)?.measured_share,
    monthShare: of(balanceMonth, row.carrier)?.measured_share,
  }));
  const tce = (row) => {
    if (row?.counted === false) return el("span", { class: "missing", title: t("not_counted") }, "–");
    return isMissing(row?.kgce_calorific) ? figure(null) : number(row.kgce_calorific / 1000, 3);
  };
  const columns = [
    { title: t("carrier"), cell: (row) => el("span", {}, el("span", { class: `dot carrier-${row.carrier}`, "aria-hidden": "true" }), carrierName(row)) },
    { title: t("amount"), group: t("today"), number: true, cell: (row) => amount(row.day?.consumption) },
    { title: t("energy"), unit: "tce", group: t("today"), number: true, cell: (row) => tce(row.day) },
    { title: t("share"), group: t("today"), cell: (row) => share(row.dayShare) },
    { title: t("amount"), group: t("month"), number: true, cell: (row) => amount(row.month?.consumption) },
    { title: t("energy"), unit: "tce", group: t("month"), number: true, cell: (row) => tce(row.month) },
    { title: t("share"), group: t("month"), cell: (row) => share(row.monthShare) },
  ];
  const links = [
    exportLink("carriers-today", `${t("csv")} · ${t("today")}`, "consumption", { site: id }, `consumption-today-${id}.csv`),
    exportLink("carriers-month", `${t("csv")} · ${t("month")}`, "consumption", monthly, `consumption-month-${id}.csv`),
  ];
  const media = rows.some((row) => !row.counted) ? `– ${t("not_counted")}` : null;
  return card("carriers", t("carriers"), media, links, table("carriers", t("carriers"), columns, rows));
}

function balanceCard(balance, monthly) {
  const rows = balance.carriers.flatMap((carrier) => {
    const whole = only(carrier.amount)?.[1];
    const top = { carrier, name: `${carrierName(carrier)} · ${t("whole_site")}`, row: carrier, part: null, top: true };
    return [top, ...carrier.nodes.map((row) => ({ carrier, name: language() === "zh" ? row.name_zh : row.node, row, part: ratio(only(row.amount)?.[1], whole) }))];
  });
  const judged = (row) => {
    if (isMissing(row.exceeded)) return mark("unknown", t("unjudged"));
    const limit = row.limit ? ` (${t("limit")} ${row.limit.percent} %)` : "";
    return row.exceeded ? mark("bad", `${t("exceeded")}${limit}`) : mark("good", `${t("within")}${limit}`);
  };
  const columns = [
    { title: t("node"), cell: (one) => el(one.top ? "strong" : "span", { class: one.top ? null : "indent" }, one.name) },
    { title: t("amount"), number: true, cell: (one) => amount(one.row.amount) },
    { title: t("of_carrier"), number: true, cell: (one) => (one.top ? "100 %" : isMissing(one.part) ? figure(null) : percent(one.part)) },
    { title: t("unexplained"), number: true, cell: (one) => amount(one.top ? one.row.unexplained : unexplained(one.row)) },
    { title: t("share"), cell: (one) => share(one.row.measured_share) },
    { title: t("verdict"), cell: (one) => judged(one.row) },
  ];
  return card("balance", t("balance"), t("balance_note"), exportLink("balance", t("csv"), "balance", monthly, `balance-${monthly.site}.csv`), table("balance", t("balance"), columns, rows));
}

function unexplained(node) {
  const [found, converted] = [only(node.unallocated), only(node.converted)];
  return found ? { [found[0]]: found[1] - (converted?.[1] ?? 0) } : {};
}

function ratio(part, whole) {
  return isMissing(part) || !whole ? null : part / whole;
}

// The month of each meter: of the first of its channels that says what it counts.
function byMeter(rows) {
  const found = new Map();
  for (const row of rows) {
    const rank = SHOWN_CHANNELS.indexOf(row.channel);
    const known = found.get(row.meter);
    if (rank < 0 || (known && known.rank < rank)) continue;
    const entry = known?.rank === rank ? known : { rank, total: 0, measuredS: 0, estimatedS: 0 };
    const [field, value] = only(row.amount);
    entry.total += value;
    entry.measuredS += row.measured_s;
    entry.estimatedS += row.estimated_s;
    entry.amount = entry.measuredS + entry.estimatedS ? { [field]: entry.total } : {};
    found.set(row.meter, entry);
  }
  return found;
}

function ageS(row, nowMs) {
  return isMissing(row.last_reading_ms) ? null : Math.max(0, (nowMs - row.last_reading_ms) / 1000);
}

function metersCard(id, meters, figures, from, nowMs) {
  const age = (row) => ageS(row, nowMs);
  const measured = (row) => {
    const soFarS = (nowMs - Math.max(from, row.valid_from_ms)) / 1000;
    return soFarS > 0 ? Math.min(1, (figures.get(row.meter)?.measuredS ?? 0) / soFarS) : null;
  };
  const columns = [
    { title: t("meter"), cell: (row) => row.meter },
    { title: t("carrier"), cell: (row) => carrierName(row) },
    { title: t("role"), cell: (row) => t(`role_${row.role}`) },
    { title: t("amount"), group: t("month"), number: true, cell: (row) => amount(figures.get(row.meter)?.amount) },
    { title: t("share"), group: t("month"), cell: (row) => share(measured(row)) },
    { title: t("edge"), cell: (row) => row.edge || "–" },
    { title: t("last_reading"), number: true, cell: (row) => clock(row.last_reading_ms) },
    { title: t("age"), number: true, cell: (row) => (isMissing(age(row)) ? figure(null) : mark(age(row) <= FRESH_S ? "good" : "bad", span(age(row)))) },
  ];
  return card("meters", t("meters"), null, exportLink("meters", t("csv"), "meters", { site: id }, `meters-${id}.csv`), table("meters", t("meters"), columns, meters));
}

