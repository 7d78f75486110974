// The edges: are they there, is anything waiting, how fresh are their meters, is the clock right.

import { get } from "./api.js";
import { el } from "./dom.js";
import { figure, isMissing, mark, number, span, sum } from "./format.js";
import { card, exportLink, headlines, table } from "./parts.js";
import { named, t } from "./words.js";

export const EVERY_S = 10;
const FRESH_S = 900;
const CLOCK_LIMIT_MS = 1_000;

export async function fleet() {
  const [answer, sites] = await Promise.all([get("edges"), get("sites")]);
  const register = new Map(sites.map((row) => [row.site, row]));
  const { edges, time_ms: nowMs } = answer;
  const nodes = [
    headlines(summary(edges, nowMs)),
    card("fleet", t("fleet_table"), null, exportLink("fleet", t("csv"), "edges", {}, "edges.csv"), table("fleet", t("fleet_table"), columns(register, nowMs), edges)),
  ];
  return { nodes, timeMs: nowMs };
}

function ageS(row, nowMs) {
  return isMissing(row.last_reading_ms) ? null : Math.max(0, (nowMs - row.last_reading_ms) / 1000);
}

function summary(edges, nowMs) {
  const online = edges.filter((row) => row.online).length;
  const told = (name) => sum(edges.map((row) => row[name]));
  const note = ({ count }) => `${count}/${edges.length} ${t("edges")}`;
  const [outbox, dropped] = [told("outbox_depth_readings"), told("dropped_readings")];
  const ages = edges.map((row) => ageS(row, nowMs));
  const known = ages.filter((age) => age !== null);
  const synchronised = edges.filter((row) => row.clock_synchronised).length;
  return [
    { title: t("edges_online"), value: `${online} / ${edges.length}`, unit: "" },
    { title: t("outbox"), value: outbox.total, unit: t("readings"), digits: 0, note: note(outbox) },
    { title: t("dropped"), value: dropped.total, unit: t("readings"), digits: 0, note: note(dropped) },
    { title: t("freshest"), value: known.length ? span(Math.max(...known)) : null, unit: "", note: `${known.length}/${edges.length} ${t("edges")}` },
    { title: `${t("clock")} · ${t("synchronised")}`, value: `${synchronised} / ${edges.length}`, unit: "" },
  ];
}

function columns(register, nowMs) {
  const count = (name) => (row) => figure(row[name], 0);
  const age = (row) => ageS(row, nowMs);
  return [
    { title: t("edge"), cell: (row) => row.edge },
    { title: t("site"), cell: (row) => el("a", { id: `site-of-${row.edge}`, href: `#/site/${row.site}` }, named(register.get(row.site) ?? {}, row.site)) },
    { title: t("state"), cell: (row) => state(row) },
    { title: t("meters_ok"), number: true, cell: (row) => (isMissing(row.meters_polled) ? figure(null) : mark(row.meters_answering === row.meters_polled ? "good" : "watch", `${row.meters_answering} / ${row.meters_polled}`)) },
    { title: t("last_reading"), number: true, cell: (row) => (isMissing(age(row)) ? figure(null) : mark(age(row) <= FRESH_S ? "good" : "bad", span(age(row)))) },
    { title: t("outbox"), unit: t("readings"), number: true, cell: count("outbox_depth_readings") },
    { title: t("oldest"), number: true, cell: (row) => (row.outbox_depth_readings === 0 ? "–" : span(row.oldest_age_s)) },
    { title: t("horizon"), number: true, cell: (row) => span(row.horizon_s) },
    { title: t("dropped"), unit: t("readings"), number: true, cell: count("dropped_readings") },
    { title: t("clock"), cell: (row) => synchronised(row) },
    { title: t("offset"), unit: "ms", number: true, cell: (row) => (isMissing(row.clock_offset_ms) ? figure(null) : mark(Math.abs(row.clock_offset_ms) <= CLOCK_LIMIT_MS ? "good" : "bad", number(row.clock_offset_ms, 0))) },
    { title: t("version"), cell: (row) => row.version ?? figure(null) },
  ];
}

function state(row) {
  if (isMissing(row.online)) return mark("unknown", t("never"));
  if (row.durable === false) return mark("bad", t("disk_fault"));
  return row.online ? mark("good", t("online")) : mark("bad", t("offline"));
}

function synchronised(row) {
  if (isMissing(row.clock_synchronised)) return figure(null);
  const text = `${row.clock_synchronised ? t("synchronised") : t("unsynchronised")} (${row.clock_source})`;
  return mark(row.clock_synchronised ? "good" : "bad", text);
}
