// Curves over time by uPlot (window.uPlot, from the installed package). A null is a gap.

import { clock, isMissing, number } from "./format.js";
import { t } from "./words.js";

const AXIS = { stroke: "#5b6b7c", grid: { stroke: "#e6ebf0", width: 1 }, ticks: { stroke: "#e6ebf0" }, font: "12px system-ui" };
const HEIGHT = 280;

// The points of a load curve; the last step has its length too.
export function steps({ load, grid_ms: gridMs }) {
  const points = load.map((row) => [row.start_ms, row.power_kw]);
  const last = points.at(-1);
  return last ? [...points, [last[0] + gridMs, last[1]]] : points;
}

// curves: [{label, unit, color, fill, stepped, points: [[ms, value]]}]; from, to in ms
export function draw(target, curves, fromMs, toMs) {
  const { uPlot } = window;
  const tables = curves.map(({ points }) => [points.map(([ms]) => ms / 1000), points.map(([, y]) => y)]);
  const shown = (unit) => (_, value, _series, at) => {
    if (isMissing(at)) return "–"; // the pointer is elsewhere
    return isMissing(value) ? t("none") : `${number(value, 1)} ${unit}`;
  };
  const options = {
    width: Math.max(200, target.clientWidth),
    height: HEIGHT,
    cursor: { drag: { setScale: false } },
    legend: { live: true },
    scales: { x: { time: true, range: [fromMs / 1000, toMs / 1000] }, y: { range: (_, low, high) => [Math.min(0, low ?? 0), Math.max(1, high ?? 1) * 1.08] } },
    series: [
      { label: t("time"), value: (_, s) => (s ? clock(s * 1000) : "–") },
      ...curves.map(({ label, unit, color, fill, stepped }) => ({
        label,
        stroke: color,
        fill,
        width: 2,
        paths: stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
        points: { show: !stepped, size: 4 },
        value: shown(unit),
      })),
    ],
    axes: [
      { ...AXIS, values: (_, splits) => splits.map((s) => clock(s * 1000, false)) },
      { ...AXIS, size: 60, label: curves[0]?.unit, labelSize: 18, labelFont: AXIS.font, values: (_, splits) => splits.map((y) => number(y, 0)) },
    ],
  };
  const chart = new uPlot(options, uPlot.join(tables), target);
  new ResizeObserver(() => {
    const width = target.clientWidth;
    if (width && width !== chart.width) chart.setSize({ width, height: HEIGHT });
  }).observe(target);
}
