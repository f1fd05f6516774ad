const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const el = (tag, props = {}, ...kids) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...kids.filter((k) => k !== null && k !== undefined));
  return node;
};
const grouped = (n) => Number(n).toLocaleString("en-US");
const span = (ms) => ms < 60000 ? (ms / 1000).toFixed(1) + " s" : ms < 3600000
  ? Math.floor(ms / 60000) + " m " + Math.floor(ms / 1000 % 60) + " s"
  : Math.floor(ms / 3600000) + " h " + Math.floor(ms / 60000 % 60) + " m";
const handle = (run) => run.scenario + ":" + run.seed;
const badge = (verdict, text) => el("span", { className: "badge " + verdict, textContent: text || verdict });
const sum = (o) => Object.values(o).reduce((a, b) => a + b, 0);

// ---- what was run -------------------------------------------------------------------------------------------------
function overview() {
  const all = data.all, wall = data.wall_ms / 1000 || 1;
  $("verdict").append(badge(all.worst, all.worst === "green" ? "green" : `${all.red} of ${all.runs} not green`));
  const figures = {
    runs: grouped(all.runs), "real time": span(data.wall_ms), "virtual time": span(all.virtual_ms), events: grouped(all.events),
    "faults that took effect": grouped(sum(all.faults)), acknowledged: grouped(all.acked), delivered: grouped(all.delivered),
    "seeds / s": (all.runs / wall).toFixed(1), "events / s": grouped(Math.round(all.events / wall)),
    "virtual s / CPU s": all.cpu_ms ? grouped(Math.round(all.virtual_ms / all.cpu_ms)) : "–",
  };
  for (const [k, v] of Object.entries(figures)) $("figures").append(el("div", {}, el("dt", { textContent: k }), el("dd", { textContent: v })));
  const head = ["scenario", "seeds", "virtual", "events", "acked", "delivered", "recovery ≤", "marks", "verdict", "faults that took effect", "protects"];
  const rows = data.scenarios.map((s) => {
    const f = Object.entries(s.sums.faults).map(([k, n]) => `${k} ${grouped(n)}`).join(", ") || "–";
    const m = s.sums.recovery_ms_max;
    const cells = [s.sums.runs, span(s.sums.virtual_ms), grouped(s.sums.events), grouped(s.sums.acked), grouped(s.sums.delivered), m == null ? "–" : span(m), s.sums.marks];
    return el("tr", {}, el("td", { className: "name", textContent: s.name }), ...cells.map((c) => el("td", { className: "n", textContent: c })),
      el("td", {}, badge(s.sums.worst, s.sums.worst === "green" ? "" : `${s.sums.worst} ${s.sums.red}/${s.sums.runs}`)),
      el("td", { textContent: f }), el("td", { className: "dim", textContent: s.about || "" }));
  });
  $("scenarios").append(el("thead", {}, el("tr", {}, ...head.map((h, i) => el("th", { textContent: h, className: i > 0 && i < 8 ? "n" : "" })))), el("tbody", {}, ...rows));
  const marks = Object.entries(data.marks).map(([m, n]) => el("span", { className: "chip", textContent: `${m} × ${grouped(n)}` }));
  const missed = data.unreached.map((m) => el("span", { className: "chip bad", textContent: m + " – never reached" }));
  $("marks").append(...marks, ...missed);
  if (!marks.length && !missed.length) $("marks").append(el("span", { className: "dim", textContent: "none" }));
}

function failures() {
  const red = data.runs.filter((r) => r.verdict !== "green");
  const groups = new Map();
  for (const run of red) {
    const key = run.verdict === "red" ? run.signature : run.verdict;
    groups.has(key) ? groups.get(key).more.push(run) : groups.set(key, { run, more: [] });
  }
  $("failures").append(el("h2", { textContent: red.length ? `Failures: ${groups.size} kind${groups.size > 1 ? "s" : ""} in ${red.length} runs` : "Failures" }));
  if (!red.length) $("failures").append(el("div", { className: "card clean" }, el("p", { textContent: "No run failed." })));
  for (const complaint of data.complaints) $("failures").append(el("div", { className: "card" }, el("p", { textContent: "Nothing proven: " + complaint })));
  for (const { run, more } of groups.values()) $("failures").append(card(run, more));
}

