"use strict";
// ---- how far each broker's log is -------------------------------------------------------------------------------------
// A strip below the lane of a broker: the end of its log and of what is durable in bytes, and what each group has consumed of what there
// is for it. Bytes and each group have a scale of their own, from the lowest to the highest value in view. A line breaks while the broker
// does not serve, and a dotted one leads to where it goes on.
const STRIP = 74, WATERMARKS = 4, READERS = ["--violet", "--amber", "--red", "--dim"];

// The curves of a picture by lane.
function strips(curves) {
  const byLane = new Map();
  for (const c of curves) {
    const strip = byLane.get(c.lane) || { log: {}, groups: new Map() };
    if (c.group) strip.groups.set(c.group, { ...strip.groups.get(c.group), [c.kind]: c });
    else strip.log[c.kind] = c;
    byLane.set(c.lane, strip);
  }
  return byLane;
}

// The index of the point that holds at a time; -1 before the first.
function pointAt(c, t) {
  let low = 0, high = c.t.length;
  while (low < high) { const mid = (low + high) >> 1; if (c.t[mid] <= t) low = mid + 1; else high = mid; }
  return low - 1;
}
const valueAt = (c, t) => { const i = c ? pointAt(c, t) : -1; return i < 0 ? -1 : c.v[i]; };
const lastValue = (c, t) => { let i = c ? pointAt(c, t) : -1; while (i > 0 && c.v[i] < 0) i--; return i < 0 ? -1 : c.v[i]; };

// From the lowest to the highest value in view; from zero where that is not far below.
function scale(curves, high, low) {
  let least = Infinity, most = 1;
  for (const c of curves.filter(Boolean)) {
    for (let i = Math.max(0, pointAt(c, view.from)); i < c.t.length && c.t[i] <= view.to; i++) if (c.v[i] >= 0) { least = Math.min(least, c.v[i]); most = Math.max(most, c.v[i]); }
  }
  if (least > most * 0.9) least = Math.min(least, most - 1); else if (least < most / 2) least = 0;
  return (v) => low - (v - least) / (most - least) * (low - high);
}

// Steps through the points in view; `gap` gets the two ends of each break, and by how much the value is lower then.
function trace(c, from, to, width, px, py, line, gap) {
  let before = null, broken = null;
  for (let i = Math.max(0, pointAt(c, from)); i < c.t.length && c.t[i] <= to; i++) {
    const x = px(c.t[i]);
    if (c.v[i] < 0) { if (before) { line(x, before[1]); broken = [x, ...before.slice(1)]; } before = null; continue; }
    const y = py(c.v[i]);
    if (before) { line(x, before[1]); line(x, y); }
    else { if (broken) gap(broken[0], broken[1], x, y, broken[2] - c.v[i]); line(x, y, true); }
    before = [x, y, c.v[i]];
  }
  if (before) line(Math.min(width, px(Math.min(to, end))), before[1]);
}

function curve(g, c, width, px, py, style) {
  const gaps = [];
  g.strokeStyle = style.color; g.lineWidth = style.wide || 1.5; g.setLineDash(style.dash || []);
  g.beginPath();
  trace(c, view.from, view.to, width, px, py, (x, y, first) => first ? g.moveTo(x, y) : g.lineTo(x, y), (...ends) => gaps.push(ends));
  g.stroke();
  g.setLineDash([1, 3]); g.lineWidth = 1;
  g.beginPath();
  for (const [x0, y0, x1, y1] of gaps) { g.moveTo(x0, y0); g.lineTo(x1, y1); }
  g.stroke(); g.setLineDash([]); g.lineWidth = 1;
  return gaps;
}

