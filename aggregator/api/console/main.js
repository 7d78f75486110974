// Which view is shown, how often it is read again, in which language, with which token.

import { get, Refused, token } from "./api.js";
import { el } from "./dom.js";
import * as fleetView from "./fleet.js";
import { clock } from "./format.js";
import * as proofView from "./proof.js";
import * as regionView from "./region.js";
import * as siteView from "./site.js";
import { language, locale, switchLanguage, t } from "./words.js";

const kept = new Map();
const VIEWS = {
  region: [regionView.EVERY_S, () => regionView.region()],
  site: [siteView.EVERY_S, (id) => siteView.site(id, kept)],
  fleet: [fleetView.EVERY_S, () => fleetView.fleet()],
  proof: [proofView.EVERY_S, (id, period) => proofView.proof(id, period)],
};
const main = document.getElementById("main");
const status = document.getElementById("status");
let turn = 0; // a view that was left, or a slower answer, must not be shown any more
let timer;
let shown = "";

function route() {
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  return VIEWS[name] ? [name, ...rest] : ["region"];
}

function frame(name) {
  document.documentElement.lang = locale();
  document.title = `${t(name)} · ${t("title")} · nenghao`;
  document.getElementById("title").textContent = t("title");
  const skip = document.getElementById("skip");
  skip.textContent = t("skip");
  skip.onclick = (event) => {
    event.preventDefault(); // the address names the view
    main.focus();
  };
  const nav = document.getElementById("nav");
  nav.setAttribute("aria-label", t("views"));
  put(nav, Object.keys(VIEWS).map((view) => el("a", { id: `nav-${view}`, href: `#/${view}`, "aria-current": view === name ? "page" : null }, t(view))));
  const change = () => {
    switchLanguage();
    shown = "";
    show();
  };
  const forget = () => {
    token.clear();
    shown = "";
    show();
  };
  put(document.getElementById("tools"), [
    token.get() ? el("button", { type: "button", id: "forget", onclick: forget }, t("forget")) : null,
    el("a", { id: "api-docs", href: "docs" }, t("api")),
    el("button", { type: "button", id: "language", lang: language() === "zh" ? "en" : "zh-CN", onclick: change }, t("language")),
  ]);
}

// Replaces what is in a place and leaves the keyboard, scrolling and opened parts where they were.
function put(place, nodes) {
  const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
  const opened = [...place.querySelectorAll("details[open]")].map((part) => part.id);
  const scrolled = [...place.querySelectorAll(".scroll")].map((part) => [part.id, part.scrollLeft, part.scrollTop]);
  place.replaceChildren(...nodes.filter(Boolean));
  for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
  for (const [id, left, top] of scrolled) document.getElementById(id)?.scrollTo(left, top);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

async function show() {
  clearTimeout(timer);
  const mine = ++turn;
  const [name, ...rest] = route();
  const [everyS, view] = VIEWS[name];
  const here = [name, ...rest].join("/");
  frame(name);
  if (shown !== here) {
    main.setAttribute("aria-busy", "true");
    status.textContent = t("loading");
  }
  try {
    const { nodes, timeMs, after } = await view(...rest);
    const health = await get("health");
    if (mine !== turn) return;
    put(main, nodes);
    after?.();
    status.textContent = "";
    status.className = "";
    const time = timeMs === null ? "–" : `${clock(timeMs)} (${t("beijing")})`;
    document.getElementById("footer").textContent = `${t("updated")} ${time} · ${t("factors")} ${health.factor_set_title}`;
    if (shown !== here) window.scrollTo(0, 0);
    shown = here;
    main.dataset.shown = `${here} ${language()}`;
  } catch (error) {
    if (mine !== turn) return;
    if (error instanceof Refused && error.status === 401) {
      askToken();
      return;
    }
    status.textContent = `${t("failed")} — ${error.message}`;
    status.className = "bad";
  } finally {
    if (mine === turn) main.removeAttribute("aria-busy");
  }
  timer = setTimeout(show, everyS * 1000);
}

function askToken() {
  const wrong = token.get() !== "";
  token.clear();
  frame(route()[0]);
  status.textContent = "";
  const field = el("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const enter = (event) => {
    event.preventDefault();
    token.set(field.value.trim());
    show();
  };
  put(main, [
    el(
      "form",
      { class: "card token", onsubmit: enter },
      el("h2", {}, t("token_title")),
      el("p", { class: "note" }, t("token_text")),
      wrong ? el("p", { role: "alert", class: "bad" }, t("token_wrong")) : null,
      el("label", { for: "token" }, t("token_label")),
      field,
      el("button", { type: "submit", id: "enter" }, t("token_enter")),
    ),
  ]);
  shown = "";
  main.dataset.shown = `token ${language()}`;
  field.focus();
}

window.addEventListener("hashchange", show);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else show();
});
show();
