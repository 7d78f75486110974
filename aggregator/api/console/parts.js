// What views are made of: cards, headline figures, tables with their export.

import { address, download, token } from "./api.js";
import { el } from "./dom.js";
import { headline, isMissing, percent } from "./format.js";
import { t } from "./words.js";

// figures: [{title, value, unit, digits, share, note}] -> a row of headline figures
export function headlines(figures) {
  return el(
    "div",
    { class: "headlines" },
    figures.map(({ title, value, unit, digits, share, note }) => {
      const [shown, shownUnit] = typeof value === "string" ? [value, unit] : headline(value, unit, digits);
      const notes = [note];
      if (share !== undefined) notes.unshift(`${t("measured")} ${isMissing(share) ? t("none") : percent(share)}`);
      return el(
        "div",
        { class: "card headline" },
        el("div", { class: "label" }, title),
        el("div", { class: "value" }, shown, shownUnit ? el("span", { class: "unit" }, ` ${shownUnit}`) : null),
        notes.filter(Boolean).map((text) => el("div", { class: "note" }, text)),
      );
    }),
  );
}

export function card(id, title, note, tools, ...content) {
  return el(
    "section",
    { class: "card", id, "aria-labelledby": `${id}-title` },
    el(
      "div",
      { class: "head" },
      el("div", {}, el("h2", { id: `${id}-title` }, title), note ? el("p", { class: "note" }, note) : null),
      el("div", { class: "tools" }, tools),
    ),
    ...content,
  );
}

export function exportLink(id, label, path, parameters, name) {
  const url = address(path, { ...parameters, format: "csv" });
  const take = (event) => {
    if (!token.get()) return; // the browser follows the link itself
    event.preventDefault();
    download(url, name).catch((error) => {
      document.getElementById("status").textContent = error.message;
    });
  };
  return el("a", { class: "button", id: `${id}-csv`, href: url, download: name, onclick: take }, label);
}

// columns: [{title, unit, group, cell: row => node or text, number}]; the first one names the row.
// Neighbours with the same group stand under one heading.
export function table(id, title, columns, rows) {
  const head = [el("tr", {}, columns.map(heading))];
  if (columns.some(({ group }) => group)) head.unshift(el("tr", {}, groups(columns)));
  const lines = rows.map((row) =>
    el(
      "tr",
      {},
      columns.map(({ cell }, at) =>
        el(at ? "td" : "th", { scope: at ? null : "row", class: styles(columns, at) }, cell(row)),
      ),
    ),
  );
  if (!rows.length) return el("p", { class: "note" }, t("empty"));
  return el(
    "div",
    { class: "scroll", id: `${id}-scroll`, tabindex: "0", role: "region", "aria-label": title },
    el("table", {}, el("thead", {}, head), el("tbody", {}, lines)),
  );
}

function heading({ title, unit }, at, columns) {
  return el("th", { scope: "col", class: styles(columns, at) }, title, unit ? el("small", {}, ` ${unit}`) : null);
}

function groups(columns) {
  const found = [];
  for (const { group } of columns) {
    if (found.length && found.at(-1).group === group) found.at(-1).count += 1;
    else found.push({ group, count: 1 });
  }
  return found.map(({ group, count }) =>
    group ? el("th", { scope: "colgroup", colspan: count, class: "group" }, group) : el("td", { colspan: count }),
  );
}

function styles(columns, at) {
  const { group, number } = columns[at];
  const first = at > 0 && columns[at - 1].group !== group;
  return [number ? "number" : "", first ? "first" : ""].join(" ").trim() || null;
}

export function choice(id, label, value, options, chosen) {
  return el(
    "label",
    { class: "choice" },
    el("span", {}, label),
    el(
      "select",
      { id, onchange: (event) => chosen(event.target.value) },
      options.map(([key, text]) => el("option", { value: key, selected: key === value }, text)),
    ),
  );
}