function proof(v) {
  const pre = el("pre");
  v.proof.forEach((line, i) => pre.append(el("b", { textContent: v.lines[i] ?? "" }), line + "\n"));
  return pre;
}

function card(run, more) {
  const [first, ...others] = run.violations || [];
  const show = run.picture ? el("button", { textContent: "show timeline", onclick: () => open(run, true) }) : null;
  const card = el("div", { className: "card" }, el("h3", {}, badge(run.verdict), handle(run), el("code", { textContent: run.signature || "" }), show));
  if (run.note) card.append(el("pre", { className: "wrap", textContent: run.note }));
  if (first) card.append(el("p", {}, el("strong", { textContent: first.oracle + ": " }), first.text), proof(first));
  if (others.length) {
    card.append(el("details", {}, el("summary", { textContent: `${others.length} more violations in this run` }),
      ...others.map((v) => el("div", {}, el("p", {}, el("strong", { textContent: v.oracle + ": " }), v.text), proof(v)))));
  }
  if (run.tape) card.append(el("pre", { textContent: `cargo sim replay ${run.tape}` }));
  if (more.length) card.append(el("p", { className: "dim", textContent: `${more.length} more like it: ` + more.slice(0, 20).map(handle).join(", ") + (more.length > 20 ? ", …" : "") }));
  return card;
}

function runs() {
  const head = ["run", "verdict", "signature", "virtual", "events", "acked", "delivered", "faults", "hash", ""];
  const body = el("tbody");
  $("runs").append(el("thead", {}, el("tr", {}, ...head.map((h) => el("th", { textContent: h })))), body);
  const render = () => {
    const want = $("find").value.toLowerCase(), hits = data.runs.filter((r) => (handle(r) + r.verdict + (r.signature || "")).toLowerCase().includes(want));
    $("found").textContent = `${grouped(hits.length)} of ${grouped(data.runs.length)}` + (hits.length > 500 ? ", the first 500 shown" : "");
    body.replaceChildren(...hits.slice(0, 500).map((r) => {
      const cells = [r.signature || "", span(r.virtual_ms), grouped(r.events), grouped(r.acked), grouped(r.delivered),
        Object.entries(r.faults).map(([k, n]) => `${k} ${n}`).join(", ")];
      const row = el("tr", { className: r.picture ? "go" : "" }, el("td", { className: "name", textContent: handle(r) }), el("td", {}, badge(r.verdict)),
        ...cells.map((c) => el("td", { textContent: c })), el("td", { className: "mono dim", textContent: r.hash.slice(0, 12) }), el("td", { textContent: r.picture ? "timeline" : "" }));
      if (r.picture) row.onclick = () => open(r, true);
      return row;
    }));
  };
  $("find").oninput = render;
  render();
}

// ---- the picture --------------------------------------------------------------------------------------------------
const KINDS = ["messages", "faults", "states", "clients", "watermarks"];
const GUTTER = 132, AXIS = 22;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
let run = null, ev = null, lanes = [], view = { from: 0, to: 1 }, end = 1, pinned = new Set();
const hidden = { kinds: new Set(), names: new Set(), lanes: new Set() };
let water = new Map(), rows = new Map(), names = new Map(), shown = new Uint8Array(0), nameOf = [], spots = [];
const PALETTE = ["--blue", "--green", "--violet", "--amber", "--dim"];