// What is durable is an area, so that what a power cut would take is the white between it and the line above.
function area(g, c, width, px, py, bottom, fill) {
  let last = null;
  g.fillStyle = fill; g.globalAlpha = 0.22;
  g.beginPath();
  const close = () => { if (last !== null) { g.lineTo(last, bottom); g.closePath(); } };
  trace(c, view.from, view.to, width, px, py, (x, y, first) => {
    if (first) { close(); g.moveTo(x, bottom); }
    g.lineTo(x, y); last = x;
  }, () => {});
  close(); g.fill(); g.globalAlpha = 1;
}

const bytes = (n) => n < 10000 ? grouped(n) + " B" : n < 1000000 ? (n / 1000).toFixed(1) + " kB" : (n / 1000000).toFixed(2) + " MB";
const tones = (strip) => new Map([...strip.groups.keys()].map((group, i) => [group, READERS[Math.min(i, READERS.length - 1)]]));

function drawStrip(g, strip, top, width, px) {
  const high = top + 14, low = top + STRIP - 5, { appended, durable } = strip.log, log = scale([appended, durable], high, low);
  if (durable) area(g, durable, width, px, log, low, css("--green"));
  if (durable) curve(g, durable, width, px, log, { color: css("--green") });
  const gaps = appended ? curve(g, appended, width, px, log, { color: css("--blue") }) : [];
  for (const [group, color] of tones(strip)) {
    const { consumed, stored } = strip.groups.get(group);
    if (consumed) curve(g, consumed, width, px, scale([consumed, stored], high, low), { color: css(color), dash: [5, 3] });
  }
  g.font = "600 11px system-ui, sans-serif"; g.textBaseline = "middle"; g.fillStyle = css("--red");
  for (const [, , x, y, lost] of gaps) if (lost > 0) g.fillText("−" + bytes(lost), x + 4, Math.max(y - 9, top + 7));
}

// Left of the strip: what its lines are, with their values at the right end of the view.
function stripLegend(g, strip, top) {
  const t = Math.min(view.to, end), rows = [["log", "--blue", lastValue(strip.log.appended, t)], ["durable", "--green", lastValue(strip.log.durable, t)]]
    .map(([name, color, v]) => [name, color, v < 0 ? "–" : bytes(v)]);
  for (const [group, color] of tones(strip)) {
    const { consumed, stored } = strip.groups.get(group), [c, s] = [lastValue(consumed, t), lastValue(stored, t)];
    rows.push([group, color, c < 0 ? "–" : s > c ? "lag " + grouped(s - c) : "all"]);
  }
  g.font = "11px system-ui, sans-serif"; g.textBaseline = "middle";
  rows.slice(0, 5).forEach(([name, color, text], i) => {
    const y = top + 9 + i * 13;
    g.fillStyle = css(color); g.fillRect(10, y - 1, 9, 2);
    g.fillStyle = css("--dim"); g.fillText(fit(g, name, 50), 23, y); g.textAlign = "right"; g.fillText(text, GUTTER - 8, y); g.textAlign = "left";
  });
}
function fit(g, text, width) {
  if (g.measureText(text).width <= width) return text;
  let n = text.length;
  while (n > 1 && g.measureText(text.slice(0, n) + "…").width > width) n--;
  return text.slice(0, n) + "…";
}

// The values at a moment, for the pointer.
function tellStrip(name, strip, t) {
  const log = valueAt(strip.log.appended, t), durable = valueAt(strip.log.durable, t), at = `${(t / 1000).toFixed(3)} ms  ${name}`;
  if (log < 0) return `${at}\ndoes not serve`;
  const open = log > durable ? `, ${grouped(log - durable)} B a power cut would take` : "";
  const groups = [...strip.groups].map(([group, { consumed, stored }]) => {
    const [c, s] = [valueAt(consumed, t), valueAt(stored, t)];
    return `\n${group}: consumed ${grouped(c)} of ${grouped(s)}` + (s > c ? `, ${grouped(s - c)} behind` : "");
  });
  return `${at}\nlog to ${grouped(log)} B, durable to ${grouped(durable)} B${open}${groups.join("")}`;
}