function open(which, scroll) {
  run = which;
  const p = run.picture, e = p.events;
  ev = { t: Float64Array.from(e.t), u: Float64Array.from(e.u), l: e.l, k: e.k, o: e.o, x: e.x, texts: e.texts };
  lanes = p.lanes;
  water = strips(p.curves);
  end = Math.max(run.virtual_ms * 1000, ...[ev.t[ev.t.length - 1] || 0]) || 1;
  pinned = new Set((run.violations || []).flatMap((v) => v.lines));
  hidden.kinds.clear(); hidden.names.clear(); hidden.lanes.clear();
  $("text").value = ""; $("pick").value = handle(run);
  $("about").textContent = `${grouped(ev.t.length)} events` + (p.left_out ? `, ${grouped(p.left_out)} left out` : "");
  $("proof").hidden = !(run.violations || []).length;
  nameOf = ev.texts.map((t) => t.split(/[ #(:]/, 1)[0]);
  const counts = new Map();
  for (let i = 0; i < ev.t.length; i++) if (ev.k[i] === 0) counts.set(nameOf[ev.x[i]], (counts.get(nameOf[ev.x[i]]) || 0) + 1);
  const sorted = [...counts].sort((a, b) => b[1] - a[1]);
  names = new Map(sorted.map(([name, n], i) => [name, { n, color: PALETTE[Math.min(i, PALETTE.length - 1)] }]));
  $("viewer").hidden = false;
  chips(); refilter(); whole();
  if (scroll) { $("viewer").scrollIntoView({ behavior: "smooth" }); if (pinned.size || (run.violations || []).length) toProof(); }
}

function chip(text, set, key, color) {
  const c = el("span", { className: "chip" + (set.has(key) ? " off" : "") });
  if (color) c.append(el("i", { style: `background:var(${color})` }));
  c.append(text);
  c.onclick = (e) => {
    if (e.shiftKey || e.altKey) return only(set, key);
    set.has(key) ? set.delete(key) : set.add(key);
    chips(); refilter(); draw();
  };
  c.title = "click: hide or show; shift-click: only this";
  return c;
}
function only(set, key) {
  const all = set === hidden.kinds ? KINDS.map((_, i) => i) : set === hidden.names ? [...names.keys()] : lanes.map((_, i) => i);
  const alone = all.every((k) => k === key || set.has(k)) && !set.has(key);
  set.clear();
  if (!alone) all.filter((k) => k !== key).forEach((k) => set.add(k));
  chips(); refilter(); draw();
}
function chips() {
  $("kinds").replaceChildren(...KINDS.map((k, i) => chip(k, hidden.kinds, i)));
  $("names").replaceChildren(...[...names].map(([n, { n: count, color }]) => chip(`${n} ${grouped(count)}`, hidden.names, n, color)));
  $("lanes").replaceChildren(...lanes.map((lane, i) => chip(lane.name, hidden.lanes, i)));
}
function refilter() {
  const want = $("text").value.toLowerCase(), hit = ev.texts.map((t) => !want || t.toLowerCase().includes(want));
  shown = new Uint8Array(ev.t.length);
  for (let i = 0; i < ev.t.length; i++) {
    const laneOff = hidden.lanes.has(ev.l[i]) || (ev.k[i] === 0 && hidden.lanes.has(ev.o[i]));
    shown[i] = !hidden.kinds.has(ev.k[i]) && hit[ev.x[i]] && !laneOff && !(ev.k[i] === 0 && hidden.names.has(nameOf[ev.x[i]])) ? 1 : 0;
  }
}
const whole = () => { view = { from: -end * 0.01, to: end * 1.01 }; draw(); };
function zoom(factor, at) {
  const width = Math.min(Math.max((view.to - view.from) * factor, 20), end * 1.2);
  const share = (at - view.from) / (view.to - view.from);
  view = { from: at - width * share, to: at + width * (1 - share) };
  draw();
}
function toProof() {
  const times = [];
  for (let i = 0; i < ev.t.length; i++) if (ev.k[i] === 3 && pinned.has(ev.o[i])) times.push(ev.t[i]);
  const v = (run.violations || [])[0];
  if (v) times.push(v.at_ms * 1000);
  if (!times.length) return;
  const first = Math.min(...times.slice(0, 8), times[times.length - 1]), last = Math.max(...times.slice(0, 8), times[times.length - 1]);
  const pad = Math.max((last - first) * 0.15, 50000);
  view = { from: first - pad, to: last + pad };
  draw();
}

function surface(id, height) {
  const c = $(id), ratio = window.devicePixelRatio || 1, width = c.clientWidth;
  c.style.height = height + "px"; c.width = width * ratio; c.height = height * ratio;
  const g = c.getContext("2d");
  g.scale(ratio, ratio);
  g.clearRect(0, 0, width, height);
  return [g, width];
}
const stamp = (us) => {
  const ms = us / 1000, width = (view.to - view.from) / 1000;
  return width < 20 ? ms.toFixed(3) + " ms" : width < 5000 ? (ms / 1000).toFixed(3) + " s" : width < 120000 ? (ms / 1000).toFixed(1) + " s" : span(ms);
};
let scheduled = false, settling = 0;
function draw() {
  if (!scheduled) { scheduled = true; requestAnimationFrame(() => { scheduled = false; paint(); map(); }); }
  clearTimeout(settling);
  settling = setTimeout(() => { list(); link(); }, 120);
}
// The address names run and stretch, so that a view can be kept and passed on.
const link = () => history.replaceState(null, "", "#" + encodeURIComponent(`${handle(run)}@${Math.round(view.from / 1000)}-${Math.round(view.to / 1000)}`));
function follow() {
  const [, name, from, to] = decodeURIComponent(location.hash).match(/^#(.*)@(-?[\d.]+)-([\d.]+)$/) || [];
  const named = data.runs.find((r) => r.picture && handle(r) === name);
  if (!named || !(Number(to) > Number(from))) return false;
  open(named, false);
  view = { from: from * 1000, to: to * 1000 };
  draw();
  return true;
}

function paint() {
  const open = lanes.map((_, i) => i).filter((i) => !hidden.lanes.has(i));
  const tall = Math.max(26, Math.min(64, 560 / Math.max(open.length, 1)));
  const deep = (lane) => water.has(lane) && !hidden.kinds.has(WATERMARKS) ? STRIP : 0;
  let height = AXIS;
  rows = new Map(open.map((lane) => [lane, { top: (height += tall + deep(lane)) - tall - deep(lane), strip: height - deep(lane), bottom: height }]));
  const [g, width] = surface("chart", height += 8);
  const y = new Map([...rows].map(([lane, row]) => [lane, row.top + tall / 2]));
  const px = (t) => GUTTER + (t - view.from) / (view.to - view.from) * (width - GUTTER);
  const color = { line: css("--line"), ink: css("--ink"), dim: css("--dim"), lane: css("--lane"), red: css("--red"), fault: css("--fault"), card: css("--card"), green: css("--green"), blue: css("--blue"), violet: css("--violet"), amber: css("--amber") };
  spots = [];
  open.forEach((lane, n) => { if (n % 2 === 0) { const { top, bottom } = rows.get(lane); g.fillStyle = color.lane; g.fillRect(0, top, width, bottom - top); } });
  axis(g, width, height, px, color);
  g.save();
  g.beginPath(); g.rect(GUTTER, 0, width - GUTTER, height); g.clip();
  faults(g, px, y, tall, width, color);
  open.forEach((lane) => { g.strokeStyle = color.line; g.beginPath(); g.moveTo(GUTTER, y.get(lane)); g.lineTo(width, y.get(lane)); g.stroke(); });
  messages(g, px, y, tall, width, color);
  open.filter(deep).forEach((lane) => drawStrip(g, water.get(lane), rows.get(lane).strip, width, px));
  points(g, px, y, tall, width, color);
  for (const v of run.violations || []) {
    const x = px(v.at_ms * 1000);
    g.strokeStyle = color.red; g.setLineDash([4, 3]); g.beginPath(); g.moveTo(x, AXIS); g.lineTo(x, height); g.stroke(); g.setLineDash([]);
  }
  g.restore();
  g.textBaseline = "middle";
  open.forEach((lane) => {
    g.fillStyle = color.ink; g.font = "600 12px system-ui, sans-serif"; g.fillText(lanes[lane].name, 10, y.get(lane) - (tall > 40 ? 7 : 0), GUTTER - 16);
    if (tall > 40) { g.fillStyle = color.dim; g.font = "11px system-ui, sans-serif"; g.fillText(lanes[lane].role, 10, y.get(lane) + 9, GUTTER - 16); }
    if (deep(lane)) stripLegend(g, water.get(lane), rows.get(lane).strip);
  });
}

function axis(g, width, height, px, color) {
  const room = (view.to - view.from) / Math.max(3, (width - GUTTER) / 130), power = 10 ** Math.floor(Math.log10(room));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= room);
  g.font = "11px system-ui, sans-serif"; g.textBaseline = "middle"; g.lineWidth = 1;
  for (let t = Math.ceil(Math.max(view.from, 0) / step) * step; t <= view.to; t += step) {
    const x = px(t);
    if (x < GUTTER) continue;
    g.strokeStyle = color.line; g.beginPath(); g.moveTo(x, AXIS - 5); g.lineTo(x, height); g.stroke();
    g.fillStyle = color.dim; g.fillText(stamp(t), x + 4, AXIS / 2);
  }
}

function faults(g, px, y, tall, width, color) {
  const shaded = new Map(), barred = new Map();
  g.font = "600 11px system-ui, sans-serif"; g.textBaseline = "top";
  for (let i = 0; i < ev.t.length; i++) {
    if (ev.k[i] !== 1 || !shown[i] || !y.has(ev.l[i])) continue;
    const moment = ev.u[i] < 0, from = px(ev.t[i]), to = moment ? from + 3 : px(ev.u[i]);
    if (to < GUTTER || from > width) continue;
    const top = y.get(ev.l[i]) - tall / 2 + 1, w = Math.max(to - from, 3), text = ev.texts[ev.x[i]];
    // Faults that lie on each other are shaded once, and begin with one bar where they begin together.
    const bottom = rows.get(ev.l[i]).bottom - 1, dark = shaded.get(ev.l[i]) ?? -1e9, clear = Math.max(from, dark);
    if (from + w > clear) { g.fillStyle = color.fault; g.fillRect(clear, top, from + w - clear, bottom - top); shaded.set(ev.l[i], from + w); }
    if (from - (barred.get(ev.l[i]) ?? -1e9) > 5) { g.fillStyle = color.red; g.fillRect(from, top, 2, bottom - top); barred.set(ev.l[i], from); }
    if (w > 50 || moment) { g.save(); g.beginPath(); g.rect(Math.max(from, GUTTER), top, moment ? 160 : w - 4, tall); g.clip(); g.fillText(text, Math.max(from, GUTTER) + 5, top + 2); g.restore(); }
    spots.push([from, top, w, tall - 2, i]);
  }
}

function messages(g, px, y, tall, width, color) {
  const inView = [];
  for (let i = 0; i < ev.t.length; i++) {
    if (ev.k[i] !== 0 || !shown[i] || ev.t[i] > view.to || Math.max(ev.u[i], ev.t[i]) < view.from || !y.has(ev.l[i]) || !y.has(ev.o[i])) continue;
    inView.push(i);
  }
  if (inView.length > 2500) return density(g, px, y, tall, width, color, inView);
  const tones = new Map([...names].map(([name, { color }]) => [name, css(color)]));
  for (const i of inView) {
    const lost = ev.u[i] < 0, x0 = px(ev.t[i]), y0 = y.get(ev.l[i]), y1 = y.get(ev.o[i]);
    const x1 = lost ? x0 + 6 : px(ev.u[i]), tone = lost ? color.red : tones.get(nameOf[ev.x[i]]);
    g.strokeStyle = tone; g.globalAlpha = inView.length > 1500 ? 0.35 : inView.length > 300 ? 0.6 : 0.9;
    const ye = lost ? y0 + (y1 - y0) * 0.4 : y1;
    g.beginPath(); g.moveTo(x0, y0); g.lineTo(x1, ye); g.stroke();
    if (lost) { g.beginPath(); g.moveTo(x1 - 3, ye - 3); g.lineTo(x1 + 3, ye + 3); g.moveTo(x1 + 3, ye - 3); g.lineTo(x1 - 3, ye + 3); g.stroke(); }
    else if (inView.length < 800) { g.fillStyle = tone; g.beginPath(); g.arc(x1, ye, 2.2, 0, 7); g.fill(); }
    g.globalAlpha = 1;
    if (inView.length < 60 && Math.abs(x1 - x0) + 40 > 0) { g.fillStyle = color.dim; g.font = "10px system-ui, sans-serif"; g.textBaseline = "middle"; g.fillText(ev.texts[ev.x[i]], x0 + 4, y0 + Math.sign(y1 - y0) * 8); }
    spots.push([x0, y0, x1 - x0, ye - y0, i, 1]);
  }
}

// Too many lines to tell apart: bars of how many frames each lane sent per stretch of three pixels.
function density(g, px, y, tall, width, color, inView) {
  const cells = new Map(), size = 3;
  let most = 1;
  for (const i of inView) {
    const key = ev.l[i] * 100000 + Math.floor(px(ev.t[i]) / size), cell = cells.get(key) || { n: 0, lost: 0 };
    cell.n++; cell.lost += ev.u[i] < 0 ? 1 : 0; most = Math.max(most, cell.n); cells.set(key, cell);
  }
  for (const [key, cell] of cells) {
    const lane = Math.floor(key / 100000), x = key % 100000 * size, h = Math.max(1, Math.sqrt(cell.n / most) * (tall - 8));
    g.fillStyle = color.blue; g.globalAlpha = 0.55; g.fillRect(x, y.get(lane) - h / 2, size - 0.5, h); g.globalAlpha = 1;
    if (cell.lost) { const r = Math.max(2, h * cell.lost / cell.n); g.fillStyle = color.red; g.fillRect(x, y.get(lane) - r / 2, size - 0.5, r); }
  }
  g.fillStyle = color.dim; g.font = "11px system-ui, sans-serif"; g.textBaseline = "bottom"; g.textAlign = "right";
  g.fillText(`${grouped(inView.length)} frames in view: zoom in to see each`, width - 8, AXIS + 14); g.textAlign = "left";
}

function points(g, px, y, tall, width, color) {
  const lastLabel = new Map(), bars = new Map();
  let count = 0;
  for (let i = 0; i < ev.t.length; i++) if (ev.k[i] >= 3 && shown[i] && ev.t[i] >= view.from && ev.t[i] <= view.to) count++;
  for (let i = 0; i < ev.t.length; i++) {
    const k = ev.k[i];
    if (k < 2 || !shown[i] || ev.t[i] < view.from || ev.t[i] > view.to || !y.has(ev.l[i])) continue;
    const x = px(ev.t[i]), mid = y.get(ev.l[i]), hit = k === 3 && pinned.has(ev.o[i]);
    if (k === 2 && x - (bars.get(ev.l[i]) ?? -1e9) < 4) { spots.push([x - 3, mid - tall * 0.4, 6, tall * 0.8, i]); continue; }
    if (k === 2) { bars.set(ev.l[i], x); g.fillStyle = color.violet; g.fillRect(x - 1, mid - tall * 0.32, 2, tall * 0.64); }
    else { g.fillStyle = hit ? color.red : color.green; g.beginPath(); g.arc(x, mid + tall * 0.3, hit ? 4.5 : 2, 0, 7); g.fill(); }
    if (hit) { g.strokeStyle = color.red; g.beginPath(); g.arc(x, mid + tall * 0.3, 8, 0, 7); g.stroke(); }
    const row = k === 2 ? -1 : 1, key = ev.l[i] * 4 + row;
    if ((k === 2 || hit || count < 80) && x > (lastLabel.get(key) ?? -1e9)) {
      g.font = (hit ? "600 " : "") + "11px system-ui, sans-serif"; g.textBaseline = "middle";
      const text = fit(g, ev.texts[ev.x[i]], 280), wide = g.measureText(text).width, at = mid + row * tall * 0.3;
      g.fillStyle = color.card; g.globalAlpha = 0.8; g.fillRect(x + (hit ? 10 : 4), at - 7, wide + 4, 14); g.globalAlpha = 1;
      g.fillStyle = hit ? color.red : k === 2 ? color.violet : color.dim;
      g.fillText(text, x + (hit ? 12 : 6), at);
      lastLabel.set(key, x + 18 + wide);
    }
    spots.push([x - 3, mid - tall * 0.4, 6, tall * 0.8, i]);
  }
}

function map() {
  const [g, width] = surface("map", 44), bins = new Float64Array(Math.max(1, width - GUTTER)), red = css("--red");
  const px = (t) => GUTTER + t / end * (width - GUTTER);
  for (let i = 0; i < ev.t.length; i++) if (shown[i]) bins[Math.min(bins.length - 1, Math.max(0, Math.floor(px(ev.t[i]) - GUTTER)))]++;
  const most = bins.reduce((a, b) => Math.max(a, b), 1);
  g.fillStyle = css("--blue"); g.globalAlpha = 0.5;
  bins.forEach((n, x) => { if (n) { const h = Math.sqrt(n / most) * 36; g.fillRect(GUTTER + x, 40 - h, 1, h); } });
  g.globalAlpha = 1;
  g.fillStyle = css("--fault");
  for (let i = 0; i < ev.t.length; i++) if (ev.k[i] === 1) { g.fillRect(px(ev.t[i]), 0, Math.max(2, ev.u[i] < 0 ? 2 : px(ev.u[i]) - px(ev.t[i])), 44); }
  g.fillStyle = red;
  for (const v of run.violations || []) g.fillRect(px(v.at_ms * 1000) - 1, 0, 2, 44);
  g.strokeStyle = css("--ink"); g.lineWidth = 1.5;
  const a = Math.max(GUTTER, px(Math.max(view.from, 0))), b = Math.min(width - 1, px(Math.min(view.to, end)));
  g.strokeRect(a, 1, Math.max(b - a, 3), 42);
  g.fillStyle = css("--dim"); g.font = "11px system-ui, sans-serif"; g.textBaseline = "middle"; g.fillText("whole run, " + span(end / 1000), 10, 22);
}

const describe = (i) => {
  const lane = lanes[ev.l[i]]?.name, text = ev.texts[ev.x[i]], at = (ev.t[i] / 1000).toFixed(3) + " ms";
  if (ev.k[i] !== 0) return `${at}  ${lane}  ${KINDS[ev.k[i]]}\n${text}` + (ev.k[i] === 1 && ev.u[i] >= 0 ? `\nuntil ${(ev.u[i] / 1000).toFixed(3)} ms` : ev.k[i] === 3 ? `\nline ${ev.o[i]} of the history` : "");
  return `${at}  ${lane} → ${lanes[ev.o[i]]?.name}\n${text}\n` + (ev.u[i] < 0 ? "never arrived" : `arrived after ${((ev.u[i] - ev.t[i]) / 1000).toFixed(3)} ms`);
};
function nearest(x, y) {
  let best = -1, near = 9;
  for (const [sx, sy, w, h, i, line] of spots) {
    let d;
    if (line) { const n = w * w + h * h || 1, s = Math.max(0, Math.min(1, ((x - sx) * w + (y - sy) * h) / n)); d = Math.hypot(x - sx - s * w, y - sy - s * h); }
    else d = ev.k[i] === 1 ? (x >= sx && x <= sx + w && y >= sy && y <= sy + h ? 8 : 99) : Math.hypot(Math.max(sx - x, 0, x - sx - w), Math.max(sy - y, 0, y - sy - h)) + 1;
    if (d < near) { near = d; best = i; }
  }
  return best;
}

function list() {
  const rows = [];
  let count = 0;
  for (let i = 0; i < ev.t.length; i++) {
    if (!shown[i] || ev.t[i] > view.to || Math.max(ev.u[i], ev.t[i]) < view.from) continue;
    if (++count > 300) continue;
    const hit = ev.k[i] === 3 && pinned.has(ev.o[i]), to = ev.k[i] === 0 ? "→ " + lanes[ev.o[i]].name + (ev.u[i] < 0 ? " (lost)" : "") : KINDS[ev.k[i]];
    const row = el("tr", { className: "go" + (hit ? " hit" : "") }, el("td", { className: "n mono at", textContent: (ev.t[i] / 1000).toFixed(3) }),
      el("td", { textContent: lanes[ev.l[i]]?.name }), el("td", { className: ev.u[i] < 0 && ev.k[i] === 0 ? "bad" : "dim", textContent: to }), el("td", { textContent: ev.texts[ev.x[i]] }));
    row.onclick = () => { const half = Math.max(2000, (view.to - view.from) / 8); view = { from: ev.t[i] - half, to: ev.t[i] + half }; draw(); };
    rows.push(row);
  }
  $("count").textContent = `${grouped(count)}` + (count > 300 ? ", the first 300 shown" : "") + "; click to go there";
  $("events").tBodies[0].replaceChildren(...rows);
}

function controls() {
  const chart = $("chart"), tip = $("tip");
  const time = (x, canvas, from, to) => from + (x - GUTTER) / (canvas.clientWidth - GUTTER) * (to - from);
  chart.addEventListener("wheel", (e) => { e.preventDefault(); zoom(e.deltaY > 0 ? 1.25 : 0.8, time(e.offsetX, chart, view.from, view.to)); }, { passive: false });
  let drag = null;
  chart.onpointerdown = (e) => { drag = { x: e.offsetX, from: view.from, to: view.to }; chart.setPointerCapture(e.pointerId); chart.classList.add("drag"); };
  chart.onpointerup = () => { drag = null; chart.classList.remove("drag"); };
  chart.onpointermove = (e) => {
    if (drag) {
      const by = (drag.x - e.offsetX) / (chart.clientWidth - GUTTER) * (drag.to - drag.from);
      view = { from: drag.from + by, to: drag.to + by };
      return draw();
    }
    const i = nearest(e.offsetX, e.offsetY);
    const under = i < 0 && [...rows].find(([lane, row]) => row.bottom > row.strip && e.offsetY >= row.strip && e.offsetY < row.bottom);
    tip.hidden = i < 0 && (!under || e.offsetX < GUTTER);
    if (!tip.hidden) { tip.textContent = i >= 0 ? describe(i) : tellStrip(lanes[under[0]].name, water.get(under[0]), time(e.offsetX, chart, view.from, view.to)); tip.style.left = Math.min(e.clientX + 14, innerWidth - 470) + "px"; tip.style.top = e.clientY + 14 + "px"; }
  };
  chart.onpointerleave = () => { tip.hidden = true; };
  chart.ondblclick = whole;
  const over = $("map");
  let start = null;
  over.onpointerdown = (e) => { start = time(e.offsetX, over, 0, end); over.setPointerCapture(e.pointerId); };
  over.onpointermove = (e) => {
    if (start === null) return;
    const now = time(e.offsetX, over, 0, end);
    if (Math.abs(now - start) > end / 500) { view = { from: Math.min(now, start), to: Math.max(now, start) }; draw(); }
  };
  over.onpointerup = (e) => {
    const now = time(e.offsetX, over, 0, end), half = (view.to - view.from) / 2;
    if (Math.abs(now - start) <= end / 500) { view = { from: now - half, to: now + half }; draw(); }
    start = null;
  };
  const middle = () => (view.from + view.to) / 2;
  $("in").onclick = () => zoom(0.5, middle()); $("out").onclick = () => zoom(2, middle());
  $("fit").onclick = whole; $("proof").onclick = toProof;
  chart.onkeydown = (e) => {
    const step = (view.to - view.from) / 5;
    const go = { "+": () => zoom(0.5, middle()), "=": () => zoom(0.5, middle()), "-": () => zoom(2, middle()), 0: whole, p: toProof,
      ArrowLeft: () => { view = { from: view.from - step, to: view.to - step }; draw(); }, ArrowRight: () => { view = { from: view.from + step, to: view.to + step }; draw(); } }[e.key];
    if (go) { e.preventDefault(); go(); }
  };
  $("text").oninput = () => { refilter(); draw(); };
  $("pick").onchange = () => open(data.runs.find((r) => r.picture && handle(r) === $("pick").value), false);
  addEventListener("resize", () => ev && draw());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => ev && draw());
}

overview();
failures();
runs();
controls();
const drawn = data.runs.filter((r) => r.picture);
$("pick").append(...drawn.map((r) => el("option", { value: handle(r), textContent: `${handle(r)} (${r.verdict})` })));
if (drawn.length && !follow()) open(drawn[0], false);
